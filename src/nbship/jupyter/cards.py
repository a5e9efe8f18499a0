"""What cells show, as HTML that stands on its own: a run, a pipeline, a sweep, and how a run gets on.

Texts from notebooks and parameters are strangers' texts: Jinja escapes them all. Colours are those of
JupyterLab's theme, light or dark; elsewhere, those of the system.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nbship.graph import Graph, champion_step
from nbship.pages import formatting
from nbship.pages.drawing import graph_svg, run_svg, sign_path
from nbship.pages.metrics import compared
from nbship.pages.outputs import read_shown
from nbship.record import PAGE, RunRecord
from nbship.rendering import template_environment
from nbship.workflow.progress import Progress
from nbship.workflow.show import view

if TYPE_CHECKING:
    from nbship.pages.sweep_page import SweepRecord
    from nbship.splitting.plan import SplitPlan

_TEMPLATES = Path(__file__).parent / "templates"
# Plots go into the notebook that shows them: more than this, in characters, is left to the run page.
_MOST_PICTURES = 3_000_000


def run_card(record: RunRecord, folder: Path) -> str:
    """Returns a run: verdict, graph, metrics beside the champion's, plots, links."""
    page = _address(folder / PAGE)
    rows = compared(record)
    pictures, left_out = _pictures(record, folder)
    return _render(
        "run.html.j2",
        run=record,
        outcome=formatting.outcome(record),
        synthetic=formatting.synthetic_text(record),
        graph=run_svg(record, page=page) if record.steps else "",
        compared=rows,
        has_champion=any(row.champion for row in rows),
        pictures=pictures,
        left_out=left_out,
        page=page if (folder / PAGE).is_file() else "",
        notebooks={s.name: _address(folder / s.notebook) for s in record.steps.values() if s.notebook},
    )


def pipeline_card(graph: Graph) -> str:
    """Returns a pipeline: its graph, and what each step takes, may be set to, and gives."""
    return _render("pipeline.html.j2", pipeline=view(graph), graph=graph_svg(graph))


def sweep_card(record: SweepRecord, folder: Path) -> str:
    """Returns a sweep: its combinations, the best first."""
    return _render("sweep.html.j2", sweep=record, page=_address(folder / PAGE))


def compiled_card(view: Mapping[str, Any]) -> str:
    """Returns what Kubeflow sees of a pipeline: components, and what may be set when it is submitted."""
    return _render("compiled.html.j2", **view)


def split_card(plan: SplitPlan, written: Sequence[str], picture: str) -> str:
    """Returns how a notebook is split: the graph, what will hurt, and what was written."""
    return _render("split.html.j2", plan=plan, written=written, graph=picture)


def opened_card(opened: Any, address: str) -> str:
    """Returns a link to a notebook, and what was put in place for it."""
    return _render("opened.html.j2", opened=opened, address=address)


def progress_card(name: str, progress: Progress, ended: bool) -> str:
    """Returns how a run gets on, a line for each step."""
    left = progress.left()
    return _render(
        "progress.html.j2",
        title=name,
        rows=progress.rows(),
        counts=progress.counts(),
        left=formatting.about_text(left) if left and not ended else "",
        ended=ended,
    )


def _pictures(record: RunRecord, folder: Path) -> tuple[list[tuple[str, Any]], int]:
    """The plots of the candidate's steps, by step, and how many there is no room for."""
    champion = champion_step(record.gate.step) if record.gate else ""
    found = [
        (step.name, picture)
        for step in record.steps.values()
        if step.notebook and step.name != champion
        for picture in read_shown(folder / step.notebook).pictures
    ]
    room, kept = _MOST_PICTURES, []
    for step, picture in found:
        room -= len(picture.source)
        if room >= 0:
            kept.append((step, picture))
    return kept, len(found) - len(kept)


def _address(path: Path) -> str:
    """From the notebook's folder, in which its kernel works and by which JupyterLab finds files."""
    return quote(Path(os.path.relpath(path)).as_posix())


def _render(template: str, **values: Any) -> str:
    from markupsafe import Markup

    style = Markup((_TEMPLATES / "card.css").read_text(encoding="utf-8"))  # noqa: S704 (our own)
    if "graph" in values:
        values["graph"] = Markup(values["graph"])  # noqa: S704 (names are escaped where it is drawn)
    text: str = _environment().get_template(template).render(style=style, **values)
    return text


@functools.cache
def _environment() -> Any:
    filters: Mapping[str, Callable[..., Any]] = {
        "about": formatting.about_text,
        "bounds": formatting.bounds_text,
        "number": formatting.number_text,
        "seconds": formatting.seconds_text,
        "sign": sign_path,
        "value": formatting.value_text,
    }
    return template_environment(_TEMPLATES, True, filters)
