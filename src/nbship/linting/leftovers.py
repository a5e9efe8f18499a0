"""What running and editing leaves in a notebook's file: outputs, counts, metadata, cells without an id."""

from __future__ import annotations

import json
from collections.abc import Iterator

from nbship.linting.cells import Source
from nbship.linting.finding import Finding

NOTEBOOK_METADATA = {"kernelspec", "language_info"}
CELL_METADATA = {"tags", "editable", "slideshow"}
_LARGEST_OUTPUT = 1_000_000


def leftovers(notebook: Source) -> Iterator[Finding]:
    """Finds what a reviewer would have to ask to be removed, and ids that are missing."""
    extra = sorted(set(notebook.content["metadata"]) - NOTEBOOK_METADATA)
    if extra:
        yield Finding(notebook.name, 0, 0, "editor-metadata", f"metadata of an editor: {', '.join(extra)}")
    seen: set[object] = set()
    for cell in notebook.cells:
        identifier = cell.content.get("id")
        if identifier is None:
            yield Finding(notebook.name, cell.number, 0, "missing-id", "the cell has no id")
        elif identifier in seen:
            message = f"a cell above has the id '{identifier}' too"
            yield Finding(notebook.name, cell.number, 0, "duplicate-id", message)
        seen.add(identifier)
        extra = sorted(set(cell.content.get("metadata", {})) - CELL_METADATA)
        if extra:
            message = f"metadata of an editor: {', '.join(extra)}"
            yield Finding(notebook.name, cell.number, 0, "editor-metadata", message)


def outputs(notebook: Source) -> Iterator[Finding]:
    """Finds outputs where they are not the point, and very large ones anywhere."""
    last = 0
    for cell in notebook.code:
        shown = cell.content.get("outputs") or []
        count = cell.content.get("execution_count")
        if not notebook.keeps_outputs:
            if shown or count is not None:
                yield Finding(notebook.name, cell.number, 0, "outputs", "the cell has outputs")
            continue
        size = len(json.dumps(shown, ensure_ascii=False))
        if size > _LARGEST_OUTPUT:
            message = f"the cell's output takes {size / 1e6:.1f} MB in Git"
            yield Finding(notebook.name, cell.number, 0, "large-output", message)
        if isinstance(count, int):
            if count <= last:
                message = f"the cell ran as number {count}, after number {last} above it"
                yield Finding(notebook.name, cell.number, 0, "execution-order", message)
            last = count
