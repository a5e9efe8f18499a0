"""What a notebook uses beside its own cells: libraries to preload, and files that are part of its code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path


def libraries(code: Iterable[str], folders: Iterable[Path]) -> list[str]:
    """Returns the dotted names that the import statements at the top of cells mention.

    `from a import b` counts as `a` and as `a.b`, which may or may not be a module. Lines of IPython's own
    syntax are passed over, as are cells that are not Python beside them.

    Args:
        code: The notebooks' code cells.
        folders: The notebooks' folders. What is found there comes before a library of the same name.
    """
    folders = set(folders)
    own: dict[str, bool] = {}
    names: dict[str, None] = {}
    for name in _imported(code):
        top = name.partition(".")[0]
        if top not in own:
            own[top] = any((f / top).is_dir() or (f / f"{top}.py").is_file() for f in folders)
        if not own[top]:
            names[name] = None
    return list(names)


def local_files(code: Iterable[str], folder: Path) -> list[Path]:
    """Returns the Python files beside a notebook that its code mentions, and those that they mention, sorted.

    A file is mentioned where its module's name is a word of the code, so an import inside a function, a
    relative one, `%run` and `importlib` all count. One file too many costs a run; one too few would be a
    wrong answer.

    Args:
        code: The notebook's code cells.
        folder: The notebook's folder, which is where its kernel looks first.
    """
    found: set[Path] = set()
    words = _words(code)
    while new := set(_mentioned(words, folder)) - found:
        found |= new
        words |= _words(path.read_text(encoding="utf-8", errors="replace") for path in new)
    return sorted(found)


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


def _words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in re.findall(r"\w+", text)}


def _mentioned(words: set[str], folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.suffix == ".py" and (path.stem == "__init__" or _words([path.stem]) <= words):
            yield path
        elif path.name in words and path.is_dir():
            yield from _mentioned(words, path)
