"""Looks at a table that nobody prepared: what its columns hold, as far as a model is concerned.

Changes nothing in the file: what it finds goes into the notebooks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbship.errors import UsageError
from nbship.templates.amounts import Amounts, amounts_of, read_amounts
from nbship.templates.dates import MIXED, Dates, dates_of
from nbship.templates.reading import Reading, how_to_read, read_sample

if TYPE_CHECKING:
    import pandas as pd

_MOST = 0.9
# A column with so many numbers is one of numbers, as prepare.ipynb has it; the rest are words for "missing".
_NUMBERS = 0.75
_LOOKED_AT = 500
ID_NAME = re.compile(
    r"(^|[_\s.-])(id|uuid|guid|key|index|nr|no|number)$|[a-z](ID|Id)$|^Unnamed: 0$", re.IGNORECASE
)


class ColumnKind(StrEnum):
    """What a column holds, as far as a model is concerned."""

    NUMBER = "number"
    WORDS = "words"
    DATE = "date"
    TEXT = "text"
    IDENTIFIER = "identifier"
    CONSTANT = "constant"
    NESTED = "nested"


@dataclass(frozen=True)
class Table:
    """A table as it was found.

    Attributes:
        reading: How its file is read.
        columns: What each column holds, in the order of the file.
        amounts: How numbers are written, by column, where not plainly.
        dates: How dates are written, by column.
        sample: The rows that were looked at, amounts as numbers.
        sampled: Whether the file has more rows than those.
        repeats: See `reading.Sample`.
    """

    reading: Reading
    columns: Mapping[str, ColumnKind]
    amounts: Mapping[str, Amounts]
    dates: Mapping[str, Dates]
    sample: pd.DataFrame
    sampled: bool
    repeats: Mapping[str, float]


def read_table(path: Path) -> Table:
    """Looks at a file.

    Args:
        path: CSV, TSV and the like, also zipped by gzip, whatever the encoding; Parquet; or Excel.

    Raises:
        UsageError: It is not such a file, or has no rows.
    """
    reading = how_to_read(path)
    found = read_sample(path, reading)
    if "sep" in reading.options and _has_decimal_commas(found.rows):
        reading = Reading(reading.format, reading.suffix, {**reading.options, "decimal": ","})
        found = read_sample(path, reading)
    sample = found.rows
    if sample.empty:
        raise UsageError(f"{path}: has no rows", "give a table with a line of names and one row a line")
    if len(sample.columns) < 2:
        raise UsageError(f"{path}: has one column", "a model needs columns to predict from; is it CSV?")
    sample = _plain(sample)
    amounts = _amounts(sample, reading.options.get("decimal", "."))
    sample = sample.assign(
        **{name: read_amounts(sample[name], each.decimal) for name, each in amounts.items()}
    )
    columns = {str(name): kind_of(sample[name]) for name in sample}
    dates = _dates(sample[[name for name, kind in columns.items() if kind is ColumnKind.DATE]])
    return Table(reading, columns, amounts, dates, sample, not found.whole, found.repeats)


def kind_of(values: pd.Series[Any]) -> ColumnKind:
    """Says what a column holds."""
    from pandas.api import types

    present = values.dropna()
    if not _is_hashable(present):
        return ColumnKind.NESTED
    if present.nunique() < 2:
        return ColumnKind.CONSTANT
    is_id = bool(ID_NAME.search(str(values.name))) and present.is_unique and len(present) == len(values)
    if types.is_bool_dtype(values):
        return ColumnKind.WORDS
    if types.is_numeric_dtype(values):
        counted = is_id or (types.is_integer_dtype(values) and _is_counter(present))
        return ColumnKind.IDENTIFIER if counted else ColumnKind.NUMBER
    if are_numbers(values):
        return ColumnKind.NUMBER
    looked_at = present.astype(str).sample(min(_LOOKED_AT, len(present)), random_state=0)
    if dates_of(looked_at):
        return ColumnKind.DATE
    if looked_at.str.split().str.len().mean() >= 3 and present.nunique() > 50:
        return ColumnKind.TEXT
    mostly_different = len(present) >= 20 and present.nunique() > _MOST * len(present)
    return ColumnKind.IDENTIFIER if is_id or mostly_different else ColumnKind.WORDS


def are_numbers(values: pd.Series[Any]) -> bool:
    """Tells whether nearly all of a column's values are numbers, however they were read."""
    import pandas as pd

    present = values.dropna()
    return not present.empty and bool(pd.to_numeric(present, errors="coerce").notna().mean() >= _NUMBERS)


def _plain(sample: pd.DataFrame) -> pd.DataFrame:
    """Returns a table with the types that a CSV file has: a date is text, and so is a category."""
    texts = {
        name: sample[name].dt.strftime(f"%Y-%m-%d{' %H:%M:%S' if _has_times(sample[name]) else ''}")
        for name in sample.select_dtypes(["datetime", "datetimetz"])
    }
    texts |= {name: sample[name].astype(object) for name in sample.select_dtypes("category")}
    return sample.assign(**texts)


def _has_times(moments: pd.Series[Any]) -> bool:
    return bool((moments.dropna() != moments.dropna().dt.normalize()).any())


def _amounts(sample: pd.DataFrame, usual: str) -> dict[str, Amounts]:
    texts = [
        str(name) for name in sample.select_dtypes(["object", "string"]) if not are_numbers(sample[name])
    ]
    found = {name: amounts_of(sample[name], usual) for name in texts if _is_hashable(sample[name].dropna())}
    return {name: amounts for name, amounts in found.items() if amounts}


def _dates(texts: pd.DataFrame) -> dict[str, Dates]:
    """Says how dates are written; columns that tell whether the day is first decide for those that do not."""
    found = {str(name): dates_of(texts[name]) or Dates(MIXED, False, False, 0) for name in texts}
    sure = {
        dates.day_first
        for dates in found.values()
        if dates.format[:2] in ("%d", "%m") and not dates.ambiguous
    }
    if len(sure) == 1:
        (day_first,) = sure
        found |= {
            name: dates_of(texts[name], day_first) or dates
            for name, dates in found.items()
            if dates.ambiguous
        }
    return found


def _is_hashable(present: pd.Series[Any]) -> bool:
    try:
        present.nunique()
    except TypeError:
        return False
    return True


def _has_decimal_commas(sample: pd.DataFrame) -> bool:
    texts = sample.select_dtypes("object")
    return any(
        texts[name].dropna().astype(str).str.fullmatch(r"[-+]?\d+,\d+").mean() >= _MOST for name in texts
    )


def _is_counter(present: pd.Series[Any]) -> bool:
    """Whether numbers count the rows: each one more than the one before."""
    return len(present) >= 20 and bool((present.diff().iloc[1:] == 1).all())
