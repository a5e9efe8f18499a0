"""What a model takes and gives: columns with their types, ranges and reference distribution, and the output.

Derived from the rows that the model learnt from. Does not know how a model is stored or served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import pandas as pd

Record = Mapping[str, Any]
# Text with at most this many values, each seen twice on average, is a choice among them.
_CATEGORIES_AT_MOST = 50
_BINS = 10


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
    """

    name: str
    type: Literal["integer", "number", "boolean", "category", "text"]
    missing: int = 0
    typical: bool | int | float | str | None = None
    minimum: float | None = None
    maximum: float | None = None
    histogram: Histogram | None = None
    categories: dict[str, int] = {}


class Output(_Frozen):
    """What the model predicts.

    Attributes:
        kind: A number, or one of `classes`.
        target: The column that it predicts.
        classes: The classes, in the order of the model's probabilities.
        probabilities: Whether the model gives a probability for each class.
        reference: The target in the reference rows.
    """

    kind: Literal["regression", "classification"]
    target: str
    classes: list[bool | int | float | str] = []
    probabilities: bool = False
    reference: Column


def describe_column(values: pd.Series[Any]) -> Column:
    """Describes a column of a table that was read with pandas' nullable types."""
    from pandas.api import types

    present = values.dropna()
    common = {"name": str(values.name), "missing": int(values.isna().sum())}
    if present.empty:
        return Column(type="number", **common)
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


def to_frame(columns: Sequence[Column], records: Sequence[Record]) -> pd.DataFrame:
    """Makes the table that a model takes from records, typed as `pandas.read_csv` types the reference rows.

    Args:
        columns: The model's columns.
        records: One mapping a row; a name that is absent, or None, is a missing value.
    """
    import numpy as np
    import pandas as pd

    def values(column: Column) -> pd.Series[Any]:
        given = [record.get(column.name) for record in records]
        if column.type in ("integer", "number"):
            numbers = pd.Series(given, dtype="float64")
            whole = column.type == "integer" and not numbers.isna().any() and not numbers.mod(1).any()
            return numbers.astype("int64") if whole else numbers
        if column.type == "boolean" and None not in given:
            return pd.Series(given, dtype="bool")
        return pd.Series([np.nan if value is None else value for value in given], dtype="object")

    return pd.DataFrame({column.name: values(column) for column in columns})


def to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Makes records of a table that was read with pandas' nullable types; a missing value becomes None."""
    import pandas as pd

    rows = frame.astype("object").to_dict("records")
    return [{str(name): None if value is pd.NA else value for name, value in row.items()} for row in rows]


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
