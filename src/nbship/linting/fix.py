"""Removes what can be removed without asking: leftovers of running and editing. Code stays its author's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from nbship.files import write_text
from nbship.linting.cells import Source, read_source
from nbship.linting.leftovers import CELL_METADATA, NOTEBOOK_METADATA


def fix_notebook(path: Path, name: str = "") -> bool:
    """Clears outputs and editors' metadata and adds ids; a file that needs nothing is not written.

    Returns:
        Whether it was changed.

    Raises:
        UsageError: It is missing, or no notebook.
        NbshipError: It cannot be written; the old file is whole.
    """
    notebook = read_source(path, name or str(path))
    before = json.dumps(notebook.content)
    content = notebook.content
    _keep(content["metadata"], NOTEBOOK_METADATA)
    for cell in notebook.cells:
        _keep(cell.content.get("metadata", {}), CELL_METADATA)
        if cell.kind == "code" and not notebook.keeps_outputs:
            cell.content.update(outputs=[], execution_count=None)
    _add_ids(notebook, content)
    if json.dumps(content) == before:
        return False
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return True


def _keep(metadata: dict[str, Any], names: set[str]) -> None:
    for name in set(metadata) - names:
        del metadata[name]


def _add_ids(notebook: Source, content: dict[str, Any]) -> None:
    """Gives an id to each cell that has none of its own; the same cells get the same ids again."""
    seen: set[str] = set()
    for cell in notebook.cells:
        identifier = cell.content.get("id")
        if identifier is None or identifier in seen:
            digest = hashlib.sha256(
                f"{cell.kind}\0{cell.source}".encode("utf-8", "surrogatepass")
            ).hexdigest()
            taken = seen | {c.content["id"] for c in notebook.cells if "id" in c.content}
            number, identifier = 0, digest[:8]
            while identifier in taken:
                number += 1
                identifier = f"{digest[:8]}-{number}"
            cell.content["id"] = identifier
            content["nbformat_minor"] = max(content["nbformat_minor"], 5)
        seen.add(identifier)
