"""The page that shows whether a served model is still right: what changed, how sure, since when, what to do.

Shows what it is given, in one file that needs nothing else; what was found is not decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from nbship.pages.bars import Chart, Point, bars_svg, line_svg
from nbship.pages.template import TEMPLATES, template


@dataclass(frozen=True)
class ChangedColumn:
    """A column that is not as it was.

    Attributes:
        name: The column.
        reasons: What was found, in words.
        since: When it began, in words; empty if that is not known.
        psi: Population stability index; None if there is none.
        chart: Both distributions; None where there is nothing to draw.
    """

    name: str
    reasons: tuple[str, ...]
    since: str
    psi: float | None
    chart: Chart | None


@dataclass(frozen=True)
class FindingRow:
    """One test, as its table shows it."""

    about: str
    kind: str
    text: str
    p: str
    effect: str
    state: str


@dataclass(frozen=True)
class WatchedMetric:
    """A metric of the window's labels, as its table shows it."""

    name: str
    value: str
    interval: str
    promised: str


@dataclass(frozen=True)
class MonitorView:
    """What the page shows.

    Attributes:
        name: The model.
        description: What it is for.
        version: Whose answers were examined.
        reference: Whose reference they were compared with.
        since: Of the window.
        until: Its end.
        rows: Records in it.
        labels: How many of them have a label.
        state: What was decided.
        reasons: Why.
        advice: What to do, a sentence each.
        columns: Those that are not as they were.
        together: What a classifier makes of all columns; empty if nothing.
        predictions: What is to be said of answers, a sentence each.
        metrics: Of the labels.
        metric: Which one is drawn over time.
        points: It, by day or week.
        promised: It, on the rows that the model was judged on.
        slices: Where the model is worst, in words.
        tests: All of them.
        notes: What else is to be known.
    """

    name: str
    description: str
    version: str
    reference: str
    since: datetime
    until: datetime
    rows: int
    labels: int
    state: Literal["too few", "quiet", "look", "act"]
    reasons: tuple[str, ...]
    advice: tuple[str, ...]
    columns: tuple[ChangedColumn, ...] = ()
    together: str = ""
    predictions: tuple[str, ...] = ()
    metrics: tuple[WatchedMetric, ...] = ()
    metric: str = ""
    points: tuple[Point, ...] = ()
    promised: float | None = None
    slices: tuple[str, ...] = ()
    tests: tuple[FindingRow, ...] = ()
    notes: tuple[str, ...] = ()


_TONES = {"act": "bad", "look": "warning", "quiet": "good", "too few": "neutral"}
_TITLES = {
    "act": "Act: it is not what it was",
    "look": "Worth a look",
    "quiet": "Quiet",
    "too few": "Too few records to judge",
}


def monitor_page(view: MonitorView) -> str:
    """Returns the page as HTML."""
    from markupsafe import Markup

    return template("monitor.html.j2", {}).render(
        view=view,
        tone=_TONES[view.state],
        title=_TITLES[view.state],
        charts=_charts(view.columns),
        over_time=Markup(line_svg(view.metric, view.points, view.promised)),  # noqa: S704 (escaped where drawn)
        style=Markup((TEMPLATES / "run.css").read_text(encoding="utf-8")),  # noqa: S704
    )


def _charts(columns: Sequence[ChangedColumn]) -> list[str]:
    from markupsafe import Markup

    return [Markup(bars_svg(column.name, column.chart) if column.chart else "") for column in columns]  # noqa: S704
