"""What a model makes of records, by its pipeline or in its compiled form.

Neither checks values nor chooses between the two; that is the business of whoever asks.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from nbship.package.schema import Column, Output, columns_to_table, rows_of_one_type


@dataclass(frozen=True)
class Prediction:
    """What a model makes of records.

    Attributes:
        values: Number or class of each record.
        probabilities: For each class, in the order of `Output.classes`, its probability in every record;
            empty if the model gives none.
        intervals: Lower and upper end for each record; empty if they are not known.
        scores: How ordinary each record is, the lower the less; empty if the model does not score.
        failure: How the compiled model failed, if it did and the pipeline answered in its place.
    """

    values: list[Any]
    probabilities: list[list[float]] = field(default_factory=list)
    intervals: list[list[float]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    failure: str = ""


def from_outputs(output: Output, outputs: Sequence[Any]) -> Prediction:
    """Reads a prediction out of what a compiled model returns; see `Compiled.run`.

    Raises:
        ArithmeticError: A number is not finite.
    """
    if output.kind == "regression":
        return Prediction(_finite(outputs[0]).ravel().tolist())
    if not output.probabilities:
        return Prediction(outputs[0].tolist())
    shares = _finite(outputs[1])
    return Prediction([output.classes[i] for i in shares.argmax(axis=1).tolist()], shares.T.tolist())


def from_pipeline(
    estimator: Any, columns: Sequence[Column], output: Output, values: Mapping[str, Sequence[Any]]
) -> Prediction:
    """Has a pipeline predict records.

    Args:
        estimator: The pipeline.
        columns: What it takes.
        output: What it gives.
        values: By column, checked.

    Raises:
        Exception: It cannot predict one of them; of whatever kind, as the model's own code may raise.
    """
    groups = rows_of_one_type(columns, values)
    if len(groups) < 2:
        return _together(estimator, columns, output, values)
    parts = [
        _together(
            estimator, columns, output, {n: [given[row] for row in rows] for n, given in values.items()}
        )
        for rows in groups
    ]
    place = sorted(range(sum(map(len, groups))), key=list(chain.from_iterable(groups)).__getitem__)

    def in_order(lists: Iterable[Sequence[Any]]) -> list[Any]:
        joined = list(chain.from_iterable(lists))
        return [joined[at] for at in place] if joined else []

    shares = zip(*(part.probabilities for part in parts), strict=True)
    return Prediction(
        in_order(part.values for part in parts),
        [in_order(each) for each in shares],
        scores=in_order(part.scores for part in parts),
    )


def _together(
    estimator: Any, columns: Sequence[Column], output: Output, values: Mapping[str, Sequence[Any]]
) -> Prediction:
    import numpy as np

    table = columns_to_table(columns, values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of categories that it does not know
        predicted = np.asarray(estimator.predict(table)).ravel()
        scores = estimator.score_samples(table) if output.scores else None
        shares = estimator.predict_proba(table) if output.probabilities else None
    if output.kind == "regression":
        return Prediction(_finite(predicted).tolist())
    return Prediction(
        predicted.tolist(),
        [] if shares is None else _finite(shares).T.tolist(),
        scores=[] if scores is None else _finite(scores).tolist(),
    )


def _finite(numbers: Any) -> Any:
    import numpy as np

    if not np.isfinite(numbers).all():
        raise ArithmeticError("its prediction is not finite")
    return numbers
