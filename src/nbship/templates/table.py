"""Looks at a table that nobody prepared: how its file is to be read, and what its columns hold.

Decides from a sample of a large file. Changes nothing in the table: what it finds goes into the notebooks.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbship.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

_SEPARATORS = ",;\t|"
_HEAD = 1 << 20
_SAMPLED_BYTES = 64 << 20
_CHUNK_ROWS = 100_000
_MOST = 0.9
# A column with so many numbers is one of numbers, as prepare.ipynb has it; the rest are words for "missing".
_NUMBERS = 0.75
_LOOKED_AT = 500
_ID_NAME = re.compile(
    r"(^|[_\s.-])(id|uuid|guid|key|index|nr|no|number)$|[a-z](ID|Id)$|^Unnamed: 0$", re.IGNORECASE
)
_DATE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2}[ -][A-Za-z]{3,9}[ -]\d{2,4}|[A-Za-z]{3,9} \d{1,2},? \d{4}"
)
_DAY_FIRST = re.compile(r"^(1[3-9]|2\d|3[01])[-/.]\d{1,2}[-/.]\d{2,4}")


class Kind(StrEnum):
    """What a column holds, as far as a model is concerned."""

    NUMBER = "number"
    WORDS = "words"
    DATE = "date"
    TEXT = "text"
    IDENTIFIER = "identifier"
    CONSTANT = "constant"


@dataclass(frozen=True)
class Table:
    """A table as it was found.

    Attributes:
        options: What `pandas.read_csv` must be told, by argument; empty for a plain CSV file.
        columns: What each column holds, in the order of the file.
        day_first: Whether dates are written with the day first.
        sample: The rows that were looked at.
        sampled: Whether the file has more rows than those.
    """

    options: Mapping[str, str]
    columns: Mapping[str, Kind]
    day_first: bool
    sample: pd.DataFrame
    sampled: bool

    def of_kind(self, *kinds: Kind) -> list[str]:
        """Returns the columns that hold one of some kinds of values."""
        return [name for name, kind in self.columns.items() if kind in kinds]


def read_table(path: Path) -> Table:
    """Looks at a file.

    Args:
        path: Text with a line of column names and one row a line; separator and encoding are found out.

    Raises:
        UsageError: It is not such a file, or has no rows.
    """
    options = _options(path)
    sample = _sample(path, options)
    if "sep" in options and _has_decimal_commas(sample):
        options["decimal"] = ","
        sample = _sample(path, options)
    if sample.empty:
        raise UsageError(f"{path}: has no rows", "give a table with a line of names and one row a line")
    if len(sample.columns) < 2:
        raise UsageError(f"{path}: has one column", "a model needs columns to predict from; is it CSV?")
    columns = {str(name): kind_of(sample[name]) for name in sample}
    dates = [name for name, kind in columns.items() if kind is Kind.DATE]
    day_first = any(sample[name].dropna().astype(str).str.match(_DAY_FIRST).any() for name in dates)
    return Table(options, columns, day_first, sample, path.stat().st_size > _SAMPLED_BYTES)


def kind_of(values: pd.Series[Any]) -> Kind:
    """Says what a column holds."""
    from pandas.api import types

    present = values.dropna()
    if present.nunique() < 2:
        return Kind.CONSTANT
    is_id = bool(_ID_NAME.search(str(values.name))) and present.is_unique and len(present) == len(values)
    if types.is_bool_dtype(values):
        return Kind.WORDS
    if types.is_numeric_dtype(values):
        counted = is_id or (types.is_integer_dtype(values) and _is_counter(present))
        return Kind.IDENTIFIER if counted else Kind.NUMBER
    if are_numbers(values):
        return Kind.NUMBER
    looked_at = present.astype(str).sample(min(_LOOKED_AT, len(present)), random_state=0)
    if _are_dates(looked_at):
        return Kind.DATE
    if looked_at.str.split().str.len().mean() >= 3 and present.nunique() > 50:
        return Kind.TEXT
    mostly_different = len(present) >= 20 and present.nunique() > _MOST * len(present)
    return Kind.IDENTIFIER if is_id or mostly_different else Kind.WORDS


def are_numbers(values: pd.Series[Any]) -> bool:
    """Tells whether nearly all of a column's values are numbers, however they were read."""
    import pandas as pd

    present = values.dropna()
    return not present.empty and bool(pd.to_numeric(present, errors="coerce").notna().mean() >= _NUMBERS)


def _options(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "check the path and its permissions") from None
    options: dict[str, str] = {}
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        options["encoding"] = "utf-16"
    elif b"\0" in head or head.startswith((b"PK\x03\x04", b"PAR1", b"\x1f\x8b", b"%PDF")):
        raise UsageError(f"{path}: not a CSV file", "export it as CSV: text with a line of column names")
    elif not _is_utf8(path):
        options["encoding"] = "latin-1"
    text = head.decode(options.get("encoding", "utf-8-sig"), errors="replace")
    if not text.strip():
        raise UsageError(f"{path}: is empty", "give a table with a line of names and one row a line")
    separator = _separator(text.splitlines()[:200])
    return options | ({"sep": separator} if separator != "," else {})


def _is_utf8(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            while file.read(_HEAD):
                pass
    except UnicodeDecodeError:
        return False
    return True


def _separator(lines: Iterable[str]) -> str:
    """The separator that cuts most lines into the same number of columns, and that into the most."""
    lines = [line for line in lines if line.strip()]

    def fit(separator: str) -> tuple[int, int]:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=separator) if row)
        width, count = max(widths.items(), key=lambda item: (item[0] > 1, item[1]), default=(1, 0))
        return (count if width > 1 else 0), width

    return max(_SEPARATORS, key=fit)


def _sample(path: Path, options: Mapping[str, str]) -> pd.DataFrame:
    """Reads a table, of a large one some rows from everywhere: files are often sorted."""
    import pandas as pd

    try:
        share = min(1.0, _SAMPLED_BYTES / 4 / path.stat().st_size)
        if path.stat().st_size <= _SAMPLED_BYTES:
            return pd.read_csv(path, low_memory=False, **options)
        chunks = pd.read_csv(path, chunksize=_CHUNK_ROWS, **options)
        return pd.concat((chunk.sample(frac=share, random_state=0) for chunk in chunks), ignore_index=True)
    except (ValueError, UnicodeError, csv.Error) as error:  # pandas' own errors are ValueErrors
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"{path}: not a CSV file: {reason}", "export it as CSV, one row a line") from None


def _has_decimal_commas(sample: pd.DataFrame) -> bool:
    texts = sample.select_dtypes("object")
    return any(
        texts[name].dropna().astype(str).str.fullmatch(r"[-+]?\d+,\d+").mean() >= _MOST for name in texts
    )


def _is_counter(present: pd.Series[Any]) -> bool:
    """Whether numbers count the rows: each one more than the one before."""
    return len(present) >= 20 and bool((present.diff().iloc[1:] == 1).all())


def _are_dates(values: pd.Series[str]) -> bool:
    import pandas as pd

    if values.str.contains(_DATE).mean() < _MOST:
        return False
    read = pd.to_datetime(values, errors="coerce", format="mixed", utc=True)
    return bool(read.notna().mean() >= _MOST)
