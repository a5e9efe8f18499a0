"""What a column holds, as what the tests take: numbers, or words; nothing that a table may hold is an error.

Numbers are finite or missing, words are texts or missing. Arrays, such as images, become mean and spread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from nbship.package.sample import PARTS, array_parts
from nbship.package.schema import Column

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

_LARGEST = 1e300


def is_number(column: Column) -> bool:
    """Tells whether a column is compared by its numbers."""
    return column.is_number


def numbers(values: Iterable[Any]) -> Numbers:
    """Returns numbers; what is none is NaN, and what is infinite the largest there is."""
    import numpy as np

    plain = np.array([_number(value) for value in values], dtype="float64")
    return np.asarray(np.clip(plain, -_LARGEST, _LARGEST))


def _number(value: Any) -> float:
    if isinstance(value, bool):
        return float(value)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def words(values: Iterable[Any]) -> list[str | None]:
    """Returns texts, as `package.schema` writes categories and booleans; None for what is missing."""
    return [_word(value) for value in values]


def _word(value: Any) -> str | None:
    import numpy as np

    if value is None or (isinstance(value, float | np.floating) and value != value):
        return None
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, str | int):
        return str(value)
    text = str(value)
    return None if text in ("<NA>", "NaT") else text


def comparable(columns: Sequence[Column], table: pd.DataFrame) -> tuple[list[Column], pd.DataFrame]:
    """Returns the columns that can be compared and a table of them: arrays give way to mean and spread.

    Args:
        columns: What the model takes.
        table: Rows; columns that it lacks are left out.
    """
    import pandas as pd

    found: list[Column] = []
    values: dict[str, list[Any]] = {}
    for column in columns:
        if column.type != "array":
            if column.name in table:
                found.append(column)
                values[column.name] = table[column.name].tolist()
            continue
        names = [f"{column.name} ({part})" for part in PARTS]
        parts = array_parts(table[column.name].tolist()) if column.name in table else {}
        for name, part in zip(names, PARTS, strict=True):
            if part in parts or name in table:
                found.append(Column(name=name, type="number"))
                values[name] = list(parts[part]) if part in parts else table[name].tolist()
    series = {name: pd.Series(each, index=table.index, dtype="object") for name, each in values.items()}
    return found, pd.DataFrame(series, index=table.index)


def row_keys(columns: Sequence[Column], table: pd.DataFrame) -> NDArray[np.uint64]:
    """Returns a number for each row by its content, the same in every process."""
    import numpy as np

    texts = [numbers(table[c.name]).tolist() if is_number(c) else words(table[c.name]) for c in columns]
    return np.array([_digest(repr(row)) for row in zip(*texts, strict=True)], dtype=np.uint64)


def identifier_key(identifier: Any) -> tuple[int, str]:
    """Returns what puts rows in an order that depends neither on their content nor on how they came."""
    return _digest(str(identifier)), str(identifier)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest())
