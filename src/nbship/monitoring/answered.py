"""Requests that were answered, as a table of records: typed by the model's columns.

Works on values that somebody has read and checked; where it goes is the business of `log` and `collect`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from nbship.monitoring.keeping import Keeping, hashed, read_key
from nbship.monitoring.records import INPUT, answer_columns
from nbship.package.prediction import Prediction
from nbship.package.records import Problem
from nbship.package.schema import Column, Output

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was answered.

    Attributes:
        id: Of the request.
        time: Seconds since 1970.
        version: Of the model.
        values: By column, the value of each record, as the model got it; those that are kept.
        rows: How many records.
        prediction: What the model made of them.
        flags: What of them was unlike what the model has learnt from.
    """

    id: str
    time: float
    version: str
    values: Mapping[str, Any]
    rows: int
    prediction: Prediction
    flags: Sequence[Problem]

    @property
    def ids(self) -> list[str]:
        """The identifiers of the records: the request's, with the record's position if there are several."""
        return [self.id] if self.rows == 1 else [f"{self.id}-{row}" for row in range(self.rows)]


def to_table(
    answered: Sequence[Answered], columns: Sequence[Column], output: Output, keeping: Keeping
) -> pa.Table:
    """Makes a table of requests that one model answered.

    Args:
        answered: The requests; one at least.
        columns: Those of the model that are kept.
        output: What the model gives.
        keeping: Which columns are hashed.
    """
    import pyarrow as pa

    predictions = [each.prediction for each in answered]
    intervals = _of_each(answered, [each.intervals for each in predictions], (None, None))
    probabilities = _of_each(answered, [list(zip(*each.probabilities, strict=True)) for each in predictions])
    values: dict[str, Iterable[Any]] = {
        "id": chain.from_iterable(each.ids for each in answered),
        "time": chain.from_iterable(repeat(round(each.time * 1e6), each.rows) for each in answered),
        "version": chain.from_iterable(repeat(each.version, each.rows) for each in answered),
        "prediction": chain.from_iterable(each.values for each in predictions),
        "low": (low for low, _ in intervals),
        "high": (high for _, high in intervals),
        "probabilities": probabilities,
        "flags": chain.from_iterable(map(_flags, answered)),
    }
    table = {
        name: _typed(list(given), _prediction_type(output) if name == "prediction" else schema.type)
        for (name, given), schema in zip(values.items(), answer_columns(), strict=True)
    }
    for column in columns:
        given = _of_column(column, [each.values[column.name] for each in answered])
        if keeping.private.get(column.name) == "hash":
            table[INPUT + column.name] = pa.array(hashed(given, read_key()), pa.string())
        else:
            table[INPUT + column.name] = _typed(given, column_type(column))
    return pa.table(table)


def column_type(column: Column) -> pa.DataType:
    """Returns the type that the values of a column have in the store; an array is the list of its numbers."""
    import pyarrow as pa

    types = {"INT64": pa.int64(), "FP64": pa.float64(), "BOOL": pa.bool_(), "BYTES": pa.string()}
    kind = types[column.kind.datatype]
    return pa.list_(kind) if column.type == "array" else kind


def _prediction_type(output: Output) -> pa.DataType:
    import pyarrow as pa

    if output.kind == "regression":
        return pa.float64()
    kinds = {type(each) for each in output.classes}
    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    return types.get(kinds.pop(), pa.string()) if len(kinds) == 1 else pa.string()


def _typed(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Makes an array of a type; where a value does not fit, of numbers or, failing that, of texts."""
    import pyarrow as pa

    unfit = (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError)
    for each in (kind, pa.float64()):
        with contextlib.suppress(*unfit):
            return pa.array(values, each)
    texts = [None if value is None else str(value).encode("utf-8", "replace").decode() for value in values]
    return pa.array(texts, pa.string())


def _of_column(column: Column, parts: Sequence[Any]) -> list[Any]:
    if column.type == "array":
        size = math.prod(column.shape)
        return [row for part in parts for row in part.reshape(-1, size).tolist()]
    return list(chain.from_iterable(parts))


def _of_each(answered: Sequence[Answered], parts: Sequence[Sequence[Any]], instead: Any = None) -> list[Any]:
    """Returns what there is of each record, and something else of those whose request has nothing."""
    both = zip(answered, parts, strict=True)
    return list(chain.from_iterable(part or repeat(instead, each.rows) for each, part in both))


def _flags(answered: Answered) -> list[list[str]]:
    flags: list[list[str]] = [[] for _ in range(answered.rows)]
    for flag in answered.flags:
        flags[flag.instance].append(f"{flag.field}: {flag.reason}")
    return flags
