"""What came true: labels that come after the records, joined by the record's id or a column that names a row.

Nothing is overwritten: every label stays, and the one that arrived last counts. Which store, and by which
column, is said by whoever calls.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbship.errors import NbshipError, UsageError
from nbship.files import disk_error
from nbship.monitoring.keeping import hashed, read_key
from nbship.monitoring.partitions import read_tables, write_table
from nbship.monitoring.records import INPUT, current, label_columns, open_required, read_labels
from nbship.monitoring.storage import Storage

if TYPE_CHECKING:
    import pandas as pd

ID, VALUE, ARRIVED = "id", "value", "arrived"


@dataclass(frozen=True)
class AddedLabels:
    """What became of labels.

    Attributes:
        new: Records that had no label.
        corrected: Records that had another.
        known: Labels that were there already.
        unknown: Labels of records that the store does not have.
        empty: Rows without a value.
        examples: Some identifiers or keys of the unknown ones.
    """

    new: int
    corrected: int
    known: int
    unknown: int
    empty: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Key:
    """How labels name their records.

    Attributes:
        column: Of the model; the record's id if empty.
        hashed: Whether the store has a hash of it.
    """

    column: str = ""
    hashed: bool = False


def read_file(path: Path, key: Key, target: str) -> tuple[pd.DataFrame, str]:
    """Reads a file of labels, CSV or Parquet.

    Args:
        path: The file.
        key: How it names records.
        target: Column with the labels, if there is none called `value`.

    Returns:
        Columns `id` (or the key), `value` and `arrived`, and what the file is known by.

    Raises:
        UsageError: It cannot be read, or a column is missing.
    """
    import pandas as pd

    try:
        content = path.read_bytes()
        is_parquet = content.startswith(b"PAR1")
        table = pd.read_parquet(path) if is_parquet else pd.read_csv(path, dtype={ID: str, key.column: str})
    except OSError as error:
        raise disk_error(error, path) from None
    except ValueError as error:  # pandas' and pyarrow's are such
        raise UsageError(f"{path}: {str(error).splitlines()[0]}", "give a CSV or Parquet file") from None
    names = ID if ID in table or not key.column else key.column
    value = VALUE if VALUE in table else target
    for column in (names, value):
        if column not in table:
            raise UsageError(
                f"{path}: there is no column '{column}'",
                f"columns are {key.column or ID}, {VALUE} and, if it is known, {ARRIVED}",
            )
    found = table[[names, value]].rename(columns={value: VALUE})
    found[ARRIVED] = _times(table[ARRIVED], path) if ARRIVED in table else None
    return found, hashlib.sha256(content).hexdigest()[:16]


def add_labels(
    store: str, name: str, labels: pd.DataFrame, key: Key, source: str, now: datetime | None = None
) -> AddedLabels:
    """Adds labels to the records of a model; the same again changes nothing.

    Args:
        store: Of the records.
        name: The model.
        labels: See `read_file`.
        key: How they name records.
        source: Where they are from: what has been added from there is not added again.
        now: When they arrive that do not say when they did; now if None.

    Raises:
        UsageError: A label of a number is none.
        NbshipError: The store cannot be read or written to.
    """
    storage, now = open_required(store), now or datetime.now(UTC)
    present = labels[labels[VALUE].notna()]
    by = ID if ID in labels else key.column
    known = _known(storage, name, "" if by == ID else key.column)
    forms = [_forms(value, key.hashed and by != ID) for value in present[by]]
    rows = [
        (record, value, given, None if _missing(arrived) else arrived)
        for given, value, arrived, either in zip(
            present[by], present[VALUE].tolist(), present[ARRIVED], forms, strict=True
        )
        for record in next((known[form] for form in either if form in known), [None])
    ]
    found = [(record, _fit(value, known.textual), at) for record, value, _, at in rows if record is not None]
    unknown = [str(given) for record, _, given, _ in rows if record is None]
    history = read_labels(storage, name)
    new, corrected, kept = _sorted_out(found, history, source)
    if kept:
        write_labels(storage, name, kept, source, now)
    return AddedLabels(
        new,
        corrected,
        len(found) - len(kept),
        len(unknown),
        len(labels) - len(present),
        tuple(dict.fromkeys(unknown))[:3],
    )


class _Known(dict[str, list[Any]]):
    """Records by their id or key; `textual` tells whether what was predicted of them is text."""

    textual = False


def _known(storage: Storage, name: str, column: str) -> _Known:
    wanted = [ID, "prediction", *([INPUT + column] if column else [])]
    tables = read_tables(storage, name, "records", columns=wanted)
    if column and tables and not any(INPUT + column in table.column_names for table in tables):
        raise UsageError(
            f"the records of {name} have no column '{column}'", "correct monitor.label.key, or join by id"
        )
    found = _Known()
    for table in tables:
        by = INPUT + column if column else ID
        if by not in table.column_names:
            continue
        for record, value in zip(table[ID].to_pylist(), table[by].to_pylist(), strict=True):
            if value is not None and record not in (there := found.setdefault(_text(value), [])):
                there.append(record)
        found.textual |= str(table.schema.field("prediction").type) == "string"
    return found


def _forms(value: Any, is_hashed: bool) -> list[str]:
    """Returns how the store may have an id or a key: as the text that it is, or as a number."""
    forms = [_text(value)]
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        forms.append(_text(float(value)))
    return [each or "" for each in hashed(forms, read_key())] if is_hashed else forms


def _sorted_out(
    rows: list[tuple[str, Any, Any]], history: pd.DataFrame, source: str
) -> tuple[int, int, list[tuple[str, Any, Any]]]:
    """Counts what is new and what corrects; returns those with what is to be written."""
    there = current(history)
    values = dict(zip(there.index, there[VALUE], strict=True))
    told = set(zip(history[ID], history[VALUE], history["source"], strict=True))
    times = set(zip(history[ID], history[VALUE], history[ARRIVED], strict=True))
    before, kept = dict(values), []
    for record, value, arrived in rows:
        again = (record, value, source) in told if arrived is None else (record, value, arrived) in times
        if again or (arrived is None and record in values and values[record] == value):
            continue
        values[record] = value
        kept.append((record, value, arrived))
    changed = {record for record, _, _ in kept}
    return len(changed - before.keys()), len(changed & before.keys()), kept


def write_labels(
    storage: Storage, name: str, rows: Sequence[tuple[str, Any, Any]], source: str, now: datetime
) -> None:
    """Writes labels as they are: the record's identifier, the value, and when it arrived; now if None.

    Raises:
        NbshipError: The store cannot be written to.
    """
    import pyarrow as pa

    records, values, times = (list(each) for each in zip(*rows, strict=True))
    schema = label_columns()
    table = {
        ID: pa.array(records, pa.string()),
        VALUE: pa.array(values),
        ARRIVED: pa.array([now if at is None else at for at in times], schema.field(ARRIVED).type),
        "added": pa.array([now] * len(rows), schema.field("added").type),
        "source": pa.array([source] * len(rows), pa.string()),
    }
    write_table(storage, name, "labels", now.date(), secrets.token_hex(8), pa.table(table))


def _fit(value: Any, textual: bool) -> Any:
    """Returns a label as predictions are: a text, or a number."""
    if textual:
        return _text(value)
    try:
        return value if isinstance(value, bool | int | float) else float(value)
    except ValueError:
        raise UsageError(
            f"the label '{value}' is not a number, as predictions are", "correct the file"
        ) from None


def _text(value: Any) -> str:
    """Returns a value as it is looked for: 3 and 3.0 are the same."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _missing(value: Any) -> bool:
    return value is None or value != value


def _times(values: pd.Series[Any], path: Path) -> pd.Series[Any]:
    import pandas as pd

    try:
        return pd.to_datetime(values, utc=True)
    except ValueError as error:
        raise UsageError(f"{path}: {ARRIVED}: {error}", "write times as 2026-11-21T12:00:00Z") from None


def delays(labels: pd.DataFrame, times: pd.Series[Any]) -> pd.Series[Any]:
    """Returns how long after each record its label arrived.

    Args:
        labels: See `Records`.
        times: Of the records, by their id.

    Raises:
        NbshipError: A label has no record.
    """
    if not labels.index.isin(times.index).all():
        raise NbshipError("a label has no record", "read both of the same time")
    return labels[ARRIVED] - times.loc[labels.index]
