"""What running and editing leaves in a notebook's file: outputs, counts, metadata, cells without an id.

One finding for each kind and notebook: nobody reads a line for every cell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from nbship.linting.cells import Cell, Source
from nbship.linting.finding import LintFinding

# What a person or a tool sets on purpose; all else is the state of somebody's editor.
NOTEBOOK_METADATA = {"authors", "jupytext", "kernelspec", "language_info", "mystnb", "nbsphinx", "title"}
CELL_METADATA = {
    *("deletable", "editable", "format", "mystnb", "name", "nbsphinx", "raw_mimetype", "slideshow", "tags"),
}
_LARGEST_OUTPUT = 1_000_000


def leftovers(notebook: Source) -> Iterator[LintFinding]:
    """Finds what a reviewer would have to ask to be removed, and ids that are missing."""
    extra = set(notebook.content["metadata"]) - NOTEBOOK_METADATA
    marked, nameless, twice = list[Cell](), list[Cell](), list[Cell]()
    seen: set[object] = set()
    for cell in notebook.cells:
        identifier = cell.content.get("id")
        if identifier is None:
            nameless.append(cell)
        elif identifier in seen:
            twice.append(cell)
        seen.add(identifier)
        own = set(cell.content.get("metadata", {})) - CELL_METADATA
        if own and not cell.silences("editor-metadata"):
            marked.append(cell)
            extra |= own
    if extra:
        names = sorted(extra)
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        where = f" in {_count(marked, 'cell')}" if marked else ""
        yield LintFinding(notebook.name, 0, 0, "editor-metadata", f"metadata of an editor{where}: {shown}")
    yield from _sum(notebook, "missing-id", nameless, "no id")
    yield from _sum(notebook, "duplicate-id", twice, "the id of a cell above")


def outputs(notebook: Source) -> Iterator[LintFinding]:
    """Finds outputs where they are not the point, and very large ones anywhere."""
    cells = [cell for cell in notebook.cells if cell.kind == "code"]
    if notebook.keeps_outputs:
        yield from _large(notebook, cells)
        yield from _order(notebook, cells)
    else:
        ran = [c for c in cells if c.content.get("outputs") or c.content.get("execution_count") is not None]
        yield from _sum(notebook, "outputs", ran, "outputs or an execution count")


def _large(notebook: Source, cells: Sequence[Cell]) -> Iterator[LintFinding]:
    for cell in cells:
        size = len(json.dumps(cell.content.get("outputs") or [], ensure_ascii=False))
        if size > _LARGEST_OUTPUT:
            message = f"the cell's output takes {size / 1e6:.1f} MB in Git"
            yield LintFinding(notebook.name, cell.number, 0, "large-output", message)


def _order(notebook: Source, cells: Sequence[Cell]) -> Iterator[LintFinding]:
    """Told at the first cell that ran before one above it."""
    highest = 0
    for cell in cells:
        count = cell.content.get("execution_count")
        if not isinstance(count, int) or cell.silences("execution-order"):
            continue
        if count <= highest:
            message = f"the cell ran as number {count}, after number {highest} above it"
            yield LintFinding(notebook.name, cell.number, 0, "execution-order", message)
            return
        highest = count


def _sum(notebook: Source, rule: str, cells: Sequence[Cell], what: str) -> Iterator[LintFinding]:
    told = [cell for cell in cells if not cell.silences(rule)]
    if told:
        verb = "has" if len(told) == 1 else "have"
        yield LintFinding(notebook.name, 0, 0, rule, f"{_count(told, 'cell')} {verb} {what}")


def _count(items: Sequence[object], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"
