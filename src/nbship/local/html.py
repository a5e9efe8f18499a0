"""Writes an executed notebook as one HTML file that reads without a network.

nbconvert does the work. Its page asks public servers for RequireJS, MathJax, Mermaid and widgets: this one
asks nobody, and keeps outputs from asking. Formulas and diagrams stay the text that they are.

Not for the run page.
"""

from __future__ import annotations

import functools
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from nbship.errors import NbshipError
from nbship.files import write_text

if TYPE_CHECKING:
    from nbconvert.exporters.html import HTMLExporter
    from nbformat import NotebookNode

_TEMPLATE = Path(__file__).parent / "templates" / "notebook.html.j2"
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
    resources = {"metadata": metadata}
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
