"""What calls say in the text of a notebook: their full names, and the values that are written out."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from nbship.linting.cells import Source


def dotted(node: ast.AST) -> str:
    """Returns `a.b.c` of an expression; empty if it is anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def imports(notebook: Source) -> dict[str, str]:
    """Returns what each imported name stands for: `RF` for `sklearn.ensemble.RandomForestClassifier`."""
    origins: dict[str, str] = {}
    for node in (node for cell in notebook.code for node in cell.nodes):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                origins[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            origins |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return origins


def full_name(function: ast.expr, origins: Mapping[str, str]) -> str:
    """Returns `numpy.random.rand` for `np.random.rand`; empty if the function has no such name."""
    first, dot, rest = dotted(function).partition(".")
    return f"{origins.get(first, first)}{dot}{rest}"


def argument(call: ast.Call, position: int | None, *names: str) -> ast.expr | None:
    """Returns the argument of a call at a position or of a name; None if it has none."""
    if position is not None and position < len(call.args):
        found = call.args[position]
        return None if isinstance(found, ast.Starred) else found
    return next((k.value for k in call.keywords if k.arg in names), None)


def text(node: ast.AST | None) -> str:
    """Returns a text that is written out; empty if it is anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def short(words: str) -> str:
    """Returns a text as a message shows it: one line, 60 characters at most."""
    line = " ".join(words.split())
    return line if len(line) <= 60 else f"{line[:59]}…"
