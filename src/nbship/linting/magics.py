"""Reads a cell as IPython does: its own syntax becomes calls, and code that a magic runs becomes code.

`%time x = f()` binds x as `x = f()` does, and `%%capture out` binds out as well. Nothing is run.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass
from functools import cache

from nbship.notebook import without_magics

# Magics whose text is Python that runs in the notebook's own names, with their options that take a value.
_PYTHON = {
    "capture": "",
    "debug": "b",
    "lprun": "fmTDsuz",
    "memit": "rit",
    "mprun": "fT",
    "prun": "lsTD",
    "time": "",
    "timeit": "nrp",
}
# Magics that bind names nobody can list: other files, other sessions, other languages.
_BINDING = {"edit", "load", "loadpy", "macro", "pylab", "recall", "rerun", "run", "store"}
# Programs of their own, and extensions that bind nothing.
_APART = """
    autoreload bash cmd conda dotenv html js load_dotenv mamba micromamba perl pip pypy python python2 python3
    ruby sh tensorboard uv wandb watermark
"""
# A line that is alone in its cell needs no percent sign.
_AUTOMAGIC = re.compile(
    r"(ls|pwd|who|whos)|(cd|pip|conda|mamba|uv|ls|mkdir|run|load_ext|matplotlib) +[\w.~/-].*"
)


@dataclass(frozen=True)
class Magic:
    """A magic or a line for the shell.

    Attributes:
        name: Of the magic; `!` for the shell.
        text: What follows the name in its line.
        body: The rest of the cell, for a magic of a whole cell.
    """

    name: str
    text: str
    body: str = ""

    @property
    def may_bind(self) -> bool:
        """Whether it may define names that its text does not tell."""
        return self.name in _BINDING or self.name not in {"!", *_PYTHON, *_APART.split(), *_own()}


def parse(source: str) -> ast.Module:
    """Returns the tree of a cell, with the lines that its statements have in the cell.

    Raises:
        SyntaxError: It is no Python, even for IPython; or another reason why it cannot be parsed.
    """
    if _AUTOMAGIC.fullmatch(source.strip()):
        source = f"%{source.strip()}"
    try:
        tree = _python_or_ipython(source)
        has_magics = any(magic(node) for node in ast.walk(tree))
        return _Expanded().visit(tree) if has_magics else tree
    except (ValueError, MemoryError, RecursionError) as error:
        raise SyntaxError(str(error) or "too deeply nested") from None


def magic(node: ast.AST) -> Magic | None:
    """Returns the magic that a call stands for, where it is one."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    shell = node.func.value
    if not (
        isinstance(shell, ast.Call) and isinstance(shell.func, ast.Name) and shell.func.id == "get_ipython"
    ):
        return None
    texts = [a.value if isinstance(a, ast.Constant) and isinstance(a.value, str) else "" for a in node.args]
    if node.func.attr in ("system", "getoutput", "getoutputs"):
        return Magic("!", *texts[:1])
    if node.func.attr in ("run_line_magic", "run_cell_magic") and len(texts) in (2, 3):
        return Magic(*texts)
    if node.func.attr == "magic" and texts:
        name, _, text = texts[0].lstrip("%").partition(" ")
        return Magic(name, text)
    return None


class _Expanded(ast.NodeTransformer):
    """Puts the code that magics run in the place of their calls."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt | list[ast.stmt]:
        found = magic(node.value)
        if found is None or found.name not in _PYTHON:
            return node
        try:
            return _statements(found, node) or ast.copy_location(ast.Pass(), node)
        except SyntaxError:
            if found.body:  # what the cell is made of
                raise
            return node


def _statements(found: Magic, place: ast.Expr) -> list[ast.stmt]:
    text = _without_options(found)
    if found.name == "capture":  # its text is the name of what it captures
        text = f"{text} = None" if text.isidentifier() else ""
    line, body = parse(text).body, parse(found.body)
    for node in (part for statement in line for part in ast.walk(statement) if hasattr(part, "lineno")):
        ast.copy_location(node, place)
    ast.increment_lineno(body, place.lineno)
    return line + body.body


def _without_options(found: Magic) -> str:
    valued = _PYTHON[found.name]
    option = rf"-[{valued}]\s*\S+|--?\w[\w-]*" if valued else r"--?\w[\w-]*"
    return re.sub(rf"^(\s*({option})(?=\s|$))+", "", found.text).strip()


@cache
def _own() -> frozenset[str]:
    """The magics that IPython itself brings."""
    from IPython.core import magics

    tables = (getattr(each, "magics", {}) for each in vars(magics).values() if isinstance(each, type))
    return frozenset(name for table in tables for kind in table.values() for name in kind)


def _python_or_ipython(source: str) -> ast.Module:
    try:
        return _plain(source)
    except SyntaxError:
        tree = _plain(without_magics(source))
        ast.increment_lineno(tree, len(source) - len(source.lstrip("\n")))
        return tree


def _plain(source: str) -> ast.Module:
    with warnings.catch_warnings(action="ignore"):
        tree: ast.Module = compile(source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return tree
