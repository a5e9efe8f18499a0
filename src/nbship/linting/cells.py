"""Reads a notebook as a linter needs it: every cell with its text, its tree, and what the file says of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nbship.linting.magics import Magic, magic, parse
from nbship.notebook import PARAMETERS_TAG, no_notebook, read_content, whole_text

_IGNORE = re.compile(r"nbship: ignore\[([\w, -]+)\]")


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        number: From 1.
        kind: `code`, `markdown` or `raw`.
        source: Its text.
        content: All that the file says of it.
    """

    number: int
    kind: str
    source: str
    content: dict[str, Any]

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        tags = self.content.get("metadata", {}).get("tags", [])
        return tags if isinstance(tags, list) else []

    @cached_property
    def parsed(self) -> ast.Module | SyntaxError:
        """Its tree, IPython's own syntax turned into calls; or why there is none."""
        try:
            return parse(self.source) if self.kind == "code" else ast.Module([], [])
        except SyntaxError as error:
            return error

    @property
    def tree(self) -> ast.Module:
        """Its tree; an empty one if it cannot be parsed."""
        return self.parsed if isinstance(self.parsed, ast.Module) else ast.Module([], [])

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All nodes of its tree."""
        return tuple(ast.walk(self.tree))

    @property
    def magics(self) -> Iterator[tuple[Magic, ast.Call]]:
        """Its magics and lines for the shell, with their calls; not those whose code is in the tree."""
        for node in self.nodes:
            found = magic(node)
            if found and isinstance(node, ast.Call):
                yield found, node

    def silences(self, rule: str, line: int = 0) -> bool:
        """Whether a comment silences a rule: in the line, or alone in the cell's first line for all of it."""
        lines = self.source.splitlines()
        places = lines[:1] if not line or lines[0].lstrip().startswith("#") else []
        places += lines[line - 1 : line] if line else []
        named = ",".join(found for place in places for found in _IGNORE.findall(place))
        return rule in {name.strip() for name in named.split(",")}


@dataclass(frozen=True)
class Source:
    """A notebook.

    Attributes:
        path: The file.
        name: What to call it.
        content: All that is in the file.
        cells: Its cells.
    """

    path: Path
    name: str
    content: dict[str, Any]
    cells: tuple[Cell, ...]

    @property
    def code(self) -> list[Cell]:
        """The code cells; none if the notebook is in another language than Python."""
        return [cell for cell in self.cells if cell.kind == "code"] if self.is_python else []

    @property
    def is_python(self) -> bool:
        """Whether its kernel speaks Python; yes if the file does not say."""
        metadata = self.content["metadata"]
        languages = (
            (metadata.get("kernelspec") or {}).get("language"),
            (metadata.get("language_info") or {}).get("name"),
            (metadata.get("jupytext") or {}).get("main_language"),
        )
        return next((str(name).lower().startswith(("python", "ipython")) for name in languages if name), True)

    @property
    def parameters(self) -> Cell | None:
        """The cell that is a step's signature; None for a notebook that is no step."""
        return next((cell for cell in self.code if PARAMETERS_TAG in cell.tags), None)

    @property
    def keeps_outputs(self) -> bool:
        """Whether what it shows is its point: experiments are kept as they ran."""
        return self.path.name.startswith("experiment")


def read_source(path: Path, name: str) -> Source:
    """Reads a notebook.

    Raises:
        UsageError: It is missing, or no notebook.
    """
    content = read_content(path, name)
    try:
        cells = tuple(_cell(number, cell) for number, cell in enumerate(content["cells"], start=1))
        content["metadata"].keys()
        int(content["nbformat_minor"])
        source = Source(path, name, content, cells)
        source.is_python  # noqa: B018 (metadata of another shape is no notebook)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise no_notebook(name) from None
    return source


def _cell(number: int, content: dict[str, Any]) -> Cell:
    content.get("metadata", {}).keys()
    return Cell(number, content["cell_type"], whole_text(content["source"]), content)
