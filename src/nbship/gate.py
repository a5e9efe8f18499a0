"""The quality gate: metrics and per-row losses in, a verdict out.

Pure functions on numbers. Where the numbers come from, and what follows from the verdict, is decided elsewhere.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
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
_DRAWS_AT_ONCE = 10_000_000
_DRAWS_AT_MOST = 400_000_000
_SEED = 20_240_501


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Check(_Frozen):
    """A metric held against its bounds."""

    metric: str
    value: float
    min: float | None
    max: float | None
    passed: bool

    def __str__(self) -> str:
        bounds = [
            f"≥ {self.min:g}" if self.min is not None else "",
            f"≤ {self.max:g}" if self.max is not None else "",
        ]
        return f"{self.metric} {self.value:.4g} ({' and '.join(b for b in bounds if b)})"


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
        rows: How many rows were compared.
    """

    outcome: Literal["better", "no worse", "worse"]
    candidate: float
    champion: float
    difference: float
    low: float
    high: float
    confidence: float
    rows: int

    def __str__(self) -> str:
        return (
            f"{self.outcome} than the champion: mean loss {self.difference:+.1%}, "
            f"{self.confidence:.0%} interval {self.low:+.1%} to {self.high:+.1%}, {self.rows} rows"
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
    if champion is not None and candidate is not None:
        comparison = compare(candidate, champion, gate.tolerance, gate.confidence)
        accepted = ("better",) if gate.require == "better" else ("better", "no worse")
        if comparison.outcome not in accepted:
            failures.append(str(comparison))
    passes = [str(comparison)] if comparison else ["first model: thresholds alone", *map(str, checks)]
    return Verdict(
        passed=not failures, reasons=tuple(failures or passes), checks=checks, comparison=comparison
    )


def compare(
    candidate: Losses, champion: Losses, tolerance: float = 0.05, confidence: float = 0.95
) -> Comparison:
    """Compares two models by a paired bootstrap of their per-row losses.

    The rows are resampled, each with both its losses, and the mean difference is put in a percentile interval
    (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). The candidate is *better* if the
    whole interval is below zero, *no worse* if it ends at or below the tolerance (a non-inferiority test: it is
    the candidate that must show it), and *worse* otherwise.

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
            f"candidate and champion were judged on different rows: {len(only)} rows are in one only, such as '{only[0]}'",
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
    scale = old.mean() if old.mean() > 0 else 1.0
    share = tuple(float(value / scale) for value in (new.mean() - old.mean(), low, high))
    outcome: Literal["better", "no worse", "worse"] = "worse"
    if share[2] <= tolerance:
        outcome = "better" if share[2] < 0 else "no worse"
    return Comparison(
        outcome=outcome,
        candidate=float(new.mean()),
        champion=float(old.mean()),
        difference=share[0],
        low=share[1],
        high=share[2],
        confidence=confidence,
        rows=len(rows),
    )


def read_losses(path: Path) -> dict[str, float]:
    """Reads a CSV file with the columns `row` and `loss`.

    Raises:
        NbshipError: A column is missing, a row appears twice, or a loss is no number.
    """
    losses: dict[str, float] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"row", "loss"} <= set(reader.fieldnames or ()):
            raise NbshipError(
                f"{path.name}: has the columns {', '.join(reader.fieldnames or ['none'])}",
                "it needs row and loss",
            )
        for line in reader:
            if line["row"] in losses:
                raise NbshipError(
                    f"{path.name}, line {reader.line_num}: row '{line['row']}' is there twice",
                    "number the rows",
                )
            try:
                losses[line["row"]] = float(line["loss"])
            except (TypeError, ValueError):
                raise NbshipError(
                    f"{path.name}, line {reader.line_num}: loss '{line['loss']}' is no number",
                    "write one number a row",
                ) from None
    return losses


def _check(gate: Gate, key: str, bounds: Threshold, metrics: Metrics) -> Check:
    name = key if key in metrics else f"{gate.step}.{key}"
    if name not in metrics:
        raise UsageError(f"gate.thresholds: no step measured '{key}'", suggestion(name, metrics))
    value = metrics[name]
    # NaN compares false with every bound, and must not pass by that.
    passed = (
        math.isfinite(value)
        and (bounds.min is None or value >= bounds.min)
        and (bounds.max is None or value <= bounds.max)
    )
    return Check(metric=key, value=value, min=bounds.min, max=bounds.max, passed=passed)


def _interval(differences: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean, in bounded memory; fewer resamples where rows are plenty."""
    import numpy as np

    count = len(differences)
    generator = np.random.default_rng(_SEED)
    resamples = int(min(_RESAMPLES, max(200, _DRAWS_AT_MOST // count)))
    at_once = max(1, _DRAWS_AT_ONCE // count)
    means = [
        differences[generator.integers(0, count, (min(at_once, resamples - start), count))].mean(axis=1)
        for start in range(0, resamples, at_once)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)
