"""How far a regression's predictions are from the truth on rows that it has not learnt from.

Measured once, when a model is packaged; what is made of it is the business of whoever shows predictions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from nbship.package.schema import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

_FOLDS = 5
_TAILS = (0.05, 0.95)
# The model is fitted again for every fold: beyond this it takes too long, below it the tails are guesses.
_ROWS = range(50, 10_001)


def cross_validated_interval(estimator: Any, table: Any, target: Any) -> Interval | None:
    """Returns where the middle 90 % of the errors lie, in a cross-validation of five folds.

    A copy of the model is fitted to four fifths of the rows and predicts the last fifth, five times. Errors
    are differences from the prediction; where the target and all predictions are positive, also shares of
    it, and the kind with the lower interval score is taken. Score and coverage of a fold are those of the
    interval that the other folds' errors give: no row is judged by itself. What is returned is the interval
    of all errors.

    Args:
        estimator: A regression; it is not changed.
        table: What it takes, one row each.
        target: The true numbers.

    Returns:
        The interval; None for too few rows or very many, and for a model that cannot be fitted again.
    """
    import numpy as np
    from sklearn.model_selection import KFold, cross_val_predict
    from threadpoolctl import threadpool_limits

    truth = np.asarray(target, dtype="float64")
    if len(truth) not in _ROWS or not np.isfinite(truth).all():
        return None
    folds = KFold(_FOLDS, shuffle=True, random_state=0)
    try:
        # So few rows are fitted soonest by one thread; several wait for each other where others are at work.
        with threadpool_limits(limits=1):
            predicted = np.asarray(cross_val_predict(estimator, table, truth, cv=folds), dtype="float64")
    except Exception:  # the model's own code may raise anything
        return None
    if predicted.shape != truth.shape or not np.isfinite(predicted).all():
        return None
    parts = [rows for _, rows in folds.split(truth)]
    found = [measured_interval("additive", truth, predicted, parts)]
    if truth.min() > 0 and predicted.min() > 0:
        found.append(measured_interval("multiplicative", truth, predicted, parts))
    return min(found, key=lambda each: each[0])[1]


def measured_interval(
    kind: Literal["additive", "multiplicative"], truth: Numbers, predicted: Numbers, parts: list[Any]
) -> tuple[float, Interval]:
    """Returns the score of a kind of interval on rows that did not set it, and the interval of all rows.

    Args:
        kind: Of the errors.
        truth: The true numbers.
        predicted: What a model predicts that has not learnt from the row.
        parts: The rows of each fold.
    """
    import numpy as np

    errors = truth - predicted if kind == "additive" else truth / predicted
    ends = np.empty((2, len(truth)))
    for rows in parts:
        low, high = np.quantile(np.delete(errors, rows), _TAILS)
        ends[:, rows] = np.array([low, high])[:, np.newaxis]
    low_ends, high_ends = ends + predicted if kind == "additive" else ends * predicted
    inside = float(((low_ends <= truth) & (truth <= high_ends)).mean())
    low, high = np.quantile(errors, _TAILS)
    score = interval_score(truth, low_ends, high_ends)
    return score, Interval(kind=kind, low=float(low), high=float(high), coverage=inside)


def interval_score(truth: Numbers, low: Numbers, high: Numbers) -> float:
    """Returns the mean interval score of 90 % intervals; lower is better, in the unit of the target.

    The width, and 2/α times what the truth lies outside (Gneiting and Raftery, Strictly Proper Scoring Rules,
    Prediction, and Estimation, 2007, equation 43).
    """
    import numpy as np

    outside = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    alpha = 1 - (_TAILS[1] - _TAILS[0])
    return float((high - low + 2 / alpha * outside).mean())
