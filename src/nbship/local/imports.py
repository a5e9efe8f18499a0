"""What a notebook imports: libraries worth preloading, and files of the project that are part of its code."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path


def imported_modules(code: Iterable[str]) -> list[str]:
    """Returns the dotted names that import statements at the top of a cell's code mention.

    `from a import b` counts as `a` and as `a.b`, which may or may not be a module. Lines of IPython's own syntax
    are passed over, as are cells that are not Python beside them.
    """
    names: dict[str, None] = {}
    for source in code:
        plain = "\n".join(
            "" if line.lstrip()[:1] in ("%", "!", "?") else line for line in source.splitlines()
        )
        try:
            body = ast.parse(plain).body
        except (SyntaxError, ValueError):
            continue
        for node in body:
            if isinstance(node, ast.Import):
                names.update(dict.fromkeys(alias.name for alias in node.names))
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names[node.module] = None
                names.update(dict.fromkeys(f"{node.module}.{alias.name}" for alias in node.names))
    return list(names)


def local_files(code: Iterable[str], folder: Path) -> list[Path]:
    """Returns the Python files beside a notebook that it imports, and those that they import, sorted.

    Args:
        code: The notebook's code cells.
        folder: The notebook's folder, which is where its kernel looks first.
    """
    found: set[Path] = set()
    waiting = list(imported_modules(code))
    while waiting:
        for path in _files(waiting.pop(), folder):
            if path not in found:
                found.add(path)
                waiting += imported_modules([path.read_text(encoding="utf-8")])
    return sorted(found)


def _files(module: str, folder: Path) -> Iterator[Path]:
    """The files that importing a dotted name from a folder would run."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        base = folder.joinpath(*parts[:count])
        yield from (path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file())
