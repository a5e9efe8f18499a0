"""Branches that do not run in production: `if IN_COLAB:`, `if smoke_test:`, `if False:`."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

from nbship.linting.calls import dotted, text
from nbship.linting.cells import Cell, Source

_ELSEWHERE = re.compile(
    r"colab|kaggle|binder|deepnote|paperspace|sagemaker|smoke_?test|^CI$|^TYPE_CHECKING$", re.IGNORECASE
)
_MISSING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


def elsewhere(notebook: Source, cell: Cell) -> set[int]:
    """Returns the `id` of every node of a cell that does not run in production."""
    return {id(node) for part in _branches(notebook, cell, caught=False) for node in ast.walk(part)}


def optional(notebook: Source, cell: Cell) -> set[int]:
    """Returns the `id` of every node that does not run in production, or may fail in importing."""
    return {id(node) for part in _branches(notebook, cell, caught=True) for node in ast.walk(part)}


def _branches(notebook: Source, cell: Cell, caught: bool) -> Iterator[ast.stmt]:
    has_branches = any(isinstance(node, ast.If) for node in cell.nodes)
    off = _switched_off(notebook) if has_branches else set()
    for node in cell.nodes:
        if isinstance(node, ast.If):
            yield from _not_here(node, off)
        elif caught and isinstance(node, ast.Try) and any(map(_catches_import, node.handlers)):
            yield from node.body


def _not_here(node: ast.If, off: set[str]) -> list[ast.stmt]:
    """`if not smoke_test:` runs here, and its `else` does not."""
    if _is_false(node.test) or dotted(node.test) in off:
        return node.body
    if not any(_ELSEWHERE.search(word) for word in _words(node.test)):
        return []
    first = node.test.values[0] if isinstance(node.test, ast.BoolOp) else node.test
    return node.orelse if isinstance(first, ast.UnaryOp) and isinstance(first.op, ast.Not) else node.body


def _words(test: ast.expr) -> Iterator[str]:
    """The names and texts in a condition: `'google.colab' in sys.modules`."""
    for node in ast.walk(test):
        yield getattr(node, "id", "") or getattr(node, "attr", "") or text(node)


def _switched_off(notebook: Source) -> set[str]:
    """The variables that are nothing but False; a parameter may be set to something else."""
    nodes = [node for cell in notebook.code if cell is not notebook.parameters for node in cell.nodes]
    bound = Counter(
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    )
    off = Counter(
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and _is_false(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    )
    return {name for name, times in off.items() if times == bound[name]}


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not node.value


def _catches_import(handler: ast.ExceptHandler) -> bool:
    kinds = {dotted(part) for part in ast.walk(handler.type)} if handler.type else _MISSING
    return bool(kinds & _MISSING)
