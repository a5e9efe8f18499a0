"""How far a regression's predictions are from the truth on rows that it has not learnt from.

Measured once, when a model is packaged; what is made of it is the business of whoever shows predictions.
"""

from __future__ import annotations

from typing import Any

from nbship.serving.schema import Interval

_FOLDS = 5
_TAILS = (0.05, 0.95)
# The model is fitted again for every fold: beyond this it takes too long, below it the tails are guesses.
_ROWS = range(50, 10_001)


def cross_validated_interval(estimator: Any, table: Any, target: Any) -> Interval | None:
    """Returns where the middle 90 % of the errors lie, in a cross-validation of five folds.

    A copy of the model is fitted to four fifths of the rows and predicts the last fifth, five times. The
    errors are pooled, so the interval has one width everywhere; it holds for rows like the reference's.

    Args:
        estimator: A regression; it is not changed.
        table: What it takes, one row each.
        target: The true numbers.

    Returns:
        The interval; None for too few rows or very many, and for a model that cannot be fitted again.
    """
    import numpy as np
    from sklearn.model_selection import KFold, cross_val_predict

    truth = np.asarray(target, dtype="float64")
    if len(truth) not in _ROWS or not np.isfinite(truth).all():
        return None
    folds = KFold(_FOLDS, shuffle=True, random_state=0)
    try:
        errors = truth - cross_val_predict(estimator, table, truth, cv=folds)
    except Exception:  # the model's own code may raise anything
        return None
    if not np.isfinite(errors).all():
        return None
    low, high = np.quantile(errors, _TAILS)
    inside = float(((low <= errors) & (errors <= high)).mean())
    return Interval(low=float(low), high=float(high), coverage=inside)
