"""Follows what a notebook uses through the project's modules, until nothing new is found."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from nbship.errors import UsageError
from nbship.graph import CHAMPION, Graph, Step
from nbship.notebook import Notebook
from nbship.own_code.modules import Module, elsewhere, find, python_path
from nbship.own_code.paths import Written
from nbship.own_code.reader import Use, Uses, read

# Artifacts that may hold objects of the project's classes, which are needed wherever they are loaded.
_PICKLED = {"Model", "Artifact"}
_LEFT_OUT = {"__pycache__"}
_LONGEST_NAME = 4096
_WILDCARDS = "*?["


class CodeProblem(NamedTuple):
    """Something that a step uses here and would not have elsewhere."""

    where: str
    message: str
    hint: str


@dataclass(frozen=True)
class OwnCode:
    """What of the project a step uses beside its notebook.

    Attributes:
        files: Modules and files that code reads by name, with the notebook, cell and line that uses each.
        problems: What would be missing elsewhere.
    """

    files: Mapping[Path, str]
    problems: tuple[CodeProblem, ...] = ()


@dataclass
class _Search:
    """What is found so far, and what is still to be read."""

    root: Path
    folder: Path
    places: list[Path]
    problems: dict[CodeProblem, None]
    first: dict[Path, None] = field(default_factory=dict)
    last: dict[Path, None] = field(default_factory=dict)
    files: dict[Path, str] = field(default_factory=dict)
    modules: set[Path] = field(default_factory=set)
    written: set[Path] = field(default_factory=set)
    unread: list[Module] = field(default_factory=list)


def own_code(root: Path, notebook: Notebook, values: Mapping[str, Any] | None = None) -> OwnCode:
    """Finds what of the project a notebook uses: modules it imports, and files it reads by name.

    Args:
        root: The project's folder.
        notebook: The notebook.
        values: Its parameters, since one may name a file; their defaults if not given.

    Raises:
        UsageError: A module of the project hides one of Python's own.
    """
    root, folder = root.absolute(), notebook.path.absolute().parent
    given = {name: v.default for name, v in notebook.signature.parameters.items()} | dict(values or {})
    texts = {name: Written(value) for name, value in given.items() if isinstance(value, str)}
    usual = python_path(root, folder)
    places, problems = usual, dict[CodeProblem, None]()
    while True:
        found = _search(_Search(root, folder, places, problems), notebook, dict(texts))
        # What a late line adds to Python's path counts for the earlier ones as well.
        more = list(dict.fromkeys([*found.first, *usual, *found.last]))
        if set(more) <= set(places):
            break
        places = more
    # Modules count although code writes them.
    passing = found.written - found.modules
    files = {path: where for path, where in found.files.items() if path not in passing}
    return OwnCode(dict(sorted(files.items())), tuple(problems))


def step_code(root: Path, graph: Graph, step: Step) -> OwnCode:
    """Finds what of the project a step uses: its notebook's code, and that of the models it is given.

    A model is stored by the names of its classes, so to load it takes the modules of the step that made it.

    Raises:
        UsageError: A module of the project hides one of Python's own.
    """
    found = [own_code(root, s.notebook, s.parameters) for s in _makers(graph, step)]
    files = {path: where for own in reversed(found) for path, where in own.files.items()}
    return OwnCode(
        dict(sorted(files.items())), tuple(dict.fromkeys(p for own in found for p in own.problems))
    )


def require_portable(code: OwnCode) -> None:
    """Checks that a step would have elsewhere all that it uses here.

    Raises:
        UsageError: It would not; says what, in which notebook, cell and line.
    """
    if code.problems:
        first, *others = code.problems
        details = "\n".join(f"{problem.where}: {problem.message}" for problem in others)
        raise UsageError(f"{first.where}: {first.message}", first.hint, details)


def _makers(graph: Graph, step: Step) -> list[Step]:
    """The step, and those that made the objects that it loads."""
    found, unseen = {step.name: step}, [step]
    while unseen:
        each = unseen.pop()
        for name, reference in each.inputs.items():
            variable = each.notebook.signature.inputs.get(name)
            if variable is None or variable.type not in _PICKLED:
                continue
            if reference.step is not None:
                makers = [graph.steps[reference.step]]
            else:
                makers = [s for s in graph.steps.values() if reference.name == CHAMPION and _makes_model(s)]
            unseen += [maker for maker in makers if maker.name not in found]
            found |= {maker.name: maker for maker in makers}
    return list(found.values())


def _makes_model(step: Step) -> bool:
    return any(output.type == "Model" for output in step.notebook.signature.outputs.values())


def _search(found: _Search, notebook: Notebook, known: dict[str, Written]) -> _Search:
    name = _shown(found, notebook.path.absolute())
    for number, source in zip(notebook.numbers, notebook.code, strict=True):
        _note(found, read(source, known), f"{name}, cell {number}")
    while found.unread:
        module = found.unread.pop()
        source = module.file.read_text(encoding="utf-8", errors="replace")
        here = posixpath.relpath(module.file.as_posix(), found.folder.as_posix())
        known = {"__file__": Written(here, True)}
        _note(found, read(source, known, module.package), _shown(found, module.file))
    return found


def _note(found: _Search, uses: Uses, where: str) -> None:
    """Notes what a piece of code uses, and what that is in this project."""
    for line, message, hint in uses.obstacles:
        found.problems[CodeProblem(f"{where}, line {line}", message, hint)] = None
    for use in uses.folders:
        place = _place(found, use.text)
        (found.first if use.is_path else found.last)[place] = None
        if not place.is_relative_to(found.root):
            _refuse(found, where, use, f"adds {use.text}, outside of the project, to sys.path", _MOVE)
    for use in uses.imports:
        _module(found, use, where)
    for use in uses.whole:
        _package(found, use, where)
    for use in uses.data:
        _package(found, use, where, data=True)
    for use in uses.scripts:
        found.first[_place(found, use.text).parent] = None
    for use in (*uses.scripts, *uses.files):
        _file(found, use, where)
    found.written |= {_place(found, text) for text in uses.written if _may_be_path(text)}


def _module(found: _Search, use: Use, where: str) -> None:
    modules = find(use.text, found.places)
    for module in modules:
        _add_module(found, module, f"{where}, line {use.line}")
    origin = None if modules else elsewhere(use.text.partition(".")[0])
    if origin is not None:
        place = origin.parent.parent if origin.name == "__init__.py" else origin.parent
        if place.is_relative_to(found.root):
            found.last[place] = None
            _refuse(found, where, use, f"imports {use.text} from {_shown(found, place)}/", _MOVE)
        else:
            _refuse(found, where, use, f"imports {use.text} from {origin}, outside of the project", _MOVE)


def _package(found: _Search, use: Use, where: str, data: bool = False) -> None:
    """Adds all modules of a package, or all its other files."""
    for module in find(use.text, found.places)[-1:]:
        for path in _below(module.file.parent) if module.package == use.text else ():
            if data and path.suffix != ".py":
                found.files.setdefault(path, f"{where}, line {use.line}")
            elif not data and path.suffix == ".py":
                inner = path.relative_to(module.file.parent).with_suffix("").parts
                name = ".".join([use.text, *inner]).removesuffix(".__init__")
                _add_module(found, Module(name, path), f"{where}, line {use.line}")


def _add_module(found: _Search, module: Module, where: str) -> None:
    if module.file in found.files:
        return
    found.files[module.file] = where
    found.modules.add(module.file)
    if module.is_compiled:
        message = f"imports {module.name}, which is compiled for this machine"
        found.problems[CodeProblem(where, message, "install it as a package, in the image too")] = None
    else:
        found.unread.append(module)


def _file(found: _Search, use: Use, where: str) -> None:
    """Adds a file that is there under a text that code uses as a path, or that looks like one."""
    if not _may_be_path(use.text) or not (use.is_path or "." in use.text or "/" in use.text):
        return
    path = _place(found, use.text)
    if found.folder.is_relative_to(path):
        return
    several = path.is_dir() or bool(set(use.text) & set(_WILDCARDS))
    paths = list(_below(path) if path.is_dir() else _matching(path)) if several and use.is_path else []
    paths += [path] if path.is_file() else []
    if not paths:
        return
    if use.text.startswith("/"):
        if path.is_relative_to(found.root):
            _refuse(found, where, use, f"uses {use.text}, an absolute path", _RELATIVE)
    elif not path.is_relative_to(found.root):
        _refuse(found, where, use, f"uses {use.text}, outside of the project", "move it into the project")
    else:
        for each in paths:
            _add_file(found, each, use, where)


def _add_file(found: _Search, path: Path, use: Use, where: str) -> None:
    if path in found.files:
        return
    name = _shown(found, path)
    if path.with_name(f"{path.name}.dvc").exists():
        _refuse(found, where, use, f"reads {name}, a data file, by its name", _DECLARE)
    elif any(part.startswith(".") for part in Path(name).parts):
        _refuse(found, where, use, f"reads {name}, a hidden file", _SECRETS)
    if path.suffix == ".py":
        _add_module(found, Module(path.stem, path), f"{where}, line {use.line}")
    else:
        found.files[path] = f"{where}, line {use.line}"


_MOVE = "move what the step needs into src/, or install it as a package, in the image too"
_DECLARE = 'declare it in the parameters cell: "Input[Dataset]"'
_RELATIVE = "write it relative to the notebook"
_SECRETS = "hand secrets on as variables: steps.NAME.secrets; give other files another name"


def _refuse(found: _Search, where: str, use: Use, message: str, hint: str) -> None:
    found.problems[CodeProblem(f"{where}, line {use.line}", message, hint)] = None


def _place(found: _Search, text: str) -> Path:
    return Path(posixpath.normpath(posixpath.join(found.folder.as_posix(), text)))


def _may_be_path(text: str) -> bool:
    return 0 < len(text) < _LONGEST_NAME and text.isprintable() and not text.startswith("~")


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _LEFT_OUT:
            continue
        if path.is_dir():
            yield from _below(path)
        elif path.is_file():
            yield path


def _matching(pattern: Path) -> Iterable[Path]:
    """The files that a pattern such as `queries/*.sql` stands for."""
    first = next((n for n, part in enumerate(pattern.parts) if set(part) & set(_WILDCARDS)), 0)
    folder, rest = Path(*pattern.parts[:first]), "/".join(pattern.parts[first:])
    with contextlib.suppress(ValueError):
        return [path for path in sorted(folder.glob(rest)) if path.is_file()]
    return []


def _shown(found: _Search, path: Path) -> str:
    return posixpath.relpath(path.as_posix(), found.root.as_posix())
