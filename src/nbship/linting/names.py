"""Hidden state: names that no cell above defines, so that the notebook only runs in the kernel of its author.

Python's own symbol tables tell which names of a statement are the notebook's. The body of a function may use
what is defined anywhere, for it runs later; branches are taken to define what any of them does.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import re
import symtable
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

from nbship.linting.cells import Cell, Source
from nbship.linting.finding import LintFinding
from nbship.linting.magics import magic

_KNOWN = {
    *dir(builtins),
    *("get_ipython", "display", "exit", "quit", "In", "Out", "__session__"),
    *("_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh", "_dh", "_exit_code"),
}
_NUMBERED = re.compile(r"_i?\d+")  # what cell 3 showed, or was: _3, _i3
_COMPREHENSIONS = {"listcomp", "setcomp", "dictcomp", "genexpr"}
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# What of the notebook's own names, and of IPython's shell, adds to them.
_BINDING = {
    **dict.fromkeys(["globals", "locals", "vars"], ("setdefault", "update")),
    "get_ipython": ("ex", "magic", "push", "run_cell", "user_ns"),
}


@dataclass
class _State:
    """What is known while going through a notebook.

    Attributes:
        defined: The names that there are.
        uses: Names that were used before they were there, with cell and line.
        deferred: Names that functions use, which run later.
        defined_in: The cell that first defines a name.
        guarded: Names that the code around itself asks for, or whose absence it catches; None for all.
        open: Whether names came in that nobody can list.
        trusting: Whether code may ask for a name before it uses it, or catch that there is none.
    """

    defined: set[str] = field(default_factory=lambda: set(_KNOWN))
    uses: list[tuple[str, int, int]] = field(default_factory=list)
    deferred: list[tuple[str, int, int]] = field(default_factory=list)
    defined_in: dict[str, int] = field(default_factory=dict)
    guarded: frozenset[str] | None = frozenset()
    open: bool = False
    trusting: bool = True


def hidden_state(notebook: Source) -> Iterator[LintFinding]:
    """Finds names that are used before any cell defines them, each once."""
    state = _State()
    for cell in notebook.code:
        # A cell that cannot be read may define anything; it is told by itself.
        state.open |= isinstance(cell.parsed, SyntaxError)
        for statement in cell.tree.body:
            if isinstance(statement, ast.Delete):
                _delete(state, cell, statement)
            else:
                _statement(state, cell, statement)
    told: set[str] = set()
    late = [use for use in state.deferred if use[0] not in {*state.defined, *state.defined_in}]
    for name, cell_number, line in [*state.uses, *([] if state.open else late)]:
        if name not in told and not _NUMBERED.fullmatch(name):
            told.add(name)
            place = _where_defined(state.defined_in.get(name), cell_number)
            yield LintFinding(
                notebook.name, cell_number, line, "hidden-state", f"'{name}' is used here, {place}"
            )


@dataclass(frozen=True)
class Names:
    """The notebook's names in a statement.

    Attributes:
        reads: Those that must be there before it.
        later: Those that its functions use when they are called.
        binds: Those that it defines, also where only a branch of it does.
    """

    reads: frozenset[str]
    later: frozenset[str]
    binds: frozenset[str]


def names_of(cell: Cell, node: ast.stmt) -> Names:
    """Returns what a statement of a cell uses and defines; builtins are none of it."""
    state = _State(trusting=False)
    _statement(state, cell, node)
    reads = {name for name, _, _ in state.uses}
    binds = state.defined - _KNOWN
    later = {name for name, _, _ in state.deferred} - _KNOWN
    return Names(frozenset(reads), frozenset(later), frozenset(binds))


def _where_defined(defined_in: int | None, used_in: int) -> str:
    if defined_in is None:
        return "no cell defines it"
    if defined_in > used_in:
        return f"only cell {defined_in} below defines it"
    return "it is defined further down" if defined_in == used_in else "it is deleted above"


def _delete(state: _State, cell: Cell, node: ast.Delete) -> None:
    """Forgets names; only where it is sure to run, not in a branch or a loop."""
    for target in node.targets:
        with contextlib.suppress(RecursionError):  # as in _table: an expression of hundreds of terms
            _simple(state, cell, ast.copy_location(ast.Expr(_loaded(target)), node))
        if isinstance(target, ast.Name):
            state.defined.discard(target.id)


def _loaded(target: ast.expr) -> ast.expr:
    loaded = ast.parse(ast.unparse(target), mode="eval").body
    for part in ast.walk(loaded):
        ast.copy_location(part, target)
    return loaded


def _statement(state: _State, cell: Cell, node: ast.stmt) -> None:
    """Goes through a statement in the order in which it runs."""
    if isinstance(node, _DEFINITIONS) or not hasattr(
        node, "body" if not isinstance(node, ast.Match) else "cases"
    ):
        _simple(state, cell, node)
    else:
        _compound(state, cell, node)


def _guarded(outside: frozenset[str] | None, node: ast.AST) -> frozenset[str] | None:
    """The names of which a statement's body knows that they may be missing; None for all."""
    if isinstance(node, ast.Try) and any(_catches_names(handler) for handler in node.handlers):
        return None
    if outside is None or not isinstance(node, ast.If):
        return outside
    parts = list(ast.walk(node.test))
    if not any(isinstance(part, ast.Name) and part.id in {"dir", *_BINDING} for part in parts):
        return outside
    texts = (part.value for part in parts if isinstance(part, ast.Constant))
    return outside.union(text for text in texts if isinstance(text, str))


def _catches_names(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = {part.id for part in ast.walk(handler.type) if isinstance(part, ast.Name)}
    return bool(kinds & {"NameError", "Exception", "BaseException"})


def _compound(state: _State, cell: Cell, node: ast.AST) -> None:
    """A statement with blocks, or one of its parts: an except, a case, an item of a with."""
    if isinstance(node, ast.ExceptHandler) and node.name:
        _define(state, cell, node.name)
    outside = state.guarded
    inside = _guarded(outside, node) if state.trusting else outside
    for name, value in ast.iter_fields(node):
        state.guarded = inside if name == "body" else outside
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.stmt):
                _statement(state, cell, part)
            elif isinstance(part, ast.excepthandler | ast.match_case | ast.withitem):
                _compound(state, cell, part)
            elif isinstance(part, ast.expr) and not isinstance(getattr(part, "ctx", None), ast.Store):
                _simple(state, cell, ast.copy_location(ast.Expr(part), part))
            elif isinstance(part, ast.expr | ast.pattern):
                _bind(state, cell, part)
    state.guarded = outside


def _bind(state: _State, cell: Cell, target: ast.AST) -> None:
    for part in ast.walk(target):
        names = (getattr(part, "name", None), getattr(part, "rest", None), getattr(part, "id", None))
        for name in names:
            if isinstance(name, str):
                _define(state, cell, name)


def _simple(state: _State, cell: Cell, node: ast.stmt) -> None:
    """A statement without blocks of its own, or a definition: first what it uses, then what it binds."""
    line = node.lineno
    table = _table(node)
    if table is None:
        return
    state.open |= any(_brings_names(part) for part in ast.walk(node))
    augmented = (
        {node.target.id} if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) else set()
    )
    own = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else ""
    bound = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    walrus = {
        n.target.id for n in ast.walk(node) if isinstance(n, ast.NamedExpr) and isinstance(n.target, ast.Name)
    }
    now = {s.get_name() for s in table.get_symbols() if s.is_referenced()} | augmented
    later: set[str] = set()
    for child in table.get_children():
        _free_names(child, now, later, isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    if not state.open and state.guarded is not None:
        state.uses += [
            (name, cell.number, _line_of(node, name, line))
            for name in sorted(now - walrus - {own} - state.guarded)
            if name not in state.defined
        ]
        state.deferred += [(name, cell.number, _line_of(node, name, line)) for name in sorted(later)]
    here = bound if own else bound | walrus
    for name in here | _assigned_globals(table):
        _define(state, cell, name)


def _brings_names(node: ast.AST) -> bool:
    """Whether names come in that nobody can list."""
    if isinstance(node, ast.ImportFrom):
        return any(alias.name == "*" for alias in node.names)
    found = magic(node)
    if found:
        return found.may_bind
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in {"exec", "execfile"}
    owner = getattr(node, "value", None)
    name = getattr(owner.func, "id", "") if isinstance(owner, ast.Call) else ""
    if isinstance(node, ast.Attribute):  # get_ipython().push({…}), globals().update(…)
        return node.attr in _BINDING.get(name, ())
    return isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and name in _BINDING


def _free_names(table: symtable.SymbolTable, now: set[str], later: set[str], deferred: bool) -> None:
    """Adds the names that an inner scope uses of the notebook's: comprehensions and classes run at once."""
    lazy = deferred or (table.get_type() == "function" and table.get_name() not in _COMPREHENSIONS)
    names = {s.get_name() for s in table.get_symbols() if s.is_referenced() and s.is_global()}
    (later if lazy else now).update(names)
    for child in table.get_children():
        _free_names(child, now, later, lazy)


def _assigned_globals(table: symtable.SymbolTable) -> set[str]:
    """The names that functions assign after declaring them `global`."""
    names = {s.get_name() for s in table.get_symbols() if s.is_declared_global() and s.is_assigned()}
    return names.union(*map(_assigned_globals, table.get_children()))


class _WithoutAwait(ast.NodeTransformer):
    """Symbol tables do not know `await` outside of functions, which a notebook may use."""

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)  # type: ignore[no-any-return]

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        node.is_async = 0
        return self.generic_visit(node)


def _table(node: ast.AST) -> symtable.SymbolTable | None:
    inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    try:
        with warnings.catch_warnings(action="ignore"):
            text = ast.unparse(node)
            if not inside:
                text = ast.unparse(
                    _WithoutAwait().visit(ast.parse(text)) if "await" not in text else _plain(text)
                )
            return symtable.symtable(text, "cell", "exec")
    except (SyntaxError, ValueError, RecursionError):
        return None


def _plain(text: str) -> ast.AST:
    tree = compile(text, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return _WithoutAwait().visit(tree)  # type: ignore[no-any-return]


def _line_of(node: ast.AST, name: str, default: int) -> int:
    found = (n.lineno for n in ast.walk(node) if isinstance(n, ast.Name) and n.id == name)
    return min(found, default=default)


def _define(state: _State, cell: Cell, name: str) -> None:
    state.defined.add(name)
    state.defined_in.setdefault(name, cell.number)
