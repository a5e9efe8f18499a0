"""What a notebook takes for granted of the machine: modules, packages that it installs itself, its folder."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from nbship.errors import UsageError
from nbship.linting.branches import elsewhere, optional
from nbship.linting.calls import dotted, short, text
from nbship.linting.cells import Cell, Source, read_source
from nbship.linting.finding import LintFinding
from nbship.linting.magics import magic
from nbship.own_code import python_path
from nbship.project import project_root

_INSTALLING = ("pip", "conda", "mamba", "micromamba", "uv")
_INSTALL = re.compile(
    r"(?:^|[;&|\n]|\bsudo\s)\s*(?:\S+\s+-m\s+)?(?P<command>(?:"
    r"(?:uv\s+)?pip[\d.]*\s+(?:-\S+\s+)*install|uv\s+add|easy_install|npm\s+install|brew\s+install"
    r"|(?:conda|mamba|micromamba)\s+(?:install|update|env\s+update)|apt(?:-get)?\s+(?:-\S+\s+)*install"
    r")\b[^;&|\n]*)"
)
_RUNNERS = re.compile(
    r"^(os\.(system|popen)|subprocess\.(run|call|check_call|check_output|Popen|getoutput))$"
)

# Packages that are not called as their modules are.
_PACKAGES = {
    "PIL": "pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "yaml": "pyyaml",
}


def installs(notebook: Source) -> Iterator[LintFinding]:
    """Finds packages that the notebook installs: another version each time, and not those of the lock."""
    for cell in notebook.code:
        apart = elsewhere(notebook, cell)
        for command, node in _commands(cell):
            if id(node) not in apart:
                message = f"'{short(command)}' changes the environment while the notebook runs"
                yield LintFinding(notebook.name, cell.number, node.lineno, "install", message)


def missing_modules(notebook: Source) -> Iterator[LintFinding]:
    """Finds imports of what is not installed here, each module once."""
    for cell, node, name in _missing(notebook):
        message = f"'{name}' is not installed in this environment"
        yield LintFinding(notebook.name, cell.number, node.lineno, "missing-module", message)


def needed_modules(notebook: Source) -> Iterator[tuple[Cell, ast.stmt, str]]:
    """Finds what `missing_modules` does as far as the notebook cannot run without it, with cell and node."""
    for cell, node, name in _missing(notebook):
        if node in cell.tree.body and not cell.silences("missing-module", node.lineno):
            yield cell, node, name


def _missing(notebook: Source) -> Iterator[tuple[Cell, ast.stmt, str]]:
    if any(True for cell in notebook.code for _ in _commands(cell)) or any(map(_searches, notebook.code)):
        return  # nobody can say what will be there
    told = set(_written(notebook))
    for cell in notebook.code:
        caught = optional(notebook, cell)
        for node in cell.nodes:
            if not isinstance(node, ast.Import | ast.ImportFrom) or id(node) in caught:
                continue
            for name in sorted(set(_imported(node)) - told):
                told.add(name)
                if not _is_there(name) and not _is_own(notebook, name):
                    yield cell, node, name


def require_modules(notebooks: Mapping[str, Path]) -> None:
    """Checks that all is installed that notebooks import, outside of functions and branches.

    Args:
        notebooks: Their paths, by what to call them.

    Raises:
        UsageError: A module is not installed.
    """
    lacking = {
        module: f"{name}, cell {cell.number}, line {node.lineno}: imports {module}"
        for name, path in notebooks.items()
        for cell, node, module in needed_modules(read_source(path, name))
    }
    if lacking:
        told, *others = lacking.values()
        packages = " ".join(sorted(_PACKAGES.get(module, module) for module in lacking))
        raise UsageError(f"{told}, which is not installed", f"nbship add {packages}", "\n".join(others))


def working_directory(notebook: Source) -> Iterator[LintFinding]:
    """Finds changes of the folder, after which the paths of the parameters cell mean other files."""
    for cell in notebook.code:
        apart = elsewhere(notebook, cell)
        for node in cell.nodes:
            what = _move(node) if id(node) not in apart else ""
            if what:
                message = f"{what} changes the folder, and relative paths mean other files from here on"
                yield LintFinding(notebook.name, cell.number, node.lineno, "working-directory", message)  # type: ignore[attr-defined]


def _move(node: ast.AST) -> str:
    found = magic(node)
    if found:
        return f"%{found.name} {found.text}".strip() if found.name in ("cd", "pushd", "popd") else ""
    return "os.chdir()" if isinstance(node, ast.Call) and dotted(node.func) == "os.chdir" else ""


def _commands(cell: Cell) -> Iterator[tuple[str, ast.Call]]:
    """The commands that install something, and where they are."""
    for found, node in cell.magics:
        line = f"{found.name} {found.text}" if found.name in _INSTALLING else found.text
        shell = found.name in ("!", "sx", "system", *_INSTALLING)
        texts = line if shell else found.body if found.name in ("bash", "sh", "script", "!") else ""
        for match in _INSTALL.finditer(texts):
            yield match["command"], node
    for call in cell.nodes:
        if isinstance(call, ast.Call) and _RUNNERS.match(dotted(call.func)) and call.args:
            words = [text(part) or "python" for part in getattr(call.args[0], "elts", [call.args[0]])]
            for match in _INSTALL.finditer(" ".join(words)):
                yield match["command"], call


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif node.module and not node.level:
        yield node.module.partition(".")[0]


def _written(notebook: Source) -> Iterator[str]:
    """The modules that the notebook writes itself."""
    for found, _ in (each for cell in notebook.code for each in cell.magics):
        if found.name in ("writefile", "file") and found.text.strip():
            yield Path(found.text.split()[-1].strip("'\"")).stem


def _searches(cell: Cell) -> bool:
    """Whether a cell changes where Python looks for modules."""
    return any(isinstance(node, ast.Attribute) and dotted(node) == "sys.path" for node in cell.nodes)


def _is_own(notebook: Source, name: str) -> bool:
    """Whether a module is the project's: where steps look for them, or beside a notebook of no project."""
    folder = notebook.path.absolute().parent
    try:
        places = python_path(project_root(folder), folder)
    except UsageError:
        places = [folder]
    return any((place / f"{name}.py").is_file() or any((place / name).rglob("*.py")) for place in places)


@cache
def _is_there(name: str) -> bool:
    try:
        return name in sys.builtin_module_names or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # ValueError: a module without a spec, such as __main__
        return name in sys.modules
