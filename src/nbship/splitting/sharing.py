"""What several steps use: which functions become a module that they import, and what these need themselves.

A function goes there if it stands alone: it uses imports, constants and other such functions. One that uses
data or parameters is copied into each step instead.
"""

from __future__ import annotations

import ast

from nbship.splitting import kinds
from nbship.splitting.flow import Flow, SplitNotebook
from nbship.splitting.statements import Statement, StatementKind


def shared_functions(notebook: SplitNotebook, flow: Flow, apart: frozenset[int]) -> frozenset[int]:
    """Returns the positions of the functions that become a module.

    They are used by several steps, or are stored by their name in an object that crosses.

    Args:
        notebook: What is known of the notebook.
        flow: What each step needs, as long as there is no module.
        apart: Positions of functions that name files, which each step declares.
    """
    functions = {s.name: s for s in notebook.statements if s.kind is StatementKind.FUNCTION}
    bound: dict[str, int] = {}
    for s in notebook.statements:
        for name in s.binds:
            bound[name] = bound.get(name, 0) + 1
    whole = {
        name
        for name, s in functions.items()
        if bound[name] == 1 and s.position not in apart and _stands_alone(s, notebook)
    }
    while True:
        uses = {n: (functions[n].reads | functions[n].later) & functions.keys() for n in whole}
        left = {name for name in whole if uses[name] - {name} <= whole}
        if left == whole:
            break
        whole = left
    pickled = any(c.kind in ("model", "object", kinds.UNKNOWN) for c in flow.result())
    chosen = {
        name
        for name in whole
        if len(users(notebook, flow, functions[name])) > 1
        or (pickled and users(notebook, flow, functions[name]) and _is_passed(functions[name], notebook))
    }
    while (
        more := {n for name in chosen for n in (functions[name].reads | functions[name].later) & whole}
        - chosen
    ):
        chosen |= more
    return frozenset(functions[name].position for name in chosen)


def _stands_alone(s: Statement, notebook: SplitNotebook) -> bool:
    """Whether a function uses nothing but imports, constants and other functions."""
    for name in (s.reads | s.later) - {s.name}:
        if name in notebook.parameters or name in notebook.declared:
            return False
        made = [t for t in notebook.statements if name in t.binds]
        if not made or any(t.kind in (StatementKind.CODE, StatementKind.SETTING) for t in made):
            return False
    return not any(isinstance(part, ast.Global) for part in ast.walk(s.node))


def users(notebook: SplitNotebook, flow: Flow, s: Statement) -> set[str]:
    """Returns the steps that use a function."""
    copied = {name for name, needs in flow.needs.items() if s.position in needs.copies}
    home = notebook.outline.section_of(s.cell)
    used_at_home = home and any(s.name in t.reads | t.later for t in notebook.of(home) if t is not s)
    return copied | ({home} if used_at_home else set())


def _is_passed(s: Statement, notebook: SplitNotebook) -> bool:
    """Whether objects may hold a function, or are of a class: they are stored by its name."""
    if isinstance(s.node, ast.ClassDef):
        return True
    called = {
        id(part.func) for t in notebook.statements for part in ast.walk(t.node) if isinstance(part, ast.Call)
    }
    return any(
        isinstance(part, ast.Name)
        and part.id == s.name
        and isinstance(part.ctx, ast.Load)
        and id(part) not in called
        for t in notebook.statements
        for part in ast.walk(t.node)
    )


def constants_of(notebook: SplitNotebook, shared: frozenset[int]) -> set[int]:
    """Returns the positions of the constants that functions use."""
    names = {n for p in shared for n in notebook.statements[p].reads | notebook.statements[p].later}
    return {s.position for s in notebook.statements if s.kind is StatementKind.CONSTANT and s.name in names}


def module_names(notebook: SplitNotebook, flow: Flow, section: str) -> set[str]:
    """Returns the functions of a step's own cells that are in the module now, and used there."""
    own = notebook.of(section)
    home = {s.name for s in own if s.position in flow.module}
    used = {name for s in own if s.position not in flow.module for name in s.reads | s.later}
    return home & used
