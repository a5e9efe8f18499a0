"""Which libraries notebooks import, so that they can be preloaded. Not for the project's own modules."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from nbship.notebook import Notebook
from nbship.own_code import find, python_path


def libraries_of(root: Path, notebooks: Iterable[Notebook]) -> list[str]:
    """Returns what the notebooks of a project import of libraries."""
    notebooks = list(notebooks)
    code = [source for notebook in notebooks for source in notebook.code]
    folders = [path for notebook in notebooks for path in python_path(root, notebook.path.parent)]
    return libraries(code, folders)


def libraries(code: Iterable[str], folders: Iterable[Path]) -> list[str]:
    """Returns the dotted names that the import statements at the top of cells mention.

    `from a import b` counts as `a` and as `a.b`, which may or may not be a module. Lines of IPython's own
    syntax are passed over, as are cells that are not Python beside them.

    Args:
        code: The notebooks' code cells.
        folders: Where notebooks find modules of the project, which come before a library of the same name.
    """
    folders = list(dict.fromkeys(folders))
    return [name for name in dict.fromkeys(_imported(code)) if not find(name, folders)]


def _imported(code: Iterable[str]) -> Iterator[str]:
    for source in code:
        lines = source.splitlines()
        plain = "\n".join("" if line.lstrip()[:1] in ("%", "!", "?") else line for line in lines)
        try:
            body = ast.parse(plain).body
        except (SyntaxError, ValueError):
            continue
        for node in body:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
