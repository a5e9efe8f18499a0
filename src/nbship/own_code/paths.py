"""Paths as code writes them, worked out without running it: `Path("queries") / "cars.sql"`, `os.getcwd()`.

Knows nothing of what is there. Paths are relative to the folder in which the code runs.
"""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_HERE = "."
_JOINING = {"Path", "PurePath", "PosixPath", "PurePosixPath"}
_KEEPING = {"abspath", "realpath", "normpath", "expanduser", "expandvars"}
_KEEPING_METHODS = {"resolve", "absolute", "as_posix", "expanduser"}
_GLOBS = {"glob", "rglob"}
_UNDERSTOOD = (
    _JOINING | _KEEPING | _KEEPING_METHODS | _GLOBS | {"join", "joinpath", "dirname", "str", "fspath"}
)


@dataclass(frozen=True)
class Written:
    """A text that code writes.

    Attributes:
        text: The text.
        is_path: Whether the code treats it as a path: joins it, or makes a `Path` of it.
    """

    text: str
    is_path: bool = False


def dotted(node: ast.expr) -> str:
    """Returns `a.b.c` of an expression; empty if it is anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def last_name(node: ast.expr) -> str:
    """Returns the name of what is called, whatever it belongs to."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def evaluate(node: ast.expr, known: Mapping[str, Written]) -> Written | None:
    """Returns the text that an expression has, or None if that takes more than reading it.

    Args:
        node: The expression.
        known: Texts by variable; `__file__` is one of them in a module.
    """
    if isinstance(node, ast.Constant):
        return Written(node.value) if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        return known.get(node.id)
    handler = _HANDLERS.get(type(node))
    return handler(node, known) if handler else None


def _formatted(node: ast.JoinedStr, known: Mapping[str, Written]) -> Written | None:
    parts = []
    for value in node.values:
        plain = not isinstance(value, ast.FormattedValue) or value.format_spec is None
        inner = value.value if isinstance(value, ast.FormattedValue) else value
        part = evaluate(inner, known) if plain else None
        if part is None:
            return None
        parts.append(part)
    return Written("".join(p.text for p in parts), any(p.is_path for p in parts))


def _operation(node: ast.BinOp, known: Mapping[str, Written]) -> Written | None:
    left = evaluate(node.left, known)
    right = evaluate(node.right, known) if left else None
    if left is None or right is None:
        return None
    if isinstance(node.op, ast.Div):
        return Written(posixpath.join(left.text, right.text), True)
    return Written(left.text + right.text, left.is_path) if isinstance(node.op, ast.Add) else None


def _attribute(node: ast.Attribute, known: Mapping[str, Written]) -> Written | None:
    if dotted(node) in ("os.pardir", "os.curdir"):
        return Written(".." if node.attr == "pardir" else _HERE, True)
    base = evaluate(node.value, known) if node.attr == "parent" else None
    return _parent(base) if base else None


def _subscript(node: ast.Subscript, known: Mapping[str, Written]) -> Written | None:
    """`path.parents[1]`."""
    value, index = node.value, node.slice
    if not (isinstance(value, ast.Attribute) and value.attr == "parents" and isinstance(index, ast.Constant)):
        return None
    base = evaluate(value.value, known)
    if base is None or not isinstance(index.value, int):
        return None
    for _ in range(index.value + 1):
        base = _parent(base)
    return base


def _call(node: ast.Call, known: Mapping[str, Written]) -> Written | None:
    name, function = last_name(node.func), dotted(node.func)
    if name in ("getcwd", "cwd") or (name in _JOINING and not node.args):
        return Written(_HERE, True)
    if name not in _UNDERSTOOD:
        return None
    arguments = [evaluate(argument, known) for argument in node.args]
    texts = [argument.text for argument in arguments if argument]
    method = isinstance(node.func, ast.Attribute)
    base = evaluate(node.func.value, known) if isinstance(node.func, ast.Attribute) else None
    if len(texts) < len(node.args):
        return None
    if base is not None and method:
        if name in _KEEPING_METHODS:
            return Written(base.text, True)
        if name in ("joinpath", *_GLOBS) and texts:
            pattern = f"**/{texts[0]}" if name == "rglob" else posixpath.join(*texts)
            return Written(posixpath.join(base.text, pattern), True)
        return None
    if name in _JOINING or function in ("os.path.join", "path.join", "join"):
        return Written(posixpath.join(*texts), True) if texts else None
    if name == "dirname" and texts:
        return _parent(Written(texts[0], True))
    if name in ("str", "fspath"):
        return arguments[0] if arguments else None
    return Written(texts[0], True) if name in _KEEPING and texts else None


def _parent(base: Written) -> Written:
    return Written(posixpath.normpath(posixpath.join(base.text, "..")), True)


_HANDLERS: dict[type, Callable[..., Written | None]] = {
    ast.JoinedStr: _formatted,
    ast.BinOp: _operation,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.Call: _call,
}
