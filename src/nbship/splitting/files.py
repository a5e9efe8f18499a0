"""The files that a notebook reads and writes by a name in its code, and where the name stands."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from nbship.linting.calls import full_name, imports
from nbship.linting.cells import Cell, Source
from nbship.linting.files import calls_and_assignments, path_text, read_path, remember_texts, written_path
from nbship.splitting.statements import Statement, StatementKind

_TYPES: Mapping[str, str] = {
    **dict.fromkeys([".csv", ".parquet", ".xlsx", ".tsv", ".npz", ".npy", ".feather", ".json"], "Dataset"),
    **dict.fromkeys([".pkl", ".pickle", ".joblib", ".h5", ".keras", ".onnx", ".pt", ".pth"], "Model"),
    ".html": "HTML",
    ".md": "Markdown",
}
_ADDRESS = re.compile(r"^\w+://")
_RELATIVE = re.compile(r"\.\.?/?|[\w.-]+(/[\w. -]+)*(/|/?\.\w+)|[\w.-]+(/[\w. -]+)+")
_ABSENT = {"", "/dev/null", ":memory:", "-"}


@dataclass(frozen=True)
class Mention:
    """A place where the code names a file.

    Attributes:
        cell: The cell's number.
        position: Of the statement.
        path: As the code says it.
        written: Whether it is written there, or read.
        node: The expression that names it; None if it cannot be replaced by a variable.
        as_path: Whether a method of the path is called, so that a text does not do.
        loose: Whether it is only a text that is a path, of nobody knows what.
    """

    cell: int
    position: int
    path: str
    written: bool
    node: ast.expr | None
    as_path: bool = False
    loose: bool = False

    @property
    def is_address(self) -> bool:
        """Whether it is on the network."""
        return bool(_ADDRESS.match(self.path))


def mentions(source: Source, statements: Sequence[Statement]) -> tuple[Mention, ...]:
    """Returns where files are named, in order."""
    return tuple(_mentions(source, statements))


def _mentions(source: Source, statements: Sequence[Statement]) -> Iterator[Mention]:
    origins = imports(source)
    texts: dict[str, str] = {}
    counted = {s.cell for s in statements}
    for cell in (cell for cell in source.code if cell.number in counted):
        for node in calls_and_assignments(cell):
            if isinstance(node, ast.Assign):
                remember_texts(node, texts)
                continue
            name = full_name(node.func, origins)
            for find, written in ((written_path, True), (read_path, False)):
                path = find(node, name, texts)
                if path in _ABSENT:
                    continue
                place = next(
                    (s.position for s in statements if s.cell == cell.number and _within(node, s.node)), -1
                )
                named, as_path = _named(cell, node, path, texts)
                yield Mention(cell.number, place, path, written, named, as_path)


def loose_paths(
    source: Source, statements: Sequence[Statement], named: Sequence[Mention], exists: Callable[[str], bool]
) -> tuple[Mention, ...]:
    """Returns other texts that are paths: of files and folders that are there, seen from the notebook.

    Args:
        source: The notebook.
        statements: Its statements.
        named: The places that are known to name a file.
        exists: Whether there is something under a path that is relative to the notebook's folder.
    """
    cells = {cell.number: cell for cell in source.code}
    inside = {id(part) for mention in named if mention.node for part in ast.walk(mention.node)}
    used = {
        n.id
        for s in statements
        for n in ast.walk(s.node)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and id(n) not in inside
    }
    found = []
    for s in statements:
        declared = isinstance(s.node, ast.AnnAssign) and isinstance(s.node.annotation, ast.Constant)
        if declared or (
            s.kind is StatementKind.CONSTANT and s.name not in used
        ):  # or a part of names that are known
            continue
        for node in ast.walk(s.node):
            path = _text(node)
            if id(node) in inside or not _RELATIVE.fullmatch(path) or not exists(path):
                continue
            if isinstance(node, ast.expr) and _as_written(cells[s.cell], node):
                found.append(Mention(s.cell, s.position, path, False, node, loose=True))
    return tuple(found)


def _text(node: ast.AST) -> str:
    """A text, or the folder that a formatted text begins with."""
    if isinstance(node, ast.JoinedStr) and node.values:
        return _text(node.values[0]).rpartition("/")[0]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _within(node: ast.AST, statement: ast.stmt) -> bool:
    return any(part is node for part in ast.walk(statement))


def _named(cell: Cell, call: ast.Call, path: str, texts: Mapping[str, str]) -> tuple[ast.expr | None, bool]:
    """The expression of a call that names the file, if the cell has it as it is read."""
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    for node, as_path in [*((g, False) for g in given), *([(owner, True)] if owner else [])]:
        if path_text(node, texts) == path and _as_written(cell, node):
            return node, as_path
    return None, False


def _as_written(cell: Cell, node: ast.expr) -> bool:
    """Whether the text of a cell holds an expression where its tree says: magics may have moved it."""
    segment = ast.get_source_segment(cell.source, node)
    try:
        return segment is not None and ast.dump(ast.parse(segment, mode="eval").body) == ast.dump(node)
    except (SyntaxError, ValueError):
        return False


def file_type(path: str) -> str:
    """Returns what a file is as an artifact, by its suffix."""
    return _TYPES.get(PurePath(path).suffix.lower(), "Artifact")


def variable_name(path: str, taken: set[str]) -> str:
    """Returns a name for the variable that holds a path: `churn_csv` for `../data/churn.csv`."""
    pure = PurePath(path)
    words = re.sub(r"\W+", "_", f"{pure.stem}_{pure.suffix.lstrip('.')}".lower()).strip("_")
    name = base = words if words[:1].isalpha() else f"file_{words}"
    number = 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    taken.add(name)
    return name


def only_in_names(statement: Statement, nodes: Sequence[ast.expr]) -> frozenset[str]:
    """Returns the names that a statement uses in the names of files only, which a variable replaces."""
    inside = {id(part) for node in nodes for part in ast.walk(node)}
    used = [n for n in ast.walk(statement.node) if isinstance(n, ast.Name)]
    replaced = {n.id for n in used if id(n) in inside}
    return frozenset(replaced - {n.id for n in used if id(n) not in inside})
