"""What labels say: how far off the model was, with intervals, and whether the gate's promise still holds.

A label is what came true, which comes later than the answer. Knows losses; what follows is `decision`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from nbship.monitoring.columns import number, percent
from nbship.monitoring.decision import ACT_LEVEL, BROKEN, DOUBTFUL, Promise
from nbship.monitoring.sequential import capital, upper_bound
from nbship.monitoring.values import is_number, numbers, words
from nbship.package.sample import Answers
from nbship.package.schema import Column, Output

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

_RESAMPLES = 1000
_FEWEST_IN_SLICE = 10
_SLICES = 3
_FEWEST_TO_CALIBRATE = 20


@dataclass(frozen=True)
class MeasuredMetric:
    """A metric with its 95 % interval, by the bootstrap.

    Attributes:
        name: As the pipelines' notebooks call it.
        value: On these rows.
        low: Lower end.
        high: Upper end.
        promised: What it was on the rows that the model was judged on; None if that is not known.
    """

    name: str
    value: float
    low: float
    high: float
    promised: float | None = None


@dataclass(frozen=True)
class Slice:
    """A part of the labelled rows: its mean loss as a multiple of that of all of them."""

    where: str
    rows: int
    times: float


@dataclass(frozen=True)
class Performance:
    """What the labels of a window say.

    Attributes:
        rows: How many labels.
        metrics: With intervals.
        covered: Of a regression, the share of truths in the 90 % intervals; None if there are none.
        covered_p: Chance of so few, where the intervals hold as they did when the model was packaged.
        calibration_p: Of a classifier, chance of probabilities so far off, compared with before.
        slices: Where it is worst.
        delay: Median time from an answer to its label, in days.
    """

    rows: int
    metrics: tuple[MeasuredMetric, ...]
    covered: float | None = None
    covered_p: float | None = None
    calibration_p: float | None = None
    slices: tuple[Slice, ...] = ()
    delay: float | None = None


@dataclass(frozen=True)
class AnswerLosses:
    """AnswerLosses of answers whose truth is known, by metric, in the order of the rows.

    Attributes:
        means: Loss of each row by the name of the metric that is a mean of them, or its root.
        bounded: One loss a row, from 0 to 1, on which bets are made; see `sequential`.
        surprise: Of each row, whether the most probable class was right, less its probability; None without.
    """

    means: dict[str, Numbers]
    bounded: Numbers
    surprise: Numbers | None = None


def losses_of(output: Output, answers: Answers, largest: float = math.inf) -> AnswerLosses:
    """Returns the losses of answers.

    Args:
        output: What the model predicts.
        answers: With the truth.
        largest: Squared error that counts as 1 when bets are made; the largest of these if infinite.
    """
    import numpy as np

    if output.kind == "regression":
        error = numbers(answers.truth) - numbers(answers.predictions)
        squared = error**2
        top = largest if math.isfinite(largest) else float(squared.max(initial=0.0))
        bounded = np.clip(squared / top, 0, 1) if top > 0 else (squared > 0).astype("float64")
        return AnswerLosses({"rmse": squared, "mae": np.abs(error)}, bounded)
    truth, said = (_classes(each) for each in (answers.truth, answers.predictions))
    wrong = np.array([a != b for a, b in zip(truth, said, strict=True)], dtype="float64")
    shares = _probabilities(output, answers)
    if shares is None:
        return AnswerLosses({"accuracy": 1 - wrong}, wrong)
    names = [str(name) for name in _classes(output.classes)]
    actual = np.array([[name == each for name in names] for each in truth], dtype="float64")
    # Brier's score of all classes is at most 2 (Verification of Forecasts, 1950); a new class had no chance.
    brier = (((shares - actual) ** 2).sum(axis=1) + 1 - actual.sum(axis=1)) / 2
    log_loss = -np.log(np.clip((shares * actual).sum(axis=1), 1e-15, 1))
    surprise = actual[np.arange(len(actual)), shares.argmax(axis=1)] - shares.max(axis=1)
    return AnswerLosses({"accuracy": 1 - wrong, "log_loss": log_loss}, np.clip(brier, 0, 1), surprise)


def measure(
    output: Output,
    columns: Sequence[Column],
    inputs: pd.DataFrame,
    answers: Answers,
    promised: AnswerLosses | None,
    delays: Sequence[float] | Numbers,
) -> Performance:
    """Measures a model on the labelled rows of a window.

    Args:
        output: What it predicts.
        columns: Comparable ones.
        inputs: Of these rows.
        answers: With the truth, at least one.
        promised: AnswerLosses on the rows that it was judged on; None if they are not known.
        delays: From each answer to its label, in days.
    """
    import numpy as np
    from scipy.stats import binomtest

    losses = losses_of(output, answers)
    random = np.random.default_rng(0)
    rows = len(answers.truth)
    draws = (
        random.multinomial(rows, np.full(rows, 1 / rows), size=_RESAMPLES) / rows if rows <= 5000 else None
    )
    metrics = []
    for name, values in losses.means.items():
        before = promised.means.get(name) if promised else None
        metrics.append(_metric(name, values, draws, None if before is None else _mean(name, before)))
    covered = covered_p = None
    inside = _inside(answers)
    if len(inside):
        covered = float(inside.mean())
        held = min(0.9, output.interval.coverage) if output.interval else 0.9
        covered_p = float(binomtest(int(inside.sum()), len(inside), held, alternative="less").pvalue)
    return Performance(
        rows,
        tuple(metrics),
        covered,
        covered_p,
        _calibration(losses, promised),
        _worst(columns, inputs, losses.bounded),
        float(np.median(delays)) if len(delays) else None,
    )


def keep_promise(output: Output, reference: Answers | None, answers: Answers) -> tuple[Promise, int | None]:
    """Bets on all labels that a version ever got, in the order in which they arrived.

    What was promised is known from as many rows as the model was judged on, and no better: the bet is against
    the upper end of the interval that they leave open. Half of the level is for that, half for the bet.

    Args:
        output: What the model predicts.
        reference: Answers to held-out rows; None if there are none.
        answers: With the truth, in the order in which that became known.

    Returns:
        The promise, and the place of the label that broke it, if one did.
    """
    import numpy as np

    if not len(answers.truth):
        return Promise(), None
    if reference is None or not len(reference.truth):
        return Promise(), None
    before = losses_of(output, reference)
    errors = before.means.get("rmse")
    largest = math.inf if errors is None else float(errors.max(initial=0.0))
    now = losses_of(output, answers, largest if largest > 0 else 1.0)
    bound = upper_bound(before.bounded, ACT_LEVEL / 2)
    # So the riches that 1 / level asks for are asked of twice as many.
    riches = capital(now.bounded, bound) / 2
    evidence = float(riches.max())
    broken = np.flatnonzero(riches >= BROKEN)
    name = "rmse" if errors is not None else next(iter(now.means))
    came, was = _mean(name, now.means[name]), _mean(name, before.means[name])
    text = (
        f"{name} {number(came)} on {len(answers.truth):,} labels, where {number(was)} was promised "
        f"({'broken' if evidence >= BROKEN else 'in doubt' if evidence >= DOUBTFUL else 'kept'}: "
        f"evidence {min(evidence, 1e9):.3g}, of which {BROKEN:.0f} is enough)"
    )
    return Promise(evidence, text), int(broken[0]) if len(broken) else None


def doubts(performance: Performance) -> tuple[str, ...]:
    """Returns what of a window's labels wants a look, each with a chance of .01 where all is well."""
    found = []
    if performance.covered is not None and (performance.covered_p or 0.0) <= 0.01:
        found.append(
            f"the 90 % intervals hold for {percent(performance.covered)} of {performance.rows:,} labels"
        )
    if performance.calibration_p is not None and performance.calibration_p <= 0.01:
        found.append("the probabilities are not what comes true, by more than on held-out rows")
    return tuple(found)


def _metric(name: str, values: Numbers, draws: Any, promised: float | None) -> MeasuredMetric:
    import numpy as np

    value = _mean(name, values)
    if draws is None:  # of so many the mean is normal
        mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
        ends = np.array([mean - 1.96 * error, mean + 1.96 * error])
    else:
        ends = np.quantile(draws @ values, [0.025, 0.975])
    low, high = np.sqrt(np.maximum(ends, 0)) if name == "rmse" else ends
    return MeasuredMetric(name, value, float(low), float(high), promised)


def _mean(name: str, values: Numbers) -> float:
    mean = float(values.mean())
    return math.sqrt(mean) if name == "rmse" else mean


def _inside(answers: Answers) -> Numbers:
    import numpy as np

    low, high, truth = (numbers(each) for each in (answers.low, answers.high, answers.truth))
    if not len(low) == len(high) == len(truth):
        return np.empty(0)
    known = np.isfinite(low) & np.isfinite(high)
    return np.asarray(((low <= truth) & (truth <= high))[known], dtype="float64")


def _calibration(losses: AnswerLosses, before: AnswerLosses | None) -> float | None:
    """Chance of right answers so far from their probabilities, compared with how far they were before."""
    from statistics import NormalDist

    if losses.surprise is None or before is None or before.surprise is None:
        return None
    both = (losses.surprise, before.surprise)
    if min(map(len, both)) < _FEWEST_TO_CALIBRATE:
        return None
    error = math.sqrt(sum(float(each.var(ddof=1)) / len(each) for each in both))
    difference = abs(float(both[0].mean() - both[1].mean()))
    return 2 * (1 - NormalDist().cdf(difference / error)) if error > 0 else float(difference == 0)


def _worst(columns: Sequence[Column], inputs: pd.DataFrame, losses: Numbers) -> tuple[Slice, ...]:
    """The slices of one column, by value or by quarter, whose mean loss is highest above that of all."""
    import numpy as np

    overall = float(losses.mean()) if len(losses) else 0.0
    if overall <= 0:
        return ()
    found = []
    for column in columns:
        for where, chosen in _slices(column, inputs[column.name]):
            rows = int(chosen.sum())
            if _FEWEST_IN_SLICE <= rows <= len(losses) / 2:
                here = losses[chosen]
                # By how many standard errors, so that a few unlucky rows are not the worst.
                error = float(here.std(ddof=1)) / math.sqrt(rows) or 1e-9
                sure = (float(here.mean()) - overall) / error
                if sure > 2:
                    found.append((sure, Slice(where, rows, round(float(np.mean(here)) / overall, 3))))
    found.sort(key=lambda item: (-item[0], item[1].where))
    return tuple(each for _, each in found[:_SLICES])


def _slices(column: Column, values: pd.Series[Any]) -> list[tuple[str, Any]]:
    import numpy as np

    if is_number(column):
        plain = numbers(values)
        present = plain[~np.isnan(plain)]
        if not len(present):
            return []
        ends = np.unique(np.quantile(present, [0, 0.25, 0.5, 0.75, 1]))
        parts = []
        for place, (low, high) in enumerate(pairwise(ends)):
            last = place == len(ends) - 2
            inside = (plain >= low) & ((plain <= high) if last else (plain < high))
            parts.append((f"{column.name} {number(low)} to {number(high)}", inside))
        return parts
    if column.type == "text":
        return []
    found = words(values)
    return [
        (f"{column.name} = {word}", np.array([each == word for each in found]))
        for word in sorted({each for each in found if each is not None})
    ]


def _probabilities(output: Output, answers: Answers) -> Numbers | None:
    import numpy as np

    width = len(output.classes)
    rows = [
        numbers(row) if isinstance(row, list | tuple | np.ndarray) else None for row in answers.probabilities
    ]
    if not rows or len(rows) != len(answers.truth):
        return None
    if any(row is None or len(row) != width or not np.isfinite(row).all() for row in rows):
        return None
    return np.array(rows, dtype="float64")


def _classes(values: Sequence[Any]) -> list[str]:
    return [(word or "").removesuffix(".0") for word in words(values)]
