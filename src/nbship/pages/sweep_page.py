"""What is written of a sweep: `sweep.json`, and the page that shows which combination did best.

Choosing the combinations and running them are not its business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from nbship.files import write_text
from nbship.pages import formatting
from nbship.pages.template import TEMPLATES, template
from nbship.record import PAGE, RUNS, State

Goal = Literal["min", "max"]
RECORD = "sweep.json"
_PANEL = (300, 190)
_MARGIN = (54, 16, 14, 40)


class Trial(BaseModel):
    """A combination.

    Attributes:
        step: The step that measured it, by its name in the sweep's folder.
        parameters: Value by `step.parameter`.
        state: How the step that measures it ended.
        value: The metric; None if there is none.
        spread: The metric's standard deviation, where the step measures that too.
        seconds: How long that step took, now or when it was first run.
        html: The executed notebook, from the sweep's folder.
        error: What went wrong.
    """

    step: str
    parameters: dict[str, Any]
    state: State
    value: float | None = None
    spread: float | None = None
    seconds: float = 0.0
    html: str = ""
    error: str = ""


class SweepRecord(BaseModel):
    """A sweep; its trials are in order, the best first.

    Attributes:
        metric: `step.metric`.
        goal: Whether less or more of it is better.
        held_out: Whether the metric is measured on the rows that judge the model in the end.
    """

    id: str
    pipeline: str
    started: datetime
    seconds: float = 0.0
    state: State = State.RUNNING
    metric: str = ""
    goal: Goal = "min"
    held_out: bool = False
    trials: list[Trial] = []

    @property
    def best(self) -> Trial | None:
        """The best combination; None if none was measured."""
        return self.trials[0] if self.trials and self.trials[0].value is not None else None


def sweep_folder(root: Path, pipeline: str, sweep_id: str) -> Path:
    """Returns the folder of a sweep."""
    return root / RUNS / pipeline / "sweeps" / sweep_id


def all_sweeps(root: Path, pipeline: str) -> Iterator[SweepRecord]:
    """Yields the readable records of a pipeline's sweeps, the oldest first."""
    for path in sorted(sweep_folder(root, pipeline, "").glob(f"*/{RECORD}")):
        with suppress(OSError, ValidationError):
            yield SweepRecord.model_validate_json(path.read_text(encoding="utf-8"))


def ranked(trials: Sequence[Trial], goal: str) -> list[Trial]:
    """Returns trials best first; those without a value, or with one that is no number, are last."""
    sign = 1 if goal == "min" else -1

    def place(trial: Trial) -> tuple[bool, float]:
        missing = trial.value is None or math.isnan(trial.value)
        return missing, 0.0 if trial.value is None or missing else sign * trial.value

    return sorted(trials, key=place)


def write_sweep(record: SweepRecord, folder: Path) -> Path:
    """Writes the record and its page, atomically; returns the page's path.

    Raises:
        NbshipError: They cannot be written.
    """
    write_text(folder / RECORD, record.model_dump_json(indent=2))
    write_text(folder / PAGE, _render(record))
    return folder / PAGE


def _render(record: SweepRecord) -> str:
    from markupsafe import Markup

    filters: dict[str, Callable[..., Any]] = {
        "number": formatting.number_text,
        "seconds": formatting.seconds_text,
        "text": formatting.value_text,
        "url": quote,
    }
    names = list(record.trials[0].parameters) if record.trials else []
    varied = [name for name in names if len({str(t.parameters[name]) for t in record.trials}) > 1] or names
    return template("sweep.html.j2", filters).render(
        sweep=record,
        started=record.started.astimezone(),
        names=varied,
        panels=[Markup(panel_svg(record, name)) for name in varied],  # noqa: S704 (escaped where drawn)
        style=Markup((TEMPLATES / "run.css").read_text(encoding="utf-8")),  # noqa: S704
    )


def panel_svg(record: SweepRecord, name: str) -> str:
    """Draws the metric over the values of one parameter: a dot for each combination, the best one filled."""
    trials = [t for t in record.trials if t.value is not None and math.isfinite(t.value)]
    if not trials:
        return ""
    values = _ordered([t.parameters[name] for t in record.trials])
    (width, height), (left, right, top, bottom) = _PANEL, _MARGIN
    ends = [t.value + sign * (t.spread or 0) for t in trials for sign in (-1, 1) if t.value is not None]
    low, high = min(ends), max(ends)
    scale = (height - top - bottom) / ((high - low) or 1)

    def across(value: Any) -> float:
        return left + (width - left - right) * (values.index(value) + 0.5) / len(values)

    def down(value: float) -> float:
        return top + (high - value) * scale if high > low else (top + height - bottom) / 2

    parts = [
        f'<line class="axis" x1="{left}" x2="{width - right}" y1="{height - bottom}" y2="{height - bottom}"/>'
    ]
    for tick in {low, high} if high > low else {low}:
        text = escape(formatting.number_text(tick))
        parts.append(
            f'<text class="tick" x="{left - 6}" y="{down(tick) + 4:.1f}" text-anchor="end">{text}</text>'
        )
    shown = values if len(values) <= 8 else [values[0], values[len(values) // 2], values[-1]]
    for value in shown:
        text = escape(_short(formatting.value_text(value)))
        x, y = across(value), height - bottom + 15.0
        parts.append(f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="middle">{text}</text>')
    for trial in reversed(trials):  # the best one last, on top
        x, y = across(trial.parameters[name]), down(trial.value or 0.0)
        if trial.spread:
            y1, y2 = down((trial.value or 0.0) + trial.spread), down((trial.value or 0.0) - trial.spread)
            parts.append(f'<line class="spread" x1="{x:.1f}" x2="{x:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>')
        best = ' class="best"' if trial is record.best else ""
        parts.append(f'<circle{best} cx="{x:.1f}" cy="{y:.1f}" r="{5 if best else 4}"/>')
    label = escape(name)
    parts.append(
        f'<text x="{(left + width - right) / 2}" y="{height - 6}" text-anchor="middle">{label}</text>'
    )
    title = escape(f"{record.metric} over {name}")
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}">{"".join(parts)}</svg>'


def _ordered(values: Sequence[Any]) -> list[Any]:
    """The different values: numbers ascending, others as they come."""
    different = [value for i, value in enumerate(values) if value not in values[:i]]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in different)
    return sorted(different) if numbers else different


def _short(text: str) -> str:
    return text if len(text) <= 12 else text[:11] + "…"
