"""The rooms of the house import only from the floors below, and nothing heavy before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "nbship"
FLOORS = {
    "errors": 1,
    "values": 1,
    "files": 1,
    "project": 1,
    "notebook": 1,
    "config": 1,
    "threads": 1,
    "rendering": 1,
    "graph": 2,
    "grid": 2,
    "samples": 2,
    "linting": 2,
    "splitting": 2,
    "templates": 2,
    "gate": 2,
    "own_code": 2,
    "record": 2,
    "package": 2,
    "kernels": 2,
    "local": 3,
    "pages": 3,
    "kubeflow": 3,
    "versions": 3,
    "serving": 3,
    "cluster": 3,
    "ci": 3,
    "monitoring": 3,
    "export": 3,
    "workflow": 4,
    "chatops": 5,
    "cli": 6,
    "jupyter": 6,
}
MODULES = sorted(SOURCE.rglob("*.py"))


def imported_rooms(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nbship":
            parts = (node.module or "").split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            yield from (name for name in names if not name.startswith("__"))
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("nbship."))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def test_every_room_has_a_floor() -> None:
    rooms = {room(path) for path in MODULES} - {"__init__"}
    assert rooms == set(FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    for other in imported_rooms(path):
        same_floor = FLOORS[other] == FLOORS[here] < 3
        assert other == here or FLOORS[other] < FLOORS[here] or same_floor, f"{here} imports {other}"


def test_no_modules_import_each_other_in_a_circle_not_even_late() -> None:
    known = {module_name(path): path for path in MODULES}
    imports: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "nbship":
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                imports[name] |= (inner & known.keys()) or {str(node.module)}
        imports[name].discard(name)
    # Raises a CycleError that shows the circle.
    assert len(tuple(TopologicalSorter(imports).static_order())) == len(known)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_every_module_says_what_it_is_for_and_is_not_too_long(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert text.count("\n") <= 410


def test_a_class_name_has_one_meaning() -> None:
    found = Counter(
        node.name
        for path in MODULES
        if room(path) != "jupyter"  # what a cell shows is called as the thing that it is about
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    # What each forge calls the place of a project is known to its own module alone.
    assert [name for name, count in found.items() if count > 1 and name != "Address"] == []


def test_the_command_line_starts_without_heavy_libraries() -> None:
    heavy = [
        "dvc",
        "kfp",
        "matplotlib",
        "nbformat",
        "numpy",
        "pandas",
        "papermill",
        "pydantic",
        "sklearn",
        "yaml",
    ]
    code = f"import sys, nbship.cli.main; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_importing_nbship_imports_nothing_of_it() -> None:
    code = "import sys; before = set(sys.modules); import nbship; print(sorted(set(sys.modules) - before))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['nbship']"


def test_what_a_cell_can_call_is_what_editors_are_told_of() -> None:
    import nbship

    stub = ast.parse((SOURCE / "__init__.pyi").read_text(encoding="utf-8"))
    told = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told - {None} == {*nbship._COMMANDS, "Run"}
    for name in told - {None}:
        assert callable(getattr(nbship, name))
        assert name in dir(nbship)
