"""Parquet files by day, `STORE/NAME/KIND/day=2026-11-21/BATCH.parquet`: one table to pandas and DuckDB.

Says where a table is. What its columns are is the business of `records` and `labels`.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Literal

from nbship.errors import NbshipError
from nbship.monitoring.storage import Storage, each

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["records", "labels"]
_ENDING = ".parquet"
_ATTEMPTS = 3


def write_table(storage: Storage, name: str, kind: Kind, day: date, batch: str, table: pa.Table) -> str:
    """Writes a table as one file of a day; the same batch again takes the place of the first.

    Args:
        storage: Where to.
        name: The model.
        kind: What the table holds.
        day: The day that all of it belongs to, in UTC.
        batch: What the file is called.
        table: It.

    Returns:
        The file's path in the store.

    Raises:
        NbshipError: It cannot be written.
    """
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    path = f"{_folder(name, kind, day)}/{batch}{_ENDING}"
    storage.write(path, buffer.getvalue())
    return path


def read_tables(
    storage: Storage,
    name: str,
    kind: Kind,
    since: datetime | None = None,
    until: datetime | None = None,
    columns: Collection[str] | None = None,
) -> list[pa.Table]:
    """Reads the tables of some days, the oldest first.

    Args:
        storage: Where from.
        name: The model.
        kind: What the tables hold.
        since: A time in the first day; from the beginning if None.
        until: A time in the last day; to the end if None.
        columns: Those that are read, where they are there; all of them if None.

    Raises:
        NbshipError: The store cannot be read, or a file is damaged.
    """
    for _ in range(_ATTEMPTS):
        paths = [
            path
            for day in days(storage, name, kind)
            if (since is None or day >= utc(since).date()) and (until is None or day <= utc(until).date())
            for path in files(storage, name, kind, day)
        ]
        tables = each(paths, lambda path: read_file(storage, path, columns))
        if all(table is not None for table in tables):
            return tables
    raise NbshipError(f"{storage.address}: the files change while they are read", "try again")


def days(storage: Storage, name: str, kind: Kind) -> list[date]:
    """Returns the days that there are files of, the oldest first."""
    found = []
    for folder in storage.names(f"{name}/{kind}"):
        try:
            found.append(date.fromisoformat(folder.removeprefix("day=")))
        except ValueError:  # somebody else's
            continue
    return sorted(found)


def files(storage: Storage, name: str, kind: Kind, day: date) -> list[str]:
    """Returns the paths of a day's files."""
    folder = _folder(name, kind, day)
    return [f"{folder}/{file}" for file in storage.names(folder) if file.endswith(_ENDING)]


def utc(time: datetime) -> datetime:
    """Returns a time in UTC; one without a zone is taken to be in it."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _folder(name: str, kind: Kind, day: date) -> str:
    return f"{name}/{kind}/day={day.isoformat()}"


def read_file(storage: Storage, path: str, columns: Collection[str] | None = None) -> pa.Table | None:
    """Returns the table of a file, or some of its columns; None if it is not there; see `read_tables`."""
    import pyarrow as pa
    from pyarrow import parquet

    content = storage.read(path)
    if content is None:  # removed meanwhile, for its age, or because another file has it now
        return None
    try:
        file = parquet.ParquetFile(io.BytesIO(content))
        wanted = None if columns is None else [n for n in file.schema_arrow.names if n in columns]
        return file.read(wanted)
    except (pa.ArrowException, OSError) as error:
        raise NbshipError(
            f"{storage.address}/{path} is damaged: {str(error).splitlines()[0]}", "remove the file"
        ) from None
