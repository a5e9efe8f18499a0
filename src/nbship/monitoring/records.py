"""What a model was asked and answered in a time, as tables: read from the store, and written to it.

A record's columns in the store are `id`, `time`, `version`, `prediction`, `low`, `high`, `probabilities`,
`flags`, and `input.COLUMN` for each of the model's. How a server's answers become records is the business of
`log` and `collect`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from nbship.errors import NbshipError
from nbship.monitoring.partitions import read_tables, utc, write_table
from nbship.monitoring.storage import Storage, open_storage

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

INPUT = "input."


@dataclass(frozen=True)
class Records:
    """What was asked and answered in a time, the oldest first.

    Attributes:
        inputs: One row a record: the model's raw columns as they were read. Columns that are left out of the
            store are absent.
        answers: With the same index, the record's id: `time` (in UTC), `version`, `prediction`, `low` and
            `high` (NaN where there is no interval), `probabilities` (a list in the order of the model's
            classes, or None), `flags` (a list of texts, `column: reason`).
        labels: What came true, by the ids that have it: `value`, and `arrived` (in UTC).
    """

    inputs: pd.DataFrame
    answers: pd.DataFrame
    labels: pd.DataFrame


def read_records(
    store: str, name: str, *, since: datetime | None = None, until: datetime | None = None, version: str = ""
) -> Records:
    """Reads what a model was asked and answered, each record once.

    Args:
        store: A folder, or what fsspec reads, such as `s3://bucket/prefix`.
        name: The model.
        since: The time of the first record; from the beginning if None. Without a zone, in UTC.
        until: The time before which the last one is; to the end if None.
        version: Of the model; every one if empty.

    Raises:
        NbshipError: The store cannot be read.
    """
    import pandas as pd

    storage = open_required(store)
    table = joined(read_tables(storage, name, "records", since, until), answer_columns())
    table = table.drop_duplicates("id").sort_values("time", kind="stable")
    wanted = pd.Series(True, index=table.index)
    if since is not None:
        wanted &= table["time"] >= utc(since)
    if until is not None:
        wanted &= table["time"] < utc(until)
    if version:
        wanted &= table["version"] == version
    table = table[wanted].set_index("id")
    inputs = table[[column for column in table.columns if column.startswith(INPUT)]]
    labels = current(read_labels(storage, name, since))
    return Records(
        inputs.rename(columns=lambda column: column.removeprefix(INPUT)),
        table[[column for column in answer_columns().names if column != "id"]],
        labels.loc[labels.index.isin(table.index), ["value", "arrived"]],
    )


def write_records(
    store: str, name: str, inputs: pd.DataFrame, answers: pd.DataFrame, batch: str = ""
) -> None:
    """Writes records from tables, a file for each day; the same batch again takes the place of the first.

    Args:
        store: See `read_records`.
        name: The model.
        inputs: See `Records`; the index is the record's id.
        answers: See `Records`, with `time`, `version` and `prediction` at least.
        batch: What the files are called; a new name if empty.

    Raises:
        NbshipError: The store cannot be written to.
    """
    import pyarrow as pa

    columns: dict[str, pa.Array] = {"id": pa.array(inputs.index.astype(str), pa.string())}
    for field in answer_columns():
        if field.name in answers:
            kind = None if field.name == "prediction" else field.type
            columns[field.name] = pa.array(answers[field.name].tolist(), kind, from_pandas=True)
        elif field.name != "id":
            columns[field.name] = pa.nulls(len(inputs), field.type)
    for column in inputs:
        columns[f"{INPUT}{column}"] = pa.array(inputs[column], from_pandas=True)
    write_by_day(open_required(store), name, pa.table(columns), batch)


def write_by_day(storage: Storage, name: str, table: pa.Table, batch: str = "") -> None:
    """Writes a table of records, a file for each day that they are of.

    Raises:
        NbshipError: The store cannot be written to.
    """
    import pyarrow.compute as pc

    batch = batch or secrets.token_hex(8)
    dates = pc.cast(table["time"], "date32")
    days = dates.unique().to_pylist()
    for day in days:
        part = table if len(days) == 1 else table.filter(pc.equal(dates, day))
        write_table(storage, name, "records", day, batch, part)


def answer_columns() -> pa.Schema:
    """Returns what the columns of every record are, but those of the model."""
    import pyarrow as pa

    moment = pa.timestamp("us", tz="UTC")
    return pa.schema(
        {
            "id": pa.string(),
            "time": moment,
            "version": pa.string(),
            "prediction": pa.float64(),  # of a regression; of classes, what they are
            "low": pa.float64(),
            "high": pa.float64(),
            "probabilities": pa.list_(pa.float64()),
            "flags": pa.list_(pa.string()),
        }
    )


def label_columns() -> pa.Schema:
    """Returns the columns of labels: `arrived` is when the truth was known, `added` when it was told here."""
    import pyarrow as pa

    moment = pa.timestamp("us", tz="UTC")
    fields = {"id": pa.string(), "value": pa.float64(), "arrived": moment, "added": moment}
    return pa.schema({**fields, "source": pa.string()})


def read_labels(storage: Storage, name: str, since: datetime | None = None) -> pd.DataFrame:
    """Reads all labels that were added since a time, corrected ones too, in the order in which they count."""
    table = joined(read_tables(storage, name, "labels", since), label_columns())
    return table.sort_values(["arrived", "added"], kind="stable")


def current(labels: pd.DataFrame) -> pd.DataFrame:
    """Returns the label that counts for each id, which is the index: the latest."""
    return labels.drop_duplicates("id", keep="last").set_index("id")


def joined(tables: Sequence[pa.Table], schema: pa.Schema) -> pd.DataFrame:
    """Puts tables one below the other, whatever their columns are; no columns of the schema are missing."""
    import pandas as pd
    import pyarrow as pa

    if not tables:
        return schema.empty_table().to_pandas()
    known = set(schema.names) - {"prediction", "value"}
    same = [_without_missing(table, known) for table in tables]
    try:
        frame = pa.concat_tables(same, promote_options="permissive").to_pandas()
    except pa.ArrowException:  # a column became a text, or a class a number, with another version
        frame = pd.concat([table.to_pandas() for table in same], ignore_index=True)
    return frame.reindex(columns=[*frame, *(each for each in schema.names if each not in frame)])


def _without_missing(table: pa.Table, known: set[str]) -> pa.Table:
    """Drops columns of the model that hold nothing in a file: they would have no type."""
    import pyarrow.types as types

    return table.select(
        [field.name for field in table.schema if field.name in known or not types.is_null(field.type)]
    )


def open_required(store: str) -> Storage:
    """Opens a store of records.

    Raises:
        NbshipError: What reads Parquet is not installed; see `open_storage` for more.
    """
    require_libraries()
    return open_storage(store)


def require_libraries() -> None:
    """Raises NbshipError where what reads and writes Parquet is not installed."""
    from importlib.util import find_spec

    absent = [name for name in ("fsspec", "pyarrow") if find_spec(name) is None]
    if absent:
        raise NbshipError(f"records need {', '.join(absent)}", "pip install 'nbship[monitor]'")
