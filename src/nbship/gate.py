"""The quality gate: metrics and per-row losses in, a verdict out.

Pure functions on numbers. Where the numbers come from and what follows from the verdict is decided elsewhere.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from nbship.config import Gate, Threshold
from nbship.errors import NbshipError, UsageError, suggestion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Losses = Mapping[str, float]
Metrics = Mapping[str, float]
_RESAMPLES = 10_000
_DRAWS_AT_ONCE = 2_000_000
_BOOTSTRAPPED_ROWS = 10_000
_SEED = 20_240_501


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


class Comparison(_Frozen):
    """Candidate against champion on the same rows.

    Attributes:
        outcome: What the interval says of the candidate.
        candidate: Its mean loss.
        champion: The champion's mean loss.
        difference: Candidate minus champion as a share of the champion's mean loss; negative is better.
        low: Lower end of the interval of `difference`.
        high: Upper end of the interval of `difference`.
        confidence: Confidence of the interval.
        tolerance: The difference that still counts as no worse.
        rows: How many rows were compared.
    """

    outcome: Literal["better", "no worse", "worse"]
    candidate: float
    champion: float
    difference: float
    low: float
    high: float
    confidence: float
    tolerance: float
    rows: int

    def __str__(self) -> str:
        limit = f", where at most {percent_text(self.tolerance)} counts as no worse"
        return (
            f"{self.outcome} than the champion: mean loss {percent_text(self.difference)}, "
            f"{100 * self.confidence:g}\N{NO-BREAK SPACE}% interval "
            f"{percent_text(self.low)} to {percent_text(self.high)}"
            f"{'' if self.outcome == 'better' else limit} ({self.rows} row{'' if self.rows == 1 else 's'})"
        )


class Verdict(_Frozen):
    """Whether a candidate may replace the champion, and why.

    Attributes:
        passed: The decision.
        reasons: What decided it: every failed condition, or why the candidate passed.
        checks: The thresholds.
        comparison: The comparison with the champion; None where there is no champion yet.
    """

    passed: bool
    reasons: tuple[str, ...]
    checks: tuple[Check, ...] = ()
    comparison: Comparison | None = None


def judge(
    gate: Gate, metrics: Metrics, candidate: Losses | None = None, champion: Losses | None = None
) -> Verdict:
    """Decides whether a candidate passes the gate.

    Without a champion, the thresholds alone decide.

    Args:
        gate: The gate of the pipeline file.
        metrics: Metric by `step.metric`.
        candidate: The candidate's loss by row.
        champion: The champion's loss on the same rows, if there is a champion.

    Raises:
        UsageError: A threshold names a metric that was not measured.
        NbshipError: The two losses are not of the same rows.
    """
    checks = tuple(_check(gate, key, bounds, metrics) for key, bounds in gate.thresholds.items())
    failures = [str(check) for check in checks if not check.passed]
    comparison = None
    if champion is not None:
        comparison = compare(candidate or {}, champion, gate.tolerance, gate.confidence)
        if comparison.outcome == "worse":
            failures.append(str(comparison))
        elif gate.require == "better" and comparison.outcome != "better":
            failures.append(f"{comparison}; the gate asks for better")
    passes = [str(comparison)] if comparison else ["first model: thresholds alone", *map(str, checks)]
    return Verdict(
        passed=not failures, reasons=tuple(failures or passes), checks=checks, comparison=comparison
    )


def compare(
    candidate: Losses, champion: Losses, tolerance: float = 0.05, confidence: float = 0.95
) -> Comparison:
    """Compares two models by a paired bootstrap of their per-row losses.

    The rows are resampled, each with both its losses, and the mean difference is put in a percentile interval
    (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). The candidate is *better* if
    the whole interval is below zero, *no worse* if it ends at or below the tolerance (a non-inferiority test:
    it is the candidate that must show it), and *worse* otherwise. Where the champion's mean loss is not above
    zero there is no share of it, and differences are absolute.

    Args:
        candidate: Loss by row; lower is better.
        champion: Loss by row, for the same rows.
        tolerance: Rise of the mean loss, as a share of the champion's, that still counts as no worse.
        confidence: Confidence of the interval, between 0.5 and 1.

    Raises:
        NbshipError: The rows differ, there are none, or a loss is no finite number.
    """
    import numpy as np

    if set(candidate) != set(champion):
        only = sorted(set(candidate) ^ set(champion))
        raise NbshipError(
            f"candidate and champion were judged on different rows: '{only[0]}' and {len(only) - 1} more",
            "the gate's step must write the same row identifiers for the same held-out rows",
        )
    if not champion:
        raise NbshipError("there is no held-out row to compare on", "give the gate's step some rows")
    rows = sorted(champion)
    new = np.array([candidate[row] for row in rows], dtype=float)
    old = np.array([champion[row] for row in rows], dtype=float)
    if not (np.isfinite(new).all() and np.isfinite(old).all()):
        raise NbshipError(
            "a loss is not a finite number", "look for NaN in the predictions of the gate's step"
        )
    low, high = _interval(new - old, confidence)
    scale = float(old.mean()) if old.mean() > 0 else 1.0
    difference, low, high = (value / scale for value in (float(new.mean() - old.mean()), low, high))
    outcome: Literal["better", "no worse", "worse"] = "worse"
    if high <= tolerance:
        outcome = "better" if high < 0 else "no worse"
    return Comparison(
        outcome=outcome,
        candidate=float(new.mean()),
        champion=float(old.mean()),
        difference=difference,
        low=low,
        high=high,
        confidence=confidence,
        tolerance=tolerance,
        rows=len(rows),
    )


def read_losses(path: Path) -> dict[str, float]:
    """Reads a CSV file with the columns `row` and `loss`.

    Raises:
        NbshipError: It cannot be read, a column is missing, a row appears twice, or a loss is no number.
    """
    try:
        # pandas and Excel may begin the file with a byte order mark.
        with path.open(newline="", encoding="utf-8-sig") as file:
            return dict(_losses(file, path.name))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NbshipError(f"{path.name}: cannot be read: {error}", "write it as CSV in UTF-8") from None


def percent_text(share: float) -> str:
    """Returns a difference as a signed percentage, with a decimal where it is small."""
    percent = 100 * share
    text = f"{percent:+.1f}".removesuffix(".0") if abs(percent) < 9.95 else f"{percent:+.0f}"
    return f"{text.replace('-', '−') if float(text) else '0'}\N{NO-BREAK SPACE}%"


def _losses(lines: Iterable[str], name: str) -> Iterator[tuple[str, float]]:
    reader = csv.DictReader(lines)
    if not {"row", "loss"} <= set(reader.fieldnames or ()):
        raise NbshipError(
            f"{name}: has the columns {', '.join(reader.fieldnames or ['none'])}", "it needs row and loss"
        )
    seen: set[str] = set()
    for line in reader:
        where, row, text = f"{name}, line {reader.line_num}", line["row"], line["loss"]
        if row in seen:
            raise NbshipError(f"{where}: row '{row}' is there twice", "number the rows")
        seen.add(row)
        try:
            loss = float(text)
        except (TypeError, ValueError):
            loss = math.nan
        if row is None or not math.isfinite(loss):
            raise NbshipError(f"{where}: loss '{text}' is no finite number", "write one number a row")
        yield row, loss


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


def _interval(differences: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean; for very many rows the normal one, to which that tends."""
    import numpy as np

    count = len(differences)
    tail = (1 - confidence) / 2
    if count > _BOOTSTRAPPED_ROWS:
        half = -NormalDist().inv_cdf(tail) * differences.std() / math.sqrt(count)
        return float(differences.mean() - half), float(differences.mean() + half)
    generator = np.random.default_rng(_SEED)
    at_once = _DRAWS_AT_ONCE // count
    means = [
        differences[generator.integers(0, count, (min(at_once, _RESAMPLES - start), count))].mean(axis=1)
        for start in range(0, _RESAMPLES, at_once)
    ]
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)
