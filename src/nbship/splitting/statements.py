"""The statements of a notebook, with what each of them uses, defines and changes.

Goes by the code alone. Which step a statement belongs to is the business of `sections`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from nbship.linting.calls import dotted, full_name, imports
from nbship.linting.cells import Cell, Source
from nbship.linting.magics import magic
from nbship.linting.names import names_of

_MUTATING = re.compile(
    r"fit|partial_fit|fit_transform|fit_predict|fit_resample|append|extend|insert|update|pop|popitem|remove|clear"
    r"|add|discard|setdefault|sort|reverse|set_params|compile|load_state_dict|train|seed|write|writelines|push"
)
# Calls on a module that change how it behaves from then on.
_SETTING = re.compile(
    r"set\w*|use|filterwarnings|simplefilter|update|basicConfig|register\w*|reset\w*|seed|manual_seed|enable\w*"
    r"|disable\w*|config\w*|init_notebook_mode|load_dotenv|disable_eager_execution|theme"
)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class StatementKind(StrEnum):
    """What a statement is to the notebook."""

    IMPORT = "import"
    FUNCTION = "function"
    CONSTANT = "constant"
    SETTING = "setting"
    CODE = "code"


@dataclass(frozen=True)
class Statement:
    """A statement at the top of a cell.

    Attributes:
        cell: The cell's number.
        position: Its place among all statements of the notebook.
        node: Its tree.
        kind: What it is to the notebook.
        text: Its lines, with the comments right above a definition.
        first: The first of these lines in its cell, from 1.
        last: The last.
        alone: Whether no other statement shares its lines.
        reads: Names that must be there before it.
        later: Names that its functions use when they are called.
        binds: Names that it defines.
        surely: Those of them that it defines in any case, not only in a branch.
        changes: Names whose objects it changes.
    """

    cell: int
    position: int
    node: ast.stmt
    kind: StatementKind
    text: str
    first: int
    last: int
    alone: bool
    reads: frozenset[str]
    later: frozenset[str]
    binds: frozenset[str]
    surely: frozenset[str]
    changes: frozenset[str]

    @property
    def name(self) -> str:
        """The one name that it defines; empty if it defines none or several."""
        return next(iter(self.binds)) if len(self.binds) == 1 else ""

    @property
    def value(self) -> ast.expr | None:
        """What it assigns to one name."""
        node = self.node
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            return node.value
        single = isinstance(node, ast.Assign) and len(node.targets) == 1
        return node.value if isinstance(node, ast.Assign) and single and self.name else None

    @property
    def literal(self) -> Any:
        """The plain value that it assigns; `...` if it assigns none."""
        return literal(self.value)


def literal(node: ast.expr | None) -> Any:
    """Returns the value of a plain expression; `...` if it is none."""
    try:
        return ast.literal_eval(node) if node is not None else ...
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ...


def read_statements(source: Source, skipped: frozenset[int] = frozenset()) -> tuple[Statement, ...]:
    """Returns the statements of a notebook in order.

    Args:
        source: The notebook.
        skipped: Numbers of cells that do not count.
    """
    origins = imports(source)
    cells = [cell for cell in source.code if cell.number not in skipped]
    found: list[Statement] = []
    for cell in cells:
        for node in cell.tree.body:
            found.append(_statement(cell, node, len(found), origins))
    arguments = {s.node.name: _changed_arguments(s.node) for s in found if isinstance(s.node, _DEFINITIONS)}
    functions = [s for s in found if isinstance(s.node, _DEFINITIONS)]
    changing = [_with_changed_arguments(s, arguments, functions) for s in found]
    constant = _constants(changing)
    variable = (s.kind is StatementKind.CONSTANT and s.name not in constant for s in changing)
    return tuple(
        replace(s, kind=StatementKind.CODE) if v else s for s, v in zip(changing, variable, strict=True)
    )


def _statement(cell: Cell, node: ast.stmt, position: int, origins: Mapping[str, str]) -> Statement:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    last = node.end_lineno or node.lineno
    lines = cell.source.splitlines()
    others = [n for n in cell.tree.body if n is not node]
    alone = not any(n.lineno <= last and (n.end_lineno or n.lineno) >= first for n in others)
    kind = _kind(node, origins)
    if kind in (StatementKind.FUNCTION, StatementKind.CONSTANT):
        while first > 1 and lines[first - 2].startswith("#") and not lines[first - 2].startswith("# %%"):
            first -= 1
    text = "\n".join(lines[first - 1 : last]) if alone else ast.unparse(node)
    if not _is_plain(text):
        kind, alone = kind if _is_display(node) else StatementKind.CODE, False
    names = names_of(cell, node)
    if isinstance(node, _DEFINITIONS):  # what it declares `global` is changed when it is called
        added = {
            n.target.id
            for n in ast.walk(node)
            if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name)
        }
        names = replace(names, later=names.later | (added & names.binds), binds=frozenset({node.name}))
    if isinstance(node, ast.Delete):
        names = replace(names, reads=names.reads | names.binds, binds=frozenset())
    changes = frozenset(_changes(node)) - set(origins)
    return Statement(
        *(cell.number, position, node, kind, text, first, last, alone),
        *(names.reads, names.later, names.binds),
        names.binds if kind is StatementKind.IMPORT else names.binds & _bound_on_every_path(cell, [node]),
        changes,
    )


def _bound_on_every_path(cell: Cell, body: Sequence[ast.stmt]) -> frozenset[str]:
    """The names that statements define whichever way they go; a loop is taken to run."""
    found: frozenset[str] = frozenset()
    for node in body:
        if isinstance(node, ast.If):
            found |= _bound_on_every_path(cell, node.body) & _bound_on_every_path(cell, node.orelse)
        elif isinstance(node, ast.Try):
            branches = [
                _bound_on_every_path(cell, [*node.body, *node.orelse]),
                *(_bound_on_every_path(cell, h.body) for h in node.handlers),
            ]
            found |= frozenset.intersection(*branches) | _bound_on_every_path(cell, node.finalbody)
        elif isinstance(node, ast.For | ast.While | ast.With | ast.AsyncFor | ast.AsyncWith):
            heads = [n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
            inner = {id(n) for part in node.body for n in ast.walk(part)}
            found |= _bound_on_every_path(cell, node.body) | {n.id for n in heads if id(n) not in inner}
        elif not isinstance(node, ast.Match):
            found |= names_of(cell, node).binds
    return found


def _is_plain(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def _kind(node: ast.stmt, origins: Mapping[str, str]) -> StatementKind:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return StatementKind.IMPORT
    if isinstance(node, _DEFINITIONS):
        return StatementKind.FUNCTION
    if isinstance(node, ast.Try | ast.If):
        parts = _blocks(node)
        imported = any(isinstance(part, ast.Import | ast.ImportFrom) for part in parts)
        return StatementKind.IMPORT if imported and all(map(_only_imports, parts)) else StatementKind.CODE
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if isinstance(node, ast.Assign | ast.AnnAssign) and len(targets) == 1:
        if isinstance(targets[0], ast.Name):
            if isinstance(node.value, ast.Lambda):
                return StatementKind.FUNCTION
            return StatementKind.CONSTANT if literal(node.value) is not ... else StatementKind.CODE
        return StatementKind.SETTING if root_name(targets[0]) in origins else StatementKind.CODE
    if _is_display(node):
        return StatementKind.SETTING
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not magic(node.value):
        called = dotted(node.value.func)
        of_module = called.partition(".")[0] in origins
        return (
            StatementKind.SETTING
            if of_module and _SETTING.fullmatch(called.rpartition(".")[2])
            else StatementKind.CODE
        )
    return StatementKind.CODE


def _is_display(node: ast.stmt) -> bool:
    """Whether a line only says how Jupyter shows things, or reloads modules."""
    found = magic(node.value) if isinstance(node, ast.Expr) else None
    return found is not None and found.name in {"autoreload", "config", "load_ext", "matplotlib"}


def _blocks(node: ast.Try | ast.If) -> list[ast.stmt]:
    handlers = [part for h in getattr(node, "handlers", []) for part in h.body]
    return [*node.body, *node.orelse, *handlers, *getattr(node, "finalbody", [])]


def _only_imports(node: ast.stmt) -> bool:
    plain = isinstance(node, ast.Assign) and literal(node.value) is not ...
    return isinstance(node, ast.Import | ast.ImportFrom | ast.Pass) or plain


def root_name(node: ast.AST | None) -> str:
    """Returns the variable that a chain begins with: `cars` of `cars.loc[rows].copy()`."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (*_DEFINITIONS, ast.Lambda)):
            yield from _outside_functions(child)


def _changes(node: ast.stmt) -> Iterator[str]:
    """The names whose objects a statement is seen to change, whether it means to or not."""
    if isinstance(node, _DEFINITIONS):
        return
    for part in _outside_functions(node):
        if isinstance(part, ast.Subscript | ast.Attribute) and not isinstance(part.ctx, ast.Load):
            yield root_name(part)
        elif isinstance(part, ast.Call):
            in_place = any(k.arg == "inplace" and literal(k.value) is True for k in part.keywords)
            if isinstance(part.func, ast.Attribute) and (_MUTATING.fullmatch(part.func.attr) or in_place):
                yield root_name(part.func)
            if dotted(part.func).endswith("shuffle"):
                yield from (root_name(argument) for argument in part.args[:1])


def _changed_arguments(node: ast.stmt) -> frozenset[int]:
    """Which of its arguments, by place, a function changes."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return frozenset()
    changed = {name for statement in node.body for name in _changes(statement)}
    names = [argument.arg for argument in [*node.args.posonlyargs, *node.args.args]]
    rebound = {
        part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }
    return frozenset(i for i, name in enumerate(names) if name in changed - rebound)


def _constants(statements: Sequence[Statement]) -> frozenset[str]:
    """The names that one statement gives a plain value, and nothing changes."""
    bound: dict[str, int] = {}
    for statement in statements:
        for name in statement.binds:
            bound[name] = bound.get(name, 0) + 1
    changed = {name for statement in statements for name in statement.changes}
    return frozenset(
        s.name
        for s in statements
        if s.kind is StatementKind.CONSTANT and bound[s.name] == 1 and s.name not in changed
    )


def _effects(
    name: str, position: int, functions: Sequence[Statement], seen: frozenset[str] = frozenset()
) -> set[str]:
    """The notebook's variables that a function changes, as it is at a place, itself or by others it calls."""
    made = next((s for s in reversed(functions) if s.name == name and s.position < position), None)
    if made is None or name in seen or not isinstance(made.node, ast.FunctionDef | ast.AsyncFunctionDef):
        return set()
    changed = {n for part in made.node.body for n in _changes(part)} & made.later
    changed |= {n for part in ast.walk(made.node) if isinstance(part, ast.Global) for n in part.names}
    for other in made.later:
        changed |= _effects(other, position, functions, seen | {name})
    return changed


def _with_changed_arguments(
    s: Statement, arguments: Mapping[str, frozenset[int]], functions: Sequence[Statement]
) -> Statement:
    """With what functions of the notebook change that the statement calls."""
    if s.kind is StatementKind.FUNCTION:
        return s
    changes = set(s.changes)
    for part in _outside_functions(s.node):
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
            places = arguments.get(part.func.id, frozenset())
            changes |= {root_name(a) for place, a in enumerate(part.args) if place in places}
    changes &= s.reads | s.binds | s.later
    changes |= {n for name in s.reads | s.later for n in _effects(name, s.position, functions)}
    return replace(s, changes=frozenset(changes))


def calls(s: Statement, origins: Mapping[str, str]) -> list[tuple[ast.Call, str]]:
    """Returns the calls of a statement with their full names."""
    nodes = (node for node in ast.walk(s.node) if isinstance(node, ast.Call))
    return [(node, full_name(node.func, origins)) for node in nodes]
