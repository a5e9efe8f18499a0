"""Writes an executed notebook as one HTML file that reads without a network.

nbconvert does the work. Its page asks public servers for RequireJS, MathJax and Mermaid whether they are
needed or not; here a script is only asked for by a notebook that has something for it to show.

Not for the run page.
"""

from __future__ import annotations

import functools
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbship.errors import NbshipError
from nbship.files import write_text

if TYPE_CHECKING:
    from nbconvert.exporters.html import HTMLExporter
    from nbformat import NotebookNode

_TEMPLATE = Path(__file__).parent / "templates" / "notebook.html.j2"
_MATH = re.compile(r"\$[^$]+\$|\\\(|\\\[|\\begin\{")
_HEADING = re.compile(r"^#+\s+(.+)", re.MULTILINE)
# An exporter keeps what it converts on itself, and takes longer to set up than to convert: one, used in turn.
_turn = threading.Lock()


def export_html(executed: Path, html: Path) -> None:
    """Converts a notebook, finished or failed half-way, to a self-contained HTML file.

    Args:
        executed: The notebook; it is only read.
        html: Where the page goes; written atomically.

    Raises:
        NbshipError: The notebook cannot be read or the page cannot be written.
    """
    import nbformat

    try:
        notebook = nbformat.read(executed, as_version=4)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise NbshipError(
            f"{executed}: not a readable notebook ({error})", "run the step again: --from STEP"
        ) from None
    notebook.metadata.setdefault("title", _title(notebook, executed.stem))
    metadata = {"name": executed.stem, "path": str(executed.parent)}
    resources = {"metadata": metadata, "loads": _needed(notebook)}
    with _turn:
        body, _ = _exporter().from_notebook_node(notebook, resources=resources)
    write_text(html, body)


@functools.cache
def _exporter() -> HTMLExporter:
    from nbconvert.exporters.html import HTMLExporter

    return HTMLExporter(template_name="lab", template_file=str(_TEMPLATE), embed_images=True)


def _title(notebook: NotebookNode, fallback: str) -> str:
    headings = (_HEADING.search(cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
    first = next(filter(None, headings), None)
    return first[1].strip() if first else fallback


def _needed(notebook: NotebookNode) -> dict[str, bool]:
    """Which of nbconvert's scripts the notebook has something for."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    data: list[dict[str, Any]] = [
        output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])
    ]
    texts += [str(bundle["text/markdown"]) for bundle in data if "text/markdown" in bundle]
    kinds = ("text/html", "application/javascript")
    scripts = [str(bundle.get(kind, "")) for bundle in data for kind in kinds]
    return {
        "math": any("text/latex" in bundle for bundle in data) or any(map(_MATH.search, texts)),
        "mermaid": any("text/vnd.mermaid" in b for b in data) or any("```mermaid" in text for text in texts),
        "require": any("require" in script for script in scripts),
    }
