"""How the file of a table is to be read: its format, and what pandas must be told of it.

Decides from a sample of a large file. What the columns hold is the business of `table`.
"""

from __future__ import annotations

import csv
import importlib
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, cast

from nbship.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Format = Literal["csv", "parquet", "excel"]
_UTF8 = "utf-8"
_SEPARATORS = ",;\t|"
_HEAD = 1 << 20
SAMPLED_BYTES = 64 << 20
_CHUNK_ROWS = 100_000
# How many times larger a text is than its zipped file, roughly.
_ZIPPED = 5
# Of all hashes, one in so many is kept.
_PART = 16
_GZIP, _PARQUET, _ZIP, _OLD_EXCEL = b"\x1f\x8b", b"PAR1", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
# What pandas needs for a format beside itself.
_NEEDED = {"parquet": "pyarrow", "excel": "openpyxl"}


@dataclass(frozen=True)
class Reading:
    """How a file is read.

    Attributes:
        format: Of the file.
        suffix: What its name must end with, so that it is read as that.
        options: What `pandas.read_csv` must be told, by argument; empty for a plain CSV file.
    """

    format: Format
    suffix: str
    options: Mapping[str, str]


def how_to_read(path: Path) -> Reading:
    """Finds out how a file is to be read, by its content.

    Raises:
        UsageError: It is no table, or what reads it is not installed.
    """
    head = _head(path)
    if head.startswith(_PARQUET):
        return Reading("parquet", ".parquet", {})
    if head.startswith(_ZIP) and b"xl/" in head:
        return Reading("excel", ".xlsx", {})
    if head.startswith((_ZIP, _OLD_EXCEL, b"%PDF")):
        raise UsageError(f"{path}: not a CSV file", "export it as CSV: text with a line of column names")
    zipped = head.startswith(_GZIP)
    return Reading("csv", ".csv.gz" if zipped else ".csv", _options(path, zipped))


@dataclass(frozen=True)
class TableSample:
    """Rows of a table.

    Attributes:
        rows: In the order of the file.
        whole: Whether these are all of its rows.
        repeats: Of a table that is not whole, in how many of all its rows a value of a column is on average;
            of columns whose values mostly differ from each other within a part of the file.
    """

    rows: pd.DataFrame
    whole: bool = True
    repeats: Mapping[str, float] = field(default_factory=dict)


def read_sample(path: Path, reading: Reading) -> TableSample:
    """Reads a table, of a large one some rows from everywhere: files are often sorted.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        if reading.format == "csv":
            return _read_text(path, reading)
        return _read_binary(path, reading.format)
    except ImportError:
        library = _NEEDED[reading.format]
        raise UsageError(
            f"{path}: {library} is not installed, which reads {reading.format.capitalize()} files",
            f"pip install {library}, and add it to the project's requirements; or export the table as CSV",
        ) from None
    except (ValueError, OSError, EOFError, UnicodeError, csv.Error, zlib.error, zipfile.BadZipFile) as error:
        # pandas' own errors are ValueErrors
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        what = {"csv": "CSV", "parquet": "Parquet", "excel": "Excel"}[reading.format]
        raise UsageError(f"{path}: not a {what} file: {reason}", "export it as CSV, one row a line") from None


def _read_binary(path: Path, format_: Format) -> TableSample:
    import pandas as pd

    importlib.import_module(_NEEDED[format_])
    rows = pd.read_parquet(path) if format_ == "parquet" else pd.read_excel(path)
    rows.columns = rows.columns.astype(str)
    most = SAMPLED_BYTES // 8 // max(1, len(rows.columns))
    if len(rows) <= most:
        return TableSample(rows)
    repeats = _Repeats(rows)
    repeats.count(rows)
    return TableSample(rows.sample(most, random_state=0).sort_index(), False, repeats.means())


def _read_text(path: Path, reading: Reading) -> TableSample:
    import pandas as pd

    zipped = reading.suffix.endswith(".gz")
    options: dict[str, Any] = {**reading.options, "compression": "gzip" if zipped else None}
    size = path.stat().st_size * (_ZIPPED if zipped else 1)
    if size <= SAMPLED_BYTES:
        return TableSample(pd.read_csv(path, low_memory=False, **options))
    kept, repeats = [], None
    for chunk in pd.read_csv(path, chunksize=_CHUNK_ROWS, **options):
        repeats = repeats or _Repeats(chunk)
        repeats.count(chunk)
        kept.append(chunk.sample(frac=SAMPLED_BYTES / 4 / size, random_state=0).sort_index())
    return TableSample(pd.concat(kept, ignore_index=True), False, repeats.means() if repeats else {})


class _Repeats:
    """Counts how often values are repeated, by those whose hash is in a small part of all hashes."""

    def __init__(self, first: pd.DataFrame) -> None:
        texts = first.select_dtypes(["object", "string", "integer"])
        self._seen: dict[str, list[np.ndarray[Any, Any]]] = {
            str(name): [] for name in texts if _many_different(texts[name])
        }

    def count(self, rows: pd.DataFrame) -> None:
        """Looks at more rows."""
        from pandas.util import hash_array

        for name, seen in self._seen.items():
            hashes = hash_array(rows[name].dropna().to_numpy())
            seen.append(hashes[hashes % _PART == 0])

    def means(self) -> dict[str, float]:
        """Returns the mean number of rows of a value, by column."""
        import numpy as np

        joined = {name: np.concatenate([np.empty(0), *seen]) for name, seen in self._seen.items()}
        return {name: len(all_) / len(np.unique(all_)) for name, all_ in joined.items() if len(all_)}


def _many_different(values: pd.Series[Any]) -> bool:
    try:
        return bool(values.nunique() > len(values) / 100)
    except TypeError:  # lists
        return False


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "check the path and its permissions") from None


def _open(path: Path, zipped: bool) -> IO[bytes]:
    import gzip

    return cast("IO[bytes]", gzip.open(path)) if zipped else path.open("rb")


def _options(path: Path, zipped: bool) -> dict[str, str]:
    try:
        with _open(path, zipped) as file:
            head = file.read(_HEAD)
            encoding = _encoding(head, file)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(
            f"{path}: cannot be unpacked: {error}", "check that it is a complete gzip file"
        ) from None
    options: dict[str, str] = {}
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        options["encoding"] = "utf-16"
    elif b"\0" in head:
        raise UsageError(f"{path}: not a CSV file", "export it as CSV: text with a line of column names")
    elif encoding != _UTF8:
        options["encoding"] = encoding
    text = head.decode(options.get("encoding", "utf-8-sig"), errors="replace")
    if not text.strip():
        raise UsageError(f"{path}: is empty", "give a table with a line of names and one row a line")
    separator = _separator(text.splitlines()[:200])
    return options | ({"sep": separator} if separator != "," else {})


def _encoding(head: bytes, rest: IO[bytes]) -> str:
    """The first that gives every byte a meaning; Windows' has the letters of Latin 1, and more, such as €."""
    import codecs

    decoders = {name: codecs.getincrementaldecoder(name)() for name in (_UTF8, "cp1252")}
    part = head
    while part:
        for name, decoder in list(decoders.items()):
            try:
                decoder.decode(part)
            except UnicodeDecodeError:
                del decoders[name]
        part = rest.read(_HEAD) if decoders else b""
    try:
        if _UTF8 in decoders:
            decoders[_UTF8].decode(b"", final=True)
    except UnicodeDecodeError:
        del decoders[_UTF8]
    return next(iter(decoders), "latin-1")


def _separator(lines: Iterable[str]) -> str:
    """The separator that cuts most lines into the same number of columns, and that into the most."""
    lines = [line for line in lines if line.strip()]

    def fit(separator: str) -> tuple[int, int]:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=separator) if row)
        width, count = max(widths.items(), key=lambda item: (item[0] > 1, item[1]), default=(1, 0))
        return (count if width > 1 else 0), width

    return max(_SEPARATORS, key=fit)
