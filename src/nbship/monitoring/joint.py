"""Compares all columns together: can a classifier tell rows of the window from rows of the reference?

If it can, they are not drawn alike, even where each column by itself is (Lopez-Paz and Oquab, Revisiting
Classifier Two-ReferenceSample Tests, 2017). Knows columns, and nothing of models.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from nbship.monitoring.decision import Finding
from nbship.monitoring.values import identifier_key, is_number, numbers, row_keys, words
from nbship.package.schema import Column

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

ROWS_AT_MOST = 1000
_FOLDS = 5
_FEWEST = 20
# The folds share rows to learn from, so that their areas vary together: 1 / folds of the variance becomes
# 1 / folds + rows judged / rows trained on (Nadeau and Bengio, 2003, as in `gate.comparison`).
_CORRELATED = math.sqrt(1 + _FOLDS / (_FOLDS - 1))


@dataclass(frozen=True)
class Joint:
    """How well a classifier tells window and reference apart, on rows that it was not trained on.

    Attributes:
        auc: The area under its ROC curve; .5 is chance.
        low: Lower end of the 95 % interval.
        high: Upper end.
        p: Chance of so much where nothing changed.
        used: Columns by how much of the area goes without them, the most first; empty where it is chance.
    """

    auc: float
    low: float
    high: float
    p: float
    used: tuple[tuple[str, float], ...] = ()

    @property
    def finding(self) -> Finding:
        """What a decision is made of."""
        names = ", ".join(name for name, _ in self.used[:3])
        text = (
            f"a classifier tells window and reference apart with an AUC of {auc_text(self.auc)} "
            f"({auc_text(self.low)} to {auc_text(self.high)}){f', by {names}' if names else ''}"
        )
        return Finding("joint", "", self.p, max(0.0, 2 * self.auc - 1), text)


def auc_text(auc: float) -> str:
    """Returns an area as people write it."""
    return f"{auc:.2f}".lstrip("0") if auc < 0.995 else "1.0"


def compare_together(
    columns: Sequence[Column], reference: pd.DataFrame, window: pd.DataFrame
) -> Joint | None:
    """Cross-validates boosted trees that are to tell rows of the window from the reference's.

    Args:
        columns: Comparable ones; see `values.comparable`.
        reference: Rows with these columns; at most a thousand are looked at.
        window: The same.

    Returns:
        None for too few rows, or without columns that vary.
    """
    import numpy as np

    old, new = (_chosen(table) for table in (reference, window))
    if min(len(old), len(new)) < _FEWEST:
        return None
    features, kept = _features(columns, old, new)
    if not kept:
        return None
    is_new = np.repeat([0, 1], [len(old), len(new)])
    # Rows that are alike are in one fold: what is asked again and again would be learnt by heart.
    fold = np.concatenate([row_keys(columns, table) % _FOLDS for table in (old, new)])
    if not all(len(np.unique(is_new[fold == number])) == 2 for number in range(_FOLDS)):
        return None
    models, scores = _cross_validated(features, is_new, fold)
    auc, error, null_error = _area(scores, is_new, fold)
    p = 1 - NormalDist().cdf((auc - 0.5) / (null_error * _CORRELATED))
    margin = NormalDist().inv_cdf(0.975) * error * _CORRELATED
    used = _used(models, features, is_new, fold, auc, kept) if p < 0.05 else ()
    return Joint(auc, max(0.0, auc - margin), min(1.0, auc + margin), p, used)


def _chosen(table: pd.DataFrame) -> pd.DataFrame:
    """At most a thousand rows, in an order that their identifiers alone decide."""
    return table.loc[sorted(table.index, key=identifier_key)[:ROWS_AT_MOST]]


def _features(columns: Sequence[Column], old: pd.DataFrame, new: pd.DataFrame) -> tuple[Numbers, list[str]]:
    """Numbers as ranks, words by how frequent they are, texts by their length; a gap is below all of them."""
    import numpy as np

    found, kept = [], []
    for column in columns:
        both = [*old[column.name].tolist(), *new[column.name].tolist()]
        if is_number(column):
            values = numbers(both)
        elif column.type == "text":
            values = numbers(None if word is None else len(word) for word in words(both))
        else:
            values = _codes(words(both))
        present = ~np.isnan(values)
        ranked = np.full(len(values), -1.0)
        ranked[present] = np.unique(values[present], return_inverse=True)[1]
        if len(np.unique(ranked)) > 1:
            found.append(ranked)
            kept.append(column.name)
    return np.column_stack(found) if found else np.empty((0, 0)), kept


def _codes(found: Sequence[str | None]) -> Numbers:
    counts = Counter(word for word in found if word is not None)
    order = {w: place for place, w in enumerate(sorted(counts, key=lambda w: (-counts[w], w)))}
    return numbers(None if word is None else order[word] for word in found)


def _cross_validated(features: Numbers, is_new: Any, fold: Any) -> tuple[list[Any], Numbers]:
    import numpy as np
    from sklearn.ensemble import GradientBoostingClassifier

    scores = np.empty(len(is_new))
    models = []
    for number in range(_FOLDS):
        learn = fold != number
        share = is_new[learn].mean()
        weights = np.where(is_new[learn] == 1, 1 / share, 1 / (1 - share))
        model = GradientBoostingClassifier(
            n_estimators=20,
            learning_rate=0.25,
            max_depth=3,
            min_samples_leaf=5,
            max_features=0.5,
            random_state=0,
        )
        model.fit(features[learn], is_new[learn], weights)
        scores[~learn] = model.decision_function(features[~learn])
        models.append(model)
    return models, scores


def _area(scores: Numbers, is_new: Any, fold: Any) -> tuple[float, float, float]:
    """The mean area of the folds, its standard error, and the one that it has by chance.

    The first error is DeLong's (Comparing the Areas under Two or More Correlated Receiver Operating
    Characteristic Curves, 1988), the second that of the rank sum test, both within folds and added up.
    """
    import numpy as np
    from scipy.stats import rankdata

    won = pairs = 0.0
    variance = null = 0.0
    for number in range(_FOLDS):
        here = fold == number
        ours, theirs = scores[here & (is_new == 1)], scores[here & (is_new == 0)]
        m, n = len(ours), len(theirs)
        ranks = rankdata(np.concatenate([ours, theirs]))
        above = (ranks[:m] - rankdata(ours)) / n
        below = 1 - (ranks[m:] - rankdata(theirs)) / m
        won += above.sum() * n
        pairs += m * n
        spread = [values.var(ddof=1) / len(values) if len(values) > 1 else 0.25 for values in (above, below)]
        variance += (m * n) ** 2 * sum(spread)
        null += m * n * (m + n + 1) / 12
    return float(won / pairs), math.sqrt(variance) / pairs, math.sqrt(null) / pairs


def _used(
    models: list[Any], features: Numbers, is_new: Any, fold: Any, auc: float, names: list[str]
) -> tuple[tuple[str, float], ...]:
    """How much of the area is lost when a column is shuffled among the judged rows (Breiman, 2001)."""
    import numpy as np

    random = np.random.default_rng(0)
    lost = {}
    for place, name in enumerate(names):
        scores = np.empty(len(is_new))
        for number, model in enumerate(models):
            judged = features[fold == number].copy()
            judged[:, place] = random.permutation(judged[:, place])
            scores[fold == number] = model.decision_function(judged)
        lost[name] = auc - _area(scores, is_new, fold)[0]
    ordered = sorted(lost.items(), key=lambda item: (-item[1], item[0]))
    return tuple((name, round(loss, 4)) for name, loss in ordered if loss > 0.01)
