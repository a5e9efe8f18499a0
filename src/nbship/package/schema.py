"""What a model takes and gives: columns with their types, ranges and reference distribution, and the output.

Derived from the rows that the model was trained on. Does not know how a model is stored or served.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from nbship.package.types import COLUMN_TYPES, ColumnType, TypeName

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Record = Mapping[str, Any]
Table: TypeAlias = "pd.DataFrame | pd.Series[Any] | np.ndarray[Any, Any]"
# Text with at most this many values, each seen twice on average, is a choice among them.
_CATEGORIES_AT_MOST = 50
_BINS = 10
# Elements of arrays whose distribution is looked at.
_ELEMENTS = 100_000
# Whole numbers that floating point numbers hold exactly.
_WHOLE_BELOW = 2**53


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Histogram(_Frozen):
    """How numbers are distributed, in bins of about equal counts.

    Attributes:
        edges: One more than counts, ascending; a bin includes its lower edge, and the last one its upper too.
        counts: Rows in each bin.
    """

    edges: list[float]
    counts: list[int]


class Column(_Frozen):
    """A raw column that the model takes.

    Attributes:
        name: Its name.
        type: What a value may be; a category is text out of a known list.
        missing: How many of the reference rows have no value.
        typical: The median, or the most frequent value; None if there is no value at all.
        minimum: The smallest number seen.
        maximum: The largest number seen.
        histogram: The distribution of numbers.
        categories: The values of a category or a boolean, and how many rows have each, most frequent first.
        shape: Of an array, such as an image: its lengths; empty for a single value.
        description: What it is, in words.
        unit: Of its numbers.
        labels: Words for its values, by the value as text.
        aliases: Other ways to write its values, by what is written, as text.
        unseen: Whether a category that is not in `categories` is accepted and flagged, or refused.
        optional: Whether it may be left out although every reference row has a value.
        missing_held_out: How many of the rows that the model was judged on have no value.
        alone: Whether the model takes this column by itself, as a series, and no table.
        lowest: The smallest number that the model can predict; None if it was not looked for.
        highest: The largest number.
        takes_unseen: Whether the model can predict a category that is not in `categories`.
    """

    name: str
    type: TypeName
    missing: int = 0
    typical: bool | int | float | str | None = None
    minimum: float | None = None
    maximum: float | None = None
    histogram: Histogram | None = None
    categories: dict[str, int] = {}
    shape: tuple[int, ...] = ()
    description: str = ""
    unit: str = ""
    labels: dict[str, str] = {}
    aliases: dict[str, Any] = {}
    unseen: Literal["accept", "refuse"] = "accept"
    optional: bool = False
    missing_held_out: int = 0
    alone: bool = False
    lowest: float | None = None
    highest: float | None = None
    takes_unseen: bool = True

    @property
    def kind(self) -> ColumnType:
        """What its type means."""
        return COLUMN_TYPES[self.type]

    @property
    def is_number(self) -> bool:
        """Whether a value is one number."""
        return bool(self.kind.sizes) and self.type != "array"

    @property
    def required(self) -> bool:
        """Whether every record must have a value: nobody has seen what the model does without one."""
        return not (self.missing or self.missing_held_out or self.optional)

    @cached_property
    def codes(self) -> Mapping[str, int]:
        """What stands for each category in a compiled model: its position."""
        return {value: position for position, value in enumerate(self.categories)}


class Interval(_Frozen):
    """Where the truth lies around a predicted number, by the errors on rows that were held out.

    Attributes:
        low: Gives the lower end: added to the prediction, or as a share of it.
        high: Gives the upper end in the same way.
        coverage: The share of rows whose truth lay within, in a cross-validation in which other rows set it.
        kind: Whether errors are differences from the prediction, or shares of it: wider where it is large.
    """

    low: float
    high: float
    coverage: float
    kind: Literal["additive", "multiplicative"] = "additive"

    def around(self, prediction: float) -> list[float]:
        """Returns the lower and the upper end around a prediction."""
        if self.kind == "additive":
            return [prediction + self.low, prediction + self.high]
        return sorted((prediction * self.low, prediction * self.high))


class Output(_Frozen):
    """What the model predicts.

    Attributes:
        kind: A number, or one of `classes`.
        target: The column that it predicts.
        classes: The classes, in the order of the model's probabilities.
        probabilities: Whether the model gives a probability for each class.
        scores: Whether the model scores how ordinary a record is.
        interval: Of a regression; None if it is not known.
        reference: The target in the reference rows.
    """

    kind: Literal["regression", "classification"]
    target: str
    classes: list[bool | int | float | str] = []
    probabilities: bool = False
    scores: bool = False
    interval: Interval | None = None
    reference: Column


def describe_column(values: pd.Series[Any]) -> Column:
    """Describes a column of a table that was read with pandas' nullable types; an array is one object."""
    import numpy as np
    from pandas.api import types

    present = values.dropna()
    common = {"name": str(values.name), "missing": int(values.isna().sum())}
    if present.empty:
        return Column(type="number", **common)
    if isinstance(present.iloc[0], np.ndarray):
        return _describe_arrays(np.stack(present.to_list()), common)
    if types.is_bool_dtype(values):
        counts = present.astype(str).str.lower().value_counts()
        return Column(type="boolean", typical=bool(present.mode()[0]), categories=counts.to_dict(), **common)
    if types.is_numeric_dtype(values):
        return _describe_numbers(values, present, common)
    counts = present.astype(str).value_counts()
    typical = str(counts.index[0])
    if len(counts) <= _CATEGORIES_AT_MOST and len(counts) * 2 <= len(present):
        return Column(type="category", typical=typical, categories=counts.to_dict(), **common)
    return Column(type="text", typical=typical, **common)


def histogram(numbers: Sequence[float]) -> Histogram:
    """Counts numbers in bins whose edges are their quantiles, so that each bin weighs about the same."""
    import numpy as np

    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, _BINS + 1)))
    if len(edges) == 1:
        edges = np.repeat(edges, 2)
    counts, _ = np.histogram(numbers, edges)
    return Histogram(edges=edges.tolist(), counts=counts.tolist())


def typical_record(columns: Sequence[Column]) -> dict[str, Any]:
    """Returns a record of each column's typical value; of an array, of its smallest number."""
    import numpy as np

    arrays = {c.name: np.full(c.shape, c.minimum or 0.0).tolist() for c in columns if c.type == "array"}
    return {c.name: c.typical for c in columns} | arrays


def to_table(columns: Sequence[Column], records: Sequence[Record]) -> Table:
    """Makes what a model takes from records.

    Args:
        columns: The model's columns.
        records: One mapping a row; a name that is absent, or None, is a missing value.

    Returns:
        See `columns_to_table`.
    """
    return columns_to_table(columns, {c.name: [record.get(c.name) for record in records] for c in columns})


def columns_to_table(columns: Sequence[Column], values: Mapping[str, Sequence[Any]]) -> Table:
    """Makes what a model takes from columns of values, all of one length; None is a missing value.

    Returns:
        A table, typed as `pandas.read_csv` types the reference rows, so that what is made of a record does
        not depend on the others. For a model that takes one column by itself, a series; for one that takes
        one array a record, numbers of the shape (rows, *shape).
    """
    import numpy as np
    import pandas as pd

    if columns[0].type == "array":
        return np.asarray(values[columns[0].name], dtype="float64").reshape(-1, *columns[0].shape)
    series = {column.name: _to_series(column, values[column.name]) for column in columns}
    return series[columns[0].name] if columns[0].alone else pd.DataFrame(series)


def rows_of_one_type(columns: Sequence[Column], values: Mapping[str, Sequence[Any]]) -> list[list[int]]:
    """Groups rows by which whole numbers and booleans they lack, of those that no training row lacked.

    A missing value gives its column another type, and so would change what a model sees of the other rows.
    """
    exact = (c.name for c in columns if c.type in ("integer", "boolean") and not c.missing)
    lacking = [values[name] for name in exact if None in values[name]]
    groups: defaultdict[tuple[bool, ...], list[int]] = defaultdict(list)
    for row, given in enumerate(zip(*lacking, strict=True)):
        groups[tuple(value is None for value in given)].append(row)
    return list(groups.values())


def _to_series(column: Column, given: Sequence[Any]) -> pd.Series[Any]:
    import numpy as np
    import pandas as pd

    if column.is_number:
        whole = _whole_numbers(given) if column.kind.whole and not column.missing else None
        return pd.Series(np.array(given, dtype="float64") if whole is None else whole)  # None becomes NaN
    if column.type == "boolean" and not column.missing and None not in given:
        return pd.Series(given, dtype="bool")
    return pd.Series([np.nan if value is None else value for value in given], dtype="object")


def _whole_numbers(given: Sequence[Any]) -> np.ndarray[Any, Any] | None:
    """Returns whole numbers as such; None if one of them is missing or has no room in 64 bits."""
    import numpy as np

    if set(map(type, given)) == {int}:
        with contextlib.suppress(OverflowError):
            return np.array(given, dtype="int64")
    numbers = np.array(given, dtype="float64")
    exact = (numbers % 1 == 0) & (abs(numbers) < _WHOLE_BELOW)
    return numbers.astype("int64") if exact.all() else None


def to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Makes records of a table that was read with pandas' nullable types; a missing value becomes None."""
    import numpy as np
    import pandas as pd

    def plain(value: Any) -> Any:
        return None if value is pd.NA else value.tolist() if isinstance(value, np.ndarray) else value

    rows = frame.astype("object").to_dict("records")
    return [{str(name): plain(value) for name, value in row.items()} for row in rows]


def _describe_numbers(values: pd.Series[Any], present: pd.Series[Any], common: dict[str, Any]) -> Column:
    from pandas.api import types

    whole = types.is_integer_dtype(values)
    numbers = present.astype("float64")
    finite = numbers[abs(numbers) < float("inf")]
    if finite.empty:
        return Column(type="number", **common)
    median = float(finite.median())
    return Column(
        type="integer" if whole else "number",
        typical=round(median) if whole else median,
        minimum=float(finite.min()),
        maximum=float(finite.max()),
        histogram=histogram(finite.tolist()),
        **common,
    )


def _describe_arrays(arrays: np.ndarray[Any, Any], common: dict[str, Any]) -> Column:
    """Describes numbers of the shape (rows, ...); the distribution is that of all their elements."""
    numbers = arrays.astype("float64").ravel()
    return Column(
        type="array",
        shape=arrays.shape[1:],
        minimum=float(numbers.min()),
        maximum=float(numbers.max()),
        histogram=histogram(numbers[:: max(1, numbers.size // _ELEMENTS)].tolist()),
        **common,
    )
