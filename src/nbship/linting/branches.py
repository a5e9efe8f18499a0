"""Branches that do not run in production: `if IN_COLAB:`, `if smoke_test:`, and `try` around an import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from nbship.linting.calls import dotted
from nbship.linting.cells import Cell

_ELSEWHERE = re.compile(
    r"colab|kaggle|binder|deepnote|paperspace|sagemaker|smoke_?test|TYPE_CHECKING", re.IGNORECASE
)
_MISSING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


def elsewhere(cell: Cell) -> set[int]:
    """Returns the `id` of every node that runs on other machines only."""
    return {id(node) for part in _branches(cell, others=False) for node in ast.walk(part)}


def optional(cell: Cell) -> set[int]:
    """Returns the `id` of every node that runs on other machines only, or whose failure is caught."""
    return {id(node) for part in _branches(cell, others=True) for node in ast.walk(part)}


def _branches(cell: Cell, others: bool) -> Iterator[ast.stmt]:
    for node in cell.nodes:
        if isinstance(node, ast.If):
            yield from _not_here(node)
        elif others and isinstance(node, ast.Try) and any(map(_catches_import, node.handlers)):
            yield from node.body


def _not_here(node: ast.If) -> list[ast.stmt]:
    """`if not smoke_test:` runs here, and its `else` does not."""
    if not _ELSEWHERE.search(ast.unparse(node.test)):
        return []
    first = node.test.values[0] if isinstance(node.test, ast.BoolOp) else node.test
    return node.orelse if isinstance(first, ast.UnaryOp) and isinstance(first.op, ast.Not) else node.body


def _catches_import(handler: ast.ExceptHandler) -> bool:
    kinds = {dotted(part) for part in ast.walk(handler.type)} if handler.type else _MISSING
    return bool(kinds & _MISSING)
