"""Columns that give the target away: a copy of it, one that tells nearly all, an identifier that ranks it.

Decides from the columns one by one, on rows that are not those learnt from; fits no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import pandas as pd

_ROWS = 10_000
_FEWEST = 40
_BINS = 100
# The share of what there is to know of the target that a column tells alone.
_NEARLY_ALL, _RANKS = 0.9, 0.25
_SAME = 0.99999


@dataclass(frozen=True)
class Leaks:
    """What gives a target away.

    Attributes:
        copies: Columns that are the target in other words.
        telling: Columns that tell nearly all of it alone, and how much.
        ranking: Identifiers that rank it, and how much they tell.
    """

    copies: tuple[str, ...]
    telling: dict[str, float]
    ranking: dict[str, float]


def find_leaks(
    rows: pd.DataFrame, target: str, task: str, inputs: Iterable[str], identifiers: Iterable[str]
) -> Leaks:
    """Looks at each column of a table alone.

    Args:
        rows: The table, its target known in each row.
        target: The column to predict.
        task: `regression` or `classification`.
        inputs: Columns that a model would take.
        identifiers: Columns that it would not take, for they differ in each row.
    """
    rows = rows.sample(min(_ROWS, len(rows)), random_state=0)
    truth = rows[target]
    if len(rows) < _FEWEST:
        return Leaks((), {}, {})
    copies = tuple(name for name in inputs if _is_copy(rows[name], truth, task))
    alone = {name: skill_alone(rows[name], truth, task) for name in inputs if name not in copies}
    ranks = {name: skill_alone(_order(rows[name]), truth, task) for name in identifiers}
    return Leaks(
        copies,
        {name: skill for name, skill in alone.items() if skill >= _NEARLY_ALL},
        {name: skill for name, skill in ranks.items() if skill >= _RANKS},
    )


def skill_alone(values: pd.Series[Any], truth: pd.Series[Any], task: str) -> float:
    """Returns the share of a target's variance that a column explains alone, on rows not learnt from.

    The column is cut into bins; half of the rows give each bin's mean of the target, which predicts the
    others. A classification's variance is that of its classes as 0 and 1: a Brier skill score.
    """
    import numpy as np
    import pandas as pd

    codes = _bins(values)
    known = (
        pd.to_numeric(truth, errors="coerce").to_numpy(float)[:, np.newaxis]
        if task == "regression"
        else (pd.get_dummies(truth).to_numpy(float))
    )
    side = np.random.default_rng(0).permutation(len(codes)) % 2 == 0
    mean = known[side].mean(axis=0)
    counts = np.bincount(codes[side], minlength=codes.max() + 1)
    sums = np.stack([np.bincount(codes[side], column, codes.max() + 1) for column in known[side].T], axis=1)
    guesses = np.where(counts[:, np.newaxis] > 0, sums / np.maximum(counts, 1)[:, np.newaxis], mean)
    left = ((known[~side] - guesses[codes[~side]]) ** 2).sum()
    trivial = ((known[~side] - mean) ** 2).sum()
    return float(1 - left / trivial) if trivial > 0 else 0.0


def _bins(values: pd.Series[Any]) -> np.ndarray[Any, Any]:
    import numpy as np
    import pandas as pd
    from pandas.api import types

    is_number = types.is_numeric_dtype(values) and not types.is_bool_dtype(values)
    if not is_number or values.nunique() <= _BINS:
        return np.asarray(pd.factorize(values.astype(str))[0])
    bins = min(_BINS, max(2, len(values) // 10))
    return np.asarray(pd.qcut(values, bins, labels=False, duplicates="drop").fillna(bins), dtype=int)


def _order(values: pd.Series[Any]) -> pd.Series[Any]:
    """An identifier as a number: its place among the others."""
    from pandas.api import types

    return (values if types.is_numeric_dtype(values) else values.astype(str)).rank()


def _is_copy(values: pd.Series[Any], truth: pd.Series[Any], task: str) -> bool:
    import pandas as pd

    both = pd.DataFrame({"a": values, "b": truth}).dropna()
    if len(both) < max(_FEWEST, 0.9 * len(truth)):
        return False
    if task == "regression":
        numbers = pd.to_numeric(both["a"], errors="coerce")
        return bool(numbers.notna().all() and numbers.nunique() > 2 and abs(numbers.corr(both["b"])) > _SAME)
    pairs = both.astype(str).drop_duplicates()
    return bool(len(pairs) == both["b"].nunique() == both["a"].nunique())
