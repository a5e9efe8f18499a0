"""Reads a notebook as a linter needs it: every cell with its text, its tree, and what the file says of it."""

from __future__ import annotations

import ast
import json
import re
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nbship.errors import UsageError
from nbship.notebook import PARAMETERS_TAG, without_magics

# Magics of a whole cell whose body is Python all the same.
_PYTHON_MAGIC = re.compile(r"^%%(time|timeit|capture|prun)\b[^\n]*")
_ANY_MAGIC = re.compile(r"^\s*(%|!|\?)|^\s*\w+\s*=\s*[%!]|\?\s*$", re.MULTILINE)
_UNREADABLE = (SyntaxError, ValueError, MemoryError, RecursionError)


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
    def has_magics(self) -> bool:
        """Whether it holds anything that is IPython's and not Python's."""
        return bool(_ANY_MAGIC.search(self.source))

    @cached_property
    def parsed(self) -> ast.Module | SyntaxError:
        """Its tree, magics turned into calls; or why there is none."""
        if self.kind != "code":
            return ast.Module([], [])
        source = _PYTHON_MAGIC.sub("", self.source.lstrip("\n")) if self.has_magics else self.source
        try:
            return _parse(without_magics(source) if self.has_magics else source)
        except SyntaxError as error:
            return error
        except _UNREADABLE as error:
            return SyntaxError(str(error) or "too deeply nested")

    @property
    def tree(self) -> ast.Module:
        """Its tree; an empty one if it cannot be parsed."""
        return self.parsed if isinstance(self.parsed, ast.Module) else ast.Module([], [])


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
        """The code cells."""
        return [cell for cell in self.cells if cell.kind == "code"]

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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["nbformat"] < 4:
            raise UsageError(
                f"{name}: notebook format {content['nbformat']} is too old", "save it in Jupyter"
            )
        cells = tuple(_cell(number, cell) for number, cell in enumerate(content["cells"], start=1))
        content["metadata"].keys()
        int(content["nbformat_minor"])
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}", "check the path") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(f"{name}: not a notebook (nbformat 4 JSON)", "open and save it in Jupyter") from None
    return Source(path, name, content, cells)


def _cell(number: int, content: dict[str, Any]) -> Cell:
    source = content["source"]
    content.get("metadata", {}).keys()
    return Cell(number, content["cell_type"], source if isinstance(source, str) else "".join(source), content)


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings(action="ignore"):
        tree: ast.Module = compile(source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return tree
