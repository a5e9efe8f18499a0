"""Removes records that are older than they are kept, and puts the many small files of a day together.

Other files of the store are not touched. Killed at any point, nothing is lost: a record in two files is one.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from nbship.monitoring import partitions
from nbship.monitoring.partitions import Kind
from nbship.monitoring.records import open_required
from nbship.monitoring.storage import Storage, each

_KINDS: tuple[Kind, ...] = ("records", "labels")


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be.

    Attributes:
        days: Days that are too old, of records or of labels.
        files: Their files.
        joined: Files that were put together with others of their day.
    """

    days: tuple[date, ...]
    files: int
    joined: int


def prune(store: str, name: str, keep: int, dry_run: bool = False, now: datetime | None = None) -> Pruned:
    """Removes whole days that are older than they are kept; of the others, makes one file of many.

    Args:
        store: Of the records.
        name: The model.
        keep: Days that records, and the labels that were added in them, are kept.
        dry_run: Change nothing.
        now: The time it is; the clock's if None.

    Raises:
        NbshipError: The store cannot be read or written to.
    """
    storage, today = open_required(store), (now or datetime.now(UTC)).date()
    oldest = today - timedelta(days=keep)
    removed: list[tuple[date, list[str]]] = []
    joined = 0
    for kind in _KINDS:
        for day in partitions.days(storage, name, kind):
            files = partitions.files(storage, name, kind, day)
            if files and day < oldest:
                removed.append((day, files))
            elif oldest <= day < today and len(files) > 1:
                joined += len(files)
                if not dry_run:
                    _join(storage, name, kind, day, files)
    paths = [path for _, files in removed for path in files]
    if not dry_run:
        each(paths, storage.remove)
    return Pruned(tuple(sorted({day for day, _ in removed})), len(paths), joined)


def _join(storage: Storage, name: str, kind: Kind, day: date, files: list[str]) -> None:
    """Writes what several files hold as one for each set of columns, and then removes them."""
    by_schema: dict[str, list[tuple[str, object]]] = {}
    for path in files:
        table = partitions.read_file(storage, path)
        if table is not None:
            by_schema.setdefault(str(table.schema), []).append((path, table))
    for alike in by_schema.values():
        if len(alike) > 1:
            import pyarrow as pa

            table = pa.concat_tables([table for _, table in alike])
            partitions.write_table(storage, name, kind, day, f"joined-{secrets.token_hex(8)}", table)
            each([path for path, _ in alike], storage.remove)
