"""Which rows a model was trained on: hashes of their inputs, kept with the model in `trained_rows.npz`.

The gate goes by them: a champion that has learnt a held-out row has an advantage there over a candidate
that has not. A row is known by its inputs alone, so that a corrected target does not make it another one.
"""

from __future__ import annotations

import csv
import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbship.errors import NbshipError
from nbship.package.reference import read_reference

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

TRAINED_ROWS = "trained_rows.npz"
# Below this, in bytes, plain Python has read a table before pandas is imported.
_SMALL = 1_000_000
_BITS = (1 << 64) - 1
# Odd numbers of SplitMix64 (Steele, Lea and Flood 2014), by which bits of all columns are mixed.
_GOLDEN, _MIX = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9
# What pandas takes for a missing value in a CSV file.
_MISSING = frozenset(
    "|#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A"  # noqa: SIM905
    "|NA|NULL|NaN|None|n/a|nan|null".split("|")
)


@dataclass(frozen=True)
class Rows:
    """Rows of a table, known by hashes.

    Attributes:
        columns: The columns that were hashed.
        hashes: 64 bits for each row, in the table's order where it was just read.
    """

    columns: tuple[str, ...]
    hashes: Sequence[int]


def columns_of(path: Path) -> list[str]:
    """Returns the names of a table's columns.

    Raises:
        NbshipError: It cannot be read.
    """
    if path.suffix != ".csv":
        return [str(column) for column in read_reference(path).columns]
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NbshipError(f"{path}: not a CSV table: {error}", "write it as CSV in UTF-8") from None


def hash_rows(path: Path, columns: Iterable[str]) -> Rows:
    """Hashes the rows of a table: a CSV file, or what else `read_reference` reads.

    A number has the same hash however it is written: 130, 130.0 and 1.3e2, and whatever its last digits.

    Args:
        path: The table.
        columns: Its columns by which a row is known; their order does not matter.

    Raises:
        NbshipError: It cannot be read.
    """
    names = tuple(sorted(columns))
    if path.suffix == ".csv" and path.stat().st_size <= _SMALL:
        return Rows(names, _hash_text(path, names))
    return Rows(names, hash_table(_read(path, names), names).tolist())


def hash_table(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.uint64]:
    """Hashes the rows of a table in memory; see `hash_rows`."""
    import numpy as np

    hashes = np.zeros(len(table), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for name in columns:
            hashes = (hashes ^ _hash_column(table[name])) * np.uint64(_MIX) + np.uint64(_GOLDEN)
            hashes ^= hashes >> np.uint64(29)
    return hashes


def write_trained_rows(path: Path, reference: Path, columns: Iterable[str]) -> None:
    """Writes the hashes of the rows that a model was trained on, eight bytes each.

    The same rows give the same bytes.

    Args:
        path: Where to.
        reference: The table of the rows.
        columns: The inputs by which they are known.

    Raises:
        NbshipError: The table cannot be read.
    """
    import io
    import zipfile

    import numpy as np

    rows = hash_rows(reference, columns)
    hashes = np.unique(np.array(rows.hashes, dtype=np.uint64))
    content = {"columns": np.array(rows.columns), "hashes": hashes}
    # Not `numpy.savez`, which writes the time into the file.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in content.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue())


def read_trained_rows(path: Path) -> Rows:
    """Reads the hashes of the rows that a model was trained on.

    Raises:
        NbshipError: The file is no such file.
    """
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            return Rows(tuple(map(str, archive["columns"])), archive["hashes"].astype(np.uint64).tolist())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise NbshipError(f"{path}: not a file of row hashes: {error}", "publish the model again") from None


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A large table; numbers as Python reads them, which pandas's faster way misses by a digit at times."""
    import pandas as pd

    if path.suffix != ".csv":
        return read_reference(path)
    try:
        return pd.read_csv(path, usecols=list(columns), float_precision="round_trip", low_memory=False)
    except (OSError, ValueError) as error:
        raise NbshipError(f"{path}: not a CSV table: {error}", "write it as CSV in UTF-8") from None


def _hash_column(values: pd.Series[Any]) -> NDArray[np.uint64]:
    import numpy as np
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_complex_dtype(values):
        return _hash_numbers(values.to_numpy(dtype="float64", na_value=np.nan))
    if len(values) and isinstance(values.iloc[0], np.ndarray):
        arrays = (np.ascontiguousarray(array, dtype="float64").tobytes() for array in values)
        return np.array([_hash_bytes(content) for content in arrays], dtype=np.uint64)
    codes, unique = pd.factorize(values.astype(object), use_na_sentinel=True)
    known = np.array([0, *(_hash_cell(str(value)) for value in unique)], dtype=np.uint64)
    return np.array(known[codes + 1], dtype=np.uint64)


def _hash_numbers(numbers: NDArray[np.float64]) -> NDArray[np.uint64]:
    """The last bits are rounded away: what is read and written again may differ by them."""
    import numpy as np

    with np.errstate(over="ignore"):
        bits = ((numbers + 0.0).view(np.uint64) + np.uint64(0x80)) & ~np.uint64(0xFF)
        mixed = (bits ^ (bits >> np.uint64(30))) * np.uint64(_MIX)
        mixed = (mixed ^ (mixed >> np.uint64(27))) | np.uint64(1)
        return np.asarray(mixed * ~np.isnan(numbers), dtype=np.uint64)


def _hash_text(path: Path, columns: Sequence[str]) -> list[int]:
    """The same hashes without a library, for a small file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NbshipError(f"{path}: not a CSV table: {error}", "write it as CSV in UTF-8") from None
    known: dict[str, int] = {}
    hashes = []
    for row in rows:
        mixed = 0
        for name in columns:
            cell = row.get(name) or ""
            if cell not in known:
                known[cell] = _hash_cell(cell)
            mixed = ((mixed ^ known[cell]) * _MIX + _GOLDEN) & _BITS
            mixed ^= mixed >> 29
        hashes.append(mixed)
    return hashes


def _hash_cell(text: str) -> int:
    if text in _MISSING:
        return 0
    words = {"True": 1.0, "TRUE": 1.0, "true": 1.0, "False": 0.0, "FALSE": 0.0, "false": 0.0}
    number = words.get(text)
    if number is None:
        try:
            number = float(text) if "_" not in text and text.isascii() else None
        except ValueError:
            number = None
    if number is None:
        return _hash_bytes(text.encode(errors="surrogatepass"))
    if number != number:  # NaN
        return 0
    bits = int.from_bytes(struct.pack("<d", number + 0.0), "little")
    bits = (bits + 0x80) & _BITS & ~0xFF
    mixed = ((bits ^ (bits >> 30)) * _MIX) & _BITS
    return (mixed ^ (mixed >> 27)) | 1


def _hash_bytes(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little") | 1
