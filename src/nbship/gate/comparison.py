"""Compares the losses of two models: on the same held-out rows, or of both recipes on the same folds.

Statistics alone: what follows from a comparison is the business of `verdict`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from nbship.errors import NbshipError
from nbship.gate.losses import Losses, Refits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Outcome = Literal["better", "no worse", "worse"]
_RESAMPLES = 10_000
_DRAWS_AT_ONCE = 2_000_000
_BOOTSTRAPPED_ROWS = 10_000
_SEED = 20_240_501


class Comparison(BaseModel):
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
        folds: How often both were fitted again; 0 where the models were compared as they are.
        absolute: Whether differences are no shares, because losses are below zero, or all of them zero.
        tries: How many models were tried on these held-out rows, this one included.
        highest: Upper end of the interval that so many tries ask for; below 0 is better.
        power: Chance to be found no worse that a model has which is as good as the champion, and as different
            from it as this one; None if unknown.
    """

    # An interval may have no end, and JSON has no such number.
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    outcome: Outcome
    candidate: float
    champion: float
    difference: float
    low: float
    high: float
    confidence: float
    tolerance: float
    rows: int
    folds: int = 0
    absolute: bool = False
    tries: int = 1
    highest: float | None = None
    power: float | None = None

    @property
    def basis(self) -> str:
        """What was compared, in words: `78 rows`, or `25 refits of both on 392 rows`."""
        rows = f"{self.rows:,} row{'' if self.rows == 1 else 's'}"
        return f"{self.folds} refits of both on {rows}" if self.folds else rows

    @property
    def tried(self) -> str:
        """How many models were tried, and what that has to do with the outcome; empty after one."""
        if self.tries < 2:
            return ""
        told = f"{self.tries} models were tried on these held-out rows"
        if self.highest is None or not self.high < 0 <= self.highest:
            return told
        asked = f"{100 * (1 - (1 - self.confidence) / self.tries):.4g}\N{NO-BREAK SPACE}%"
        end = percent_text(self.highest)
        return f"{told}, so better asks for {asked} confidence: that interval ends at {end}"

    def __str__(self) -> str:
        limit = f", where at most {percent_text(self.tolerance)} counts as no worse"
        interval = f"{percent_text(self.low)} to {percent_text(self.high)}"
        return (
            f"{self.outcome} than the champion: mean loss {percent_text(self.difference)}, "
            f"{100 * self.confidence:g}\N{NO-BREAK SPACE}% interval {interval}"
            f"{'' if self.outcome == 'better' else limit} ({self.basis}{self._chance})"
        )

    @property
    def _chance(self) -> str:
        if self.power is None or self.outcome == "better":
            return ""
        return f"; an equal model passes with probability {share_text(self.power)}"


@dataclass(frozen=True)
class _Estimate:
    """A difference, its standard error, and the interval that leaves out a share in each tail."""

    difference: float
    error: float
    quantile: float
    low: float
    high: float
    highest: float


def compare(
    candidate: Losses, champion: Losses, tolerance: float = 0.05, confidence: float = 0.95, tries: int = 1
) -> Comparison:
    """Compares two models by a paired bootstrap of their per-row losses.

    The rows are resampled, each with both its losses, and the ratio of the mean losses is put in a percentile
    interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). It ends at or below
    the tolerance exactly where the same bootstrap finds `new - (1 + tolerance) * old` not above zero, so the
    champion's mean loss counts as estimated, which it is.

    The candidate is *no worse* if the interval ends at or below the tolerance (a non-inferiority test: it is
    the candidate that must show it), and *worse* otherwise. It is *better* if the interval is below zero at
    the confidence that the number of tries asks for (Bonferroni): of twenty equal models, one in three
    would otherwise seem better. Where a loss of the champion's is negative or all are zero, there is no share
    of them, and differences are absolute.

    Args:
        candidate: Loss by row; lower is better.
        champion: Loss by row, for the same rows.
        tolerance: Rise of the mean loss, as a share of the champion's, that still counts as no worse.
        confidence: Confidence of the interval, between 0.5 and 1.
        tries: How many models were tried on these rows, this one included.

    Raises:
        NbshipError: The rows differ, there are none, or a loss is not a finite number.
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
    tails = ((1 - confidence) / 2, (1 - confidence) / 2 / tries)
    bootstrapped = len(rows) <= _BOOTSTRAPPED_ROWS
    estimate = _bootstrapped(new, old, *tails) if bootstrapped else _normal(new, old, *tails)
    return _compared(estimate, new, old, tolerance, confidence, tries, len(rows), 0)


def compare_recipes(
    refits: Refits, tolerance: float = 0.05, confidence: float = 0.95, tries: int = 1
) -> Comparison:
    """Compares two recipes by the losses of models that were fitted again to the same folds.

    The folds of repeated cross-validation share rows, so their spread is too small; the corrected resampled
    t interval takes `1 / folds + rows / train_rows` in place of `1 / folds` (Nadeau and Bengio, Inference for
    the Generalization Error, 2003). The ratio of the means is linear to first order.

    Args:
        refits: With two folds at least.
        tolerance: As for `compare`.
        confidence: As for `compare`.
        tries: As for `compare`.
    """
    import numpy as np
    from scipy.special import stdtrit

    new, old = (np.array([getattr(fold, of) for fold in refits.folds]) for of in ("candidate", "champion"))
    folds = len(refits.folds)
    share = sum(fold.rows / fold.train_rows for fold in refits.folds) / folds
    scale = _scale(old)
    difference, spread = _linear(new, old, scale)
    error = math.sqrt(1 / folds + share) * float(spread.std(ddof=1))
    tail, narrow = (1 - confidence) / 2, (1 - confidence) / 2 / tries
    quantile, wide = (-float(stdtrit(folds - 1, each)) for each in (tail, narrow))
    ends = _interval_ends(difference, error, quantile, wide, scale)
    rows = refits.folds[0].rows + refits.folds[0].train_rows
    estimate = _Estimate(difference, error, quantile, *ends)
    return _compared(estimate, new, old, tolerance, confidence, tries, rows, folds)


def percent_text(share: float) -> str:
    """Returns a difference as a signed percentage, with a decimal where it is small."""
    percent = 100 * share
    text = f"{percent:+.1f}".removesuffix(".0") if abs(percent) < 9.95 else f"{percent:+.0f}"
    return f"{text.replace('-', '−') if float(text) else '0'}\N{NO-BREAK SPACE}%"


def share_text(share: float) -> str:
    """Returns a probability with two decimals, never as certain."""
    return "above .99" if share > 0.99 else "below .01" if share < 0.01 else f"{share:.2f}".lstrip("0")


def _compared(
    estimate: _Estimate,
    new: NDArray[np.float64],
    old: NDArray[np.float64],
    tolerance: float,
    confidence: float,
    tries: int,
    rows: int,
    folds: int,
) -> Comparison:
    outcome: Outcome = "worse"
    if estimate.high <= tolerance:
        outcome = "better" if estimate.highest < 0 else "no worse"
    room = tolerance / estimate.error if estimate.error > 0 else math.inf
    return Comparison(
        outcome=outcome,
        candidate=float(new.mean()),
        champion=float(old.mean()),
        difference=estimate.difference,
        low=estimate.low,
        high=estimate.high,
        confidence=confidence,
        tolerance=tolerance,
        rows=rows,
        folds=folds,
        absolute=_scale(old) is None,
        tries=tries,
        highest=estimate.highest,
        power=NormalDist().cdf(room - estimate.quantile) if math.isfinite(room) else 1.0,
    )


def _scale(old: NDArray[np.float64]) -> float | None:
    """What differences are shares of; None where they are absolute."""
    mean = float(old.mean())
    return mean if mean > 0 and float(old.min()) >= 0 else None


def _linear(
    new: NDArray[np.float64], old: NDArray[np.float64], scale: float | None
) -> tuple[float, NDArray[np.float64]]:
    """A difference of means, and what each pair adds to its error: for a ratio, to first order."""
    if scale is None:
        return float(new.mean() - old.mean()), new - old
    ratio = float(new.mean()) / scale
    return ratio - 1, (new - ratio * old) / scale


def _interval_ends(
    difference: float, error: float, quantile: float, wide: float, scale: float | None
) -> tuple[float, float, float]:
    """The ends of a symmetric interval; no loss can fall by more than all of it."""
    low = difference - quantile * error
    return low if scale is None else max(low, -1.0), difference + quantile * error, difference + wide * error


def _normal(new: NDArray[np.float64], old: NDArray[np.float64], tail: float, narrow: float) -> _Estimate:
    """The interval to which the bootstrap's tends with very many rows."""
    scale = _scale(old)
    difference, spread = _linear(new, old, scale)
    error = float(spread.std(ddof=1)) / math.sqrt(len(new))
    quantile, wide = (-NormalDist().inv_cdf(each) for each in (tail, narrow))
    ends = _interval_ends(difference, error, quantile, wide, scale)
    return _Estimate(difference, error, quantile, *ends)


def _bootstrapped(
    new: NDArray[np.float64], old: NDArray[np.float64], tail: float, narrow: float
) -> _Estimate:
    """The percentile interval of a ratio of means, or of their difference."""
    import numpy as np

    count, scale = len(new), _scale(old)
    generator = np.random.default_rng(_SEED)
    at_once = max(_DRAWS_AT_ONCE // count, 1)
    drawn: list[Any] = []
    for start in range(0, _RESAMPLES, at_once):
        chosen = generator.integers(0, count, (min(at_once, _RESAMPLES - start), count))
        drawn.append((new[chosen].mean(axis=1), old[chosen].mean(axis=1)))
    ours, theirs = (np.concatenate(each) for each in zip(*drawn, strict=True))
    if scale is None:
        differences = ours - theirs
    else:
        # No loss at all is no less than no loss at all, and any loss is infinitely more.
        nothing = np.where(ours > 0, np.inf, 0.0)
        with np.errstate(over="ignore"):
            differences = np.divide(ours - theirs, theirs, out=nothing, where=theirs > 0)
    low, high, highest = np.quantile(differences, [tail, 1 - tail, 1 - narrow], method="inverted_cdf")
    with np.errstate(over="ignore", invalid="ignore"):
        difference, spread = _linear(new, old, scale)
        error = float(spread.std()) / math.sqrt(count)
    return _Estimate(difference, error, -NormalDist().inv_cdf(tail), float(low), float(high), float(highest))
