"""Hidden state: names that no cell above defines, so that the notebook only runs in the kernel of its author.

Python's own symbol tables tell which names of a statement are the notebook's. The body of a function may use
what is defined anywhere, for it runs later; branches are taken to define what any of them does.
"""

from __future__ import annotations

import ast
import builtins
import symtable
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

from nbship.linting.cells import Cell, Source
from nbship.linting.finding import Finding

_KNOWN = {
    *dir(builtins),
    *("get_ipython", "display", "exit", "quit", "In", "Out", "_", "__", "___", "__file__", "__session__"),
}


_COMPREHENSIONS = {"listcomp", "setcomp", "dictcomp", "genexpr"}
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass
class _State:
    """What is known while going through a notebook; `open` says that a cell brings names nobody can list."""

    defined: set[str] = field(default_factory=lambda: set(_KNOWN))
    uses: list[tuple[str, int, int]] = field(default_factory=list)
    deferred: list[tuple[str, int, int]] = field(default_factory=list)
    defined_in: dict[str, int] = field(default_factory=dict)
    open: bool = False


def hidden_state(notebook: Source) -> Iterator[Finding]:
    """Finds names that are used before any cell defines them, each once."""
    state = _State()
    for cell in notebook.code:
        if "%run" in cell.source or "%load" in cell.source or "%store" in cell.source:
            state.open = True
        for statement in cell.tree.body:
            _statement(state, cell, statement)
    told: set[str] = set()
    late = [use for use in state.deferred if use[0] not in state.defined]
    for name, cell_number, line in [*state.uses, *late]:
        if name not in told:
            told.add(name)
            later = state.defined_in.get(name)
            where = f"only cell {later} below defines it" if later else "no cell defines it"
            where = "it is defined further down" if later == cell_number else where
            yield Finding(notebook.name, cell_number, line, "hidden-state", f"'{name}' is used here, {where}")


def _statement(state: _State, cell: Cell, node: ast.stmt) -> None:
    """Goes through a statement in the order in which it runs."""
    if isinstance(node, _DEFINITIONS) or not hasattr(
        node, "body" if not isinstance(node, ast.Match) else "cases"
    ):
        _simple(state, cell, node)
    else:
        _compound(state, cell, node)


def _compound(state: _State, cell: Cell, node: ast.AST) -> None:
    """A statement with blocks, or one of its parts: an except, a case, an item of a with."""
    if isinstance(node, ast.ExceptHandler) and node.name:
        _define(state, cell, node.name)
    for _, value in ast.iter_fields(node):
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.stmt):
                _statement(state, cell, part)
            elif isinstance(part, ast.excepthandler | ast.match_case | ast.withitem):
                _compound(state, cell, part)
            elif isinstance(part, ast.expr) and not isinstance(getattr(part, "ctx", None), ast.Store):
                _simple(state, cell, ast.copy_location(ast.Expr(part), part))
            elif isinstance(part, ast.expr | ast.pattern):
                _bind(state, cell, part)


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
    if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
        state.open = True
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
    if not state.open:
        state.uses += [
            (name, cell.number, _line_of(node, name, line))
            for name in sorted(now - walrus - {own})
            if name not in state.defined
        ]
        state.deferred += [(name, cell.number, _line_of(node, name, line)) for name in sorted(later)]
    here = bound if own else bound | walrus
    for name in here | _assigned_globals(table):
        _define(state, cell, name)


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
