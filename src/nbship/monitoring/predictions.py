"""Compares what a model answered in a window with what it answers on rows that it was not trained on.

Also estimates a classifier's performance from its probabilities, which holds while its inputs are quiet.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbship.monitoring.columns import number_finding, percent, word_finding
from nbship.monitoring.decision import Finding
from nbship.monitoring.values import numbers, words
from nbship.package.sample import Answers

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

# Beyond this, in standard errors, probabilities are not what comes true.
_CALIBRATED = 1.96
_FEWEST = 50


@dataclass(frozen=True)
class Estimate:
    """What a classifier's own probabilities say of its performance in a window (CBPE).

    Attributes:
        accuracy: The estimated share of right answers.
        low: Lower end of its 95 % interval.
        high: Upper end.
        before: The share of right answers on the reference's rows, which were held out.
    """

    accuracy: float
    low: float
    high: float
    before: float


def compare_predictions(kind: str, reference: Answers, answers: pd.DataFrame) -> list[Finding]:
    """Compares predictions: numbers by Kolmogorov and Smirnov, classes by χ², and how sure the model is.

    Args:
        kind: What the model gives, `regression` or `classification`.
        reference: Answers to rows that it was not trained on.
        answers: The window's.
    """
    if kind == "regression":
        old, new = _present(numbers(reference.predictions)), _present(numbers(answers["prediction"]))
        return [number_finding("", old, new, "prediction")] if len(old) and len(new) else []
    before, after = (Counter(_classes(each)) for each in (reference.predictions, answers["prediction"]))
    findings = word_finding("", before, after, "categories", "prediction")
    old, new = (_surest(each) for each in (reference.probabilities, answers["probabilities"]))
    if len(old) and len(new):
        found = number_finding("", old, new, "prediction")
        text = f"probability of the answer: {found.text}"
        findings.append(Finding("prediction", "", found.p, found.effect, text))
    return findings


def mean_width(low: Sequence[Any], high: Sequence[Any]) -> float | None:
    """Returns the mean width of intervals; None where there are none."""
    widths = _present(numbers(high) - numbers(low))
    return float(widths.mean()) if len(widths) else None


def estimate_performance(
    reference: Answers, classes: Sequence[Any], answers: pd.DataFrame
) -> Estimate | None:
    """Estimates the accuracy of a calibrated classifier by the mean probability of its answers.

    Args:
        reference: Answers to held-out rows, with the truth.
        classes: In the order of the probabilities.
        answers: The window's.

    Returns:
        None where the probabilities are not known, or were not what came true on the reference's rows: right
        answers must be as many as they say, within two standard errors.
    """
    import numpy as np

    sure, now = _surest(reference.probabilities), _surest(answers["probabilities"])
    truth = _classes(reference.truth)
    if min(len(sure), len(now)) < _FEWEST or len(sure) != len(truth):
        return None
    names = _classes(classes)
    best = [names[int(np.argmax(row))] for row in reference.probabilities]
    right = np.array([a == b for a, b in zip(best, truth, strict=True)], dtype="float64")
    spread = float((sure * (1 - sure)).sum())
    if spread <= 0 or abs(float((right - sure).sum())) > _CALIBRATED * math.sqrt(spread):
        return None
    # Rows differ in how sure the model is, and each answer is right or wrong by chance.
    error = math.sqrt(float(now.var(ddof=1)) / len(now) + float((now * (1 - now)).mean()) / len(now))
    middle = float(now.mean())
    ends = max(0.0, middle - 1.96 * error), min(1.0, middle + 1.96 * error)
    return Estimate(middle, *ends, float(right.mean()))


def estimate_text(estimate: Estimate) -> str:
    """Returns an estimate in words."""
    return (
        f"{percent(estimate.accuracy)} right ({percent(estimate.low)} to {percent(estimate.high)}), "
        f"by the model's own probabilities; {percent(estimate.before)} on held-out rows"
    )


def _classes(values: Sequence[Any] | pd.Series[Any]) -> list[str]:
    """Classes as texts; 1.0 and 1 are one class, as a file may have turned whole numbers into others."""
    return [word.removesuffix(".0") for word in words(values) if word is not None]


def _surest(probabilities: Any) -> Numbers:
    import numpy as np

    rows = [numbers(row) for row in probabilities if isinstance(row, list | tuple | np.ndarray) and len(row)]
    return _present(np.array([float(row.max()) for row in rows]))


def _present(values: Numbers) -> Numbers:
    import numpy as np

    return values[np.isfinite(values)]
