"""Requests that were answered, as a table of records: typed by the model's columns.

Works on values that somebody has read and checked; where it goes is the business of `log` and `collect`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
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


# A record: the values of `answer_columns`, the flags as problems, and what is kept of its columns.
Row = tuple[Any, ...]


@dataclass(frozen=True)
class AnsweredRows:
    """The records of one request, which become rows when there is time.

    Attributes:
        request: Its identifier.
        time: Seconds since 1970.
        version: Of the model.
        columns: What is kept of what was asked, as the model got it.
        prediction: What was answered.
        flags: What of the values was unlike what the model has learnt from.
    """

    request: str
    time: float
    version: str
    columns: tuple[Sequence[Any], ...]
    prediction: Prediction
    flags: Sequence[Problem]

    def __len__(self) -> int:
        return len(self.prediction.values)

    def __iter__(self) -> Iterator[Row]:
        made, count = self.prediction, len(self)
        nothing = [None] * count
        low, high = zip(*made.intervals, strict=True) if made.intervals else (nothing, nothing)
        shares = zip(*made.probabilities, strict=True) if made.probabilities else nothing
        flags: list[list[Problem]] = [[] for _ in range(count)]
        for flag in self.flags:
            flags[flag.instance].append(flag)
        names = (f"{self.request}-{row}" for row in range(count))
        same = (repeat(self.time, count), repeat(self.version, count))
        return zip(names, *same, made.values, low, high, shares, flags, *self.columns, strict=True)


def one_row(
    request: str,
    when: float,
    version: str,
    columns: tuple[Sequence[Any], ...],
    prediction: Prediction,
    flags: Sequence[Problem],
) -> Row:
    """Takes the record of a request that has but one: flat and without a list, so no collector tracks it."""
    low, high = prediction.intervals[0] if prediction.intervals else (None, None)
    shares = tuple(chain.from_iterable(prediction.probabilities)) or None
    answer = (prediction.values[0], low, high, shares, tuple(flags))
    return (request, when, version, *answer, *chain.from_iterable(columns))


def to_table(
    answered: Iterable[Row | AnsweredRows], columns: Sequence[Column], output: Output, keeping: Keeping
) -> pa.Table:
    """Makes a table of what one model answered.

    Args:
        answered: Requests of one record, and of several; one at least.
        columns: Those of the model that are kept.
        output: What the model gives.
        keeping: Which columns are hashed.
    """
    import pyarrow as pa

    rows: list[Row] = []
    for each in answered:
        rows.extend(each) if isinstance(each, AnsweredRows) else rows.append(each)
    names, (*known, flags), inputs = _parted(list(zip(*rows, strict=True)))
    known[1] = [round(when * 1e6) for when in known[1]]
    known.append([[f"{each.field}: {each.reason}" for each in some] for some in flags])
    types = [_prediction_type(output) if f.name == "prediction" else f.type for f in answer_columns()]
    table = {n: _typed(values, kind) for n, kind, values in zip(names, types, known, strict=True)}
    for column, values in zip(columns, inputs, strict=True):
        if keeping.private.get(column.name) == "hash":
            table[INPUT + column.name] = pa.array(hashed(values, read_key()), pa.string())
        elif column.type == "array":
            numbers = [value.ravel().tolist() for value in values]
            table[INPUT + column.name] = _typed(numbers, column_type(column))
        else:
            table[INPUT + column.name] = _typed(values, column_type(column))
    return pa.table(table)


def _parted(given: list[Sequence[Any]]) -> tuple[list[str], list[Sequence[Any]], list[Sequence[Any]]]:
    """Returns the names of the columns that every record has, those columns, and the model's."""
    names: list[str] = answer_columns().names
    return names, given[: len(names)], given[len(names) :]


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


def _typed(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Makes an array of a type; where a value does not fit, of numbers or, failing that, of texts."""
    import pyarrow as pa

    unfit = (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError)
    for each in (kind, pa.float64()):
        with contextlib.suppress(*unfit):
            return pa.array(values, each)
    texts = [None if value is None else str(value).encode("utf-8", "replace").decode() for value in values]
    return pa.array(texts, pa.string())
