"""Finds out what a fitted model takes and gives, by asking it and by what scikit-learn says of its kind.

Knows the estimator and rows; how that is written down is the business of `package`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nbship.errors import NbshipError
from nbship.package.reference import read_reference
from nbship.package.schema import Column, Record, to_records, to_table, typical_record

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_UNSUPERVISED = ("clusterer", "outlier_detector", "density_estimator")


@dataclass(frozen=True)
class OutputKind:
    """What a model gives.

    Attributes:
        kind: A number, or one of `classes`: a cluster is one, and so are ordinary (1) and not (-1).
        classes: The classes, in the order of the model's probabilities.
        probabilities: Whether the model gives a probability for each class.
        scores: Whether the model scores how ordinary a record is.
    """

    kind: Literal["regression", "classification"]
    classes: list[Any]
    probabilities: bool
    scores: bool


def learns_without_target(estimator: Any) -> bool:
    """Tells whether a model finds clusters or what is out of the ordinary, and needs no target."""
    return _type_of(estimator) in _UNSUPERVISED


def _type_of(estimator: Any) -> str | None:
    from sklearn.utils import get_tags

    try:
        kind: str | None = get_tags(estimator).estimator_type
    except Exception:  # not made of scikit-learn's classes
        return None
    return kind


def predictions(estimator: Any, table: Any, rows: int) -> np.ndarray[Any, Any]:
    """Returns one prediction a row.

    Raises:
        NbshipError: The model cannot predict them, or predicts more than one thing.
    """
    import numpy as np

    try:
        predicted = np.asarray(estimator.predict(table))
    except Exception as error:  # the model's own code may raise anything
        raise NbshipError(
            f"the model cannot predict a record of raw columns: {error}",
            "put every transform into the model: one Pipeline that takes named columns",
        ) from None
    if predicted.ndim == 2 and predicted.shape[1] > 1:
        raise NbshipError(
            f"the model predicts {predicted.shape[1]} columns at once, and a model package has one target",
            "publish a model, and a pipeline, for each target",
        )
    if len(predicted) != rows:
        raise NbshipError(
            f"the model makes {len(predicted)} predictions of {rows} records",
            "fit it on a table of named columns, one row a record",
        )
    return predicted.reshape(rows, *predicted.shape[2:])


def output_kind_of(estimator: Any, table: Any, rows: int) -> OutputKind:
    """Says what a model gives.

    Args:
        estimator: The fitted model.
        table: The rows that it was trained on, as it takes them.
        rows: How many they are.

    Raises:
        NbshipError: Its classes are neither texts nor numbers nor booleans.
    """
    import numpy as np

    kind, probabilities = _type_of(estimator), hasattr(estimator, "predict_proba")
    classes = getattr(estimator, "classes_", None)
    if classes is None and kind not in _UNSUPERVISED:
        return OutputKind("regression", [], False, False)
    if kind == "outlier_detector":
        classes = [-1, 1]
    elif kind in _UNSUPERVISED:
        width = estimator.predict_proba(table).shape[1] if probabilities else 0
        classes = sorted({*predictions(estimator, table, rows).tolist(), *range(width)})
    names = np.asarray(classes).tolist()
    strange = next((name for name in names if not isinstance(name, str | int | float)), None)
    if strange is not None:
        raise NbshipError(
            f"the model's classes are of type {type(strange).__name__}",
            "fit it on classes that are texts, numbers or booleans",
        )
    scores = kind == "outlier_detector" and hasattr(estimator, "score_samples")
    return OutputKind("classification", names, probabilities, scores)


def column_taken_alone(estimator: Any, columns: Sequence[Column], rows: pd.DataFrame) -> str:
    """Returns the column that a model takes as a series of texts; empty for a model that takes a table.

    Raises:
        NbshipError: It takes one column of texts, and there are several.
    """
    if hasattr(estimator, "feature_names_in_") or columns[0].type == "array":
        return ""
    records = to_records(rows.head(len(columns) + 1))
    if can_predict(estimator, columns, records):
        return ""
    texts = [column for column in columns if column.kind.textual]
    fit = [c.name for c in texts if can_predict(estimator, [c.model_copy(update={"alone": True})], records)]
    if len(fit) > 1:
        raise NbshipError(
            f"the model takes one column of texts, and does not say which: {', '.join(fit)}",
            "fit it on named columns: make_column_transformer((TfidfVectorizer(), 'column'))",
        )
    return fit[0] if fit else ""


def can_predict(estimator: Any, columns: Sequence[Column], records: Sequence[Record]) -> bool:
    """Tells whether a model makes one prediction of each record."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that it does not know
            return len(estimator.predict(to_table(columns, records))) == len(records)
    except Exception:  # the model's own code may raise anything
        return False


def with_gaps(estimator: Any, inputs: Sequence[Column], held_out: Sequence[Path]) -> list[Column]:
    """Counts what is missing in held-out rows alone, where the model can do without.

    Args:
        estimator: The fitted model.
        inputs: What it takes.
        held_out: Tables of rows that it was judged on; what is no table is left out.
    """
    counts: Counter[str] = Counter()
    for path in held_out:
        with contextlib.suppress(NbshipError):
            counts.update(read_reference(path).isna().sum().to_dict())

    def with_gap(column: Column) -> Column:
        record = {**typical_record(inputs), column.name: None}
        if counts[column.name] and column.required and can_predict(estimator, inputs, [record]):
            return column.model_copy(update={"missing_held_out": counts[column.name]})
        return column

    return [with_gap(column) for column in inputs]
