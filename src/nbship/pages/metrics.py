"""A run's metrics as people read them: with their spread, and beside the champion's.

One table for the run page and for the note on a merge request. Judges nothing: that is the gate's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbship.gate import Check
from nbship.graph import champion_step
from nbship.pages import formatting
from nbship.record import RunRecord, StepRecord


@dataclass(frozen=True)
class MeasuredRow:
    """A measured value as text, and its interval or standard deviation where the step measured that too."""

    name: str
    value: Any
    spread: str = ""

    @property
    def text(self) -> str:
        """The value, rounded."""
        return formatting.number_text(self.value)


@dataclass(frozen=True)
class Compared:
    """A line of the gate's table."""

    metric: MeasuredRow
    champion: MeasuredRow | None
    difference: str
    tone: str
    check: Check | None


def measured(step: StepRecord) -> list[MeasuredRow]:
    """Returns a step's metrics; `NAME_low` with `NAME_high`, or `NAME_std`, are told along with `NAME`."""
    values = {**step.results, **step.metrics}
    metrics = []
    for name, value in values.items():
        base, _, part = name.rpartition("_")
        if base in values and (part == "std" or (part in ("low", "high") and _has_interval(base, values))):
            continue
        spread = ""
        if _has_interval(name, values):
            low, high = (formatting.number_text(values[f"{name}_{end}"]) for end in ("low", "high"))
            spread = f"{low} to {high}"
        elif f"{name}_std" in values:
            spread = f"± {formatting.number_text(values[f'{name}_std'])}"
        metrics.append(MeasuredRow(name, value, spread))
    return metrics


def _has_interval(name: str, values: Mapping[str, Any]) -> bool:
    return f"{name}_low" in values and f"{name}_high" in values


def compared(record: RunRecord) -> list[Compared]:
    """Returns the metrics of the gate's step beside the champion's, and others that have bounds."""
    step = record.steps.get(record.gate.step) if record.gate else None
    if step is None:
        return []
    champion = record.steps.get(champion_step(step.name))
    theirs = {metric.name: metric for metric in measured(champion)} if champion else {}
    checks = {check.metric.removeprefix(f"{step.name}."): check for check in _checks(record)}
    rows = [_row(metric, theirs.get(metric.name), checks.pop(metric.name, None)) for metric in measured(step)]
    return [*rows, *(_row(MeasuredRow(name, check.value), None, check) for name, check in checks.items())]


def _checks(record: RunRecord) -> tuple[Check, ...]:
    return record.verdict.checks if record.verdict else ()


def _row(metric: MeasuredRow, champion: MeasuredRow | None, check: Check | None) -> Compared:
    difference, tone = "", ""
    if champion and _is_number(metric.value) and _is_number(champion.value):
        change = metric.value - champion.value
        difference = formatting.change_text(metric.value, champion.value)
        if change and check and (check.min is None) != (check.max is None):
            tone = "better" if (change < 0) == (check.min is None) else "worse"
    return Compared(metric, champion, difference, tone, check)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
