"""Decides by thresholds and by the comparison with the champion whether a candidate may take its place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from nbship.errors import UsageError, suggestion
from nbship.gate.comparison import Comparison, compare, compare_recipes, percent_text
from nbship.gate.losses import Losses, Refits

if TYPE_CHECKING:
    from nbship.config import Gate, Threshold

Metrics = Mapping[str, float]
# With fewer rows than this left, what the champion was trained on has taken too many.
_FEWEST_ROWS = 30


class _Frozen(BaseModel):
    # A metric may be NaN, and JSON has no such number.
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class Check(_Frozen):
    """A metric held against its bounds."""

    metric: str
    value: float
    min: float | None
    max: float | None
    passed: bool

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return f"{self.metric} is {self.value}, not a finite number"
        number = f"{self.value:.4g}"
        if self.passed:
            bounds = [f"≥ {self.min:g}"] if self.min is not None else []
            bounds += [f"≤ {self.max:g}"] if self.max is not None else []
            return f"{self.metric} {number} {' and '.join(bounds)}"
        if _is_within(float(number), self.min, self.max):  # it only seems so, because it is rounded
            number = repr(self.value)
        too_low = self.min is not None and self.value < self.min
        return f"{self.metric} {number} is not {f'≥ {self.min:g}' if too_low else f'≤ {self.max:g}'}"


class Verdict(_Frozen):
    """Whether a candidate may replace the champion, and why.

    Attributes:
        passed: The decision.
        reasons: What decided it: every failed condition, or why the candidate passed.
        checks: The thresholds.
        comparison: The comparison with the champion that decided; None where there was none.
        held_out: The comparison on held-out rows, where that of the recipes decided.
        objections: The reasons against it that are neither a threshold nor the outcome of the comparison.
        above_best: How far the candidate's mean loss is above the best model's before it, as a share.
        tries: How many models were tried on these held-out rows, this one included; 0 without a champion.
        held_out_set: Which held-out rows those were: a hash of their identifiers.
        notes: What is to be known of the comparison: rows that were left out, and why it was made as it was.
    """

    passed: bool
    reasons: tuple[str, ...]
    checks: tuple[Check, ...] = ()
    comparison: Comparison | None = None
    held_out: Comparison | None = None
    objections: tuple[str, ...] = ()
    above_best: float = 0.0
    tries: int = 0
    held_out_set: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """What is known of candidate and champion beside their losses.

    Attributes:
        seen: The held-out rows that the champion was trained on, and the candidate was not.
        above_best: How far the champion's mean loss is above the best model's before it, as a share.
        tries: How many models were tried on these held-out rows, this one included.
        held_out_set: Which held-out rows those are.
        notes: What else is to be told.
    """

    seen: frozenset[str] = frozenset()
    above_best: float = 0.0
    tries: int = 1
    held_out_set: str = ""
    notes: tuple[str, ...] = ()


def judge(
    gate: Gate,
    metrics: Metrics,
    candidate: Losses | None = None,
    champion: Losses | None = None,
    refits: Refits | None = None,
    known: Known | None = None,
) -> Verdict:
    """Decides whether a candidate passes the gate.

    Without a champion, the thresholds alone decide. With one, the recipes are compared where both were fitted
    again, and the models as they are on held-out rows otherwise. Where the recipes are compared, a candidate
    that is shown to be worse on the held-out rows fails too: something may be wrong with what it learnt from.

    Args:
        gate: The gate of the pipeline file.
        metrics: Metric by `step.metric`.
        candidate: The candidate's loss by row.
        champion: The champion's loss on the same rows, if there is a champion.
        refits: The losses of both, fitted again to the same folds, if they were.
        known: What is known beside.

    Raises:
        UsageError: A threshold names a metric that was not measured.
        NbshipError: The two losses are not of the same rows.
    """
    known = known or Known()
    checks = tuple(_check(gate, key, bounds, metrics) for key, bounds in gate.thresholds.items())
    failures = [str(check) for check in checks if not check.passed]
    if champion is None:
        passes = ["no champion yet: only the thresholds were applied", *map(str, checks)]
        reasons = tuple(failures or passes)
        return Verdict(passed=not failures, reasons=reasons, checks=checks, notes=known.notes)
    held_out, notes = _on_held_out_rows(gate, candidate or {}, champion, known)
    comparison, beside = held_out, None
    if refits and refits.folds:
        beside = held_out
        comparison = compare_recipes(refits, gate.tolerance, gate.confidence, known.tries)
    elif refits and refits.reason:
        notes = (*notes, refits.reason)
    if comparison and gate.require == "better":  # an equal model is not to pass
        comparison = comparison.model_copy(update={"power": None})
    above = _above_best(comparison, known.above_best)
    objections = _objections(gate, comparison, beside, known.above_best, above)
    failures += [*_failures(gate, comparison), *objections]
    passes = [str(comparison)] if comparison else ["only the thresholds were applied", *map(str, checks)]
    return Verdict(
        passed=not failures,
        reasons=tuple(failures or passes),
        checks=checks,
        comparison=comparison,
        held_out=beside,
        objections=tuple(objections),
        above_best=above,
        tries=known.tries,
        held_out_set=known.held_out_set,
        notes=(*notes, *known.notes),
    )


def _on_held_out_rows(
    gate: Gate, candidate: Losses, champion: Losses, known: Known
) -> tuple[Comparison | None, tuple[str, ...]]:
    """Compares on rows that the champion was not trained on, if enough are left; and what to say of it."""
    seen = known.seen & champion.keys()
    left = {row: loss for row, loss in champion.items() if row not in seen}
    told = f"the champion was trained on {len(seen):,} of {len(champion):,} held-out rows"
    if seen and len(left) < _FEWEST_ROWS:
        return None, (f"{told}; {len(left)} are left, too few to compare on",)
    ours = {row: loss for row, loss in candidate.items() if row not in seen}
    comparison = compare(ours, left, gate.tolerance, gate.confidence, known.tries)
    return comparison, ((f"{told}, which are left out",) if seen else ())


def _failures(gate: Gate, comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return []
    if comparison.outcome == "worse":
        return [str(comparison)]
    if gate.require == "better" and comparison.outcome != "better":
        tried = f"; {comparison.tried}" if comparison.tried else ""
        return [f"{comparison}; the gate asks for better{tried}"]
    return []


def _objections(
    gate: Gate, comparison: Comparison | None, beside: Comparison | None, before: float, above: float
) -> list[str]:
    if comparison is None:
        lacking = "the gate asks for better, and there are no rows to show it on"
        return [lacking] if gate.require == "better" else []
    objections = []
    if beside and beside.low > gate.tolerance:
        objections.append(f"on held-out rows it is shown to be {beside}")
    if comparison.outcome != "worse" and before > 0 and above > gate.tolerance:
        objections.append(
            f"small losses add up: the champion is {percent_text(before)} above the best model before it, "
            f"this one {percent_text(above)}, where at most {percent_text(gate.tolerance)} is tolerated"
        )
    return objections


def _above_best(comparison: Comparison | None, before: float) -> float:
    """The champion's distance from the best model, and the candidate's from the champion, as one.

    On the same rows the ratios of mean losses multiply to the ratio to the best model itself, so nothing is
    lost by not running that again.
    """
    if comparison is None:
        return before
    if comparison.absolute:
        return max(0.0, before + comparison.difference)
    return max(0.0, (1 + before) * (1 + comparison.difference) - 1)


def _check(gate: Gate, key: str, bounds: Threshold, metrics: Metrics) -> Check:
    name = key if key in metrics else f"{gate.step}.{key}"
    if name not in metrics:
        raise UsageError(f"gate.thresholds: no step measured '{key}'", suggestion(name, metrics))
    value = metrics[name]
    passed = _is_within(value, bounds.min, bounds.max)
    return Check(metric=key, value=value, min=bounds.min, max=bounds.max, passed=passed)


def _is_within(value: float, lower: float | None, upper: float | None) -> bool:
    """NaN compares false with every bound, and must not pass by that."""
    return math.isfinite(value) and (lower is None or value >= lower) and (upper is None or value <= upper)
