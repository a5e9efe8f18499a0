"""The queue of comments on disk: what was taken is worked or waits, whatever ends the process.

SQLite in a folder that one server has at a time. A comment is known by its forge, project and number for
`KEPT`, so that a second delivery of it does nothing. What is done with a comment is not decided here.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from nbship.chatops.events import Comment
from nbship.chatops.screening import OLDEST
from nbship.errors import NbshipError

# For how long what is done is remembered: longer than a comment may be old that comes again.
KEPT = 4 * OLDEST
End = Literal["started", "given up"]
_TABLE = """
CREATE TABLE IF NOT EXISTS comments (
  forge TEXT, project TEXT, id TEXT, number TEXT, author TEXT, written TEXT,
  taken REAL NOT NULL,
  state TEXT NOT NULL DEFAULT 'waiting',
  tries INTEGER NOT NULL DEFAULT 0,
  due REAL NOT NULL,
  PRIMARY KEY (forge, project, id)
) WITHOUT ROWID
"""
_CHECKS = "CREATE TABLE IF NOT EXISTS checks (id INTEGER PRIMARY KEY, value INTEGER)"


class QueueError(NbshipError):
    """The disk does not take what is to be kept, or does not give it back.

    Args:
        message: What is wrong, and where.
        full: Whether there is no space.
    """

    def __init__(self, message: str, full: bool) -> None:
        super().__init__(message, "free some disk space" if full else "look at the disk")
        self.full = full


@dataclass(frozen=True)
class Waiting:
    """A comment that waits.

    Attributes:
        comment: Without its text.
        taken: When it came, in seconds since 1970.
        tries: How often its job could not be started.
    """

    comment: Comment
    taken: float
    tries: int


class Queue:
    """The queue in a folder, which is made if it is not there; used from any thread.

    Args:
        folder: For this server alone.

    Raises:
        NbshipError: Another server has it, or it cannot be written or read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._using = folder, threading.Lock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = FileLock(folder / "lock", timeout=0)
            self._lock.acquire()
        except Timeout:
            hint = "end that one, or choose another folder: --queue"
            raise NbshipError(f"{folder}: another server has this queue", hint) from None
        except OSError as error:
            hint = "choose another folder: --queue"
            raise NbshipError(f"{folder}: {error.strerror or error}", hint) from None
        try:
            # Each change is a transaction of its own, on disk when the call returns.
            self._base = sqlite3.connect(folder / "queue.db", check_same_thread=False, isolation_level=None)
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.execute(_TABLE)
            self._base.execute(_CHECKS)
        except sqlite3.Error as error:
            self._lock.release()
            hint = "move the file away; what was in it is found by --catch-up, or by nbship chatops poll"
            raise NbshipError(f"{folder / 'queue.db'}: {error}", hint) from None

    def put(self, comment: Comment, now: float) -> bool:
        """Keeps a comment; when this returns it is on disk.

        Returns:
            Whether it is a new one.

        Raises:
            QueueError: The disk does not take it.
        """
        values = {**asdict(comment), "written": comment.written.astimezone(UTC).isoformat(), "now": now}
        with self._worded():
            done = self._base.execute(
                "INSERT OR IGNORE INTO comments (forge, project, id, number, author, written, taken, due)"
                " VALUES (:forge, :project, :id, :number, :author, :written, :now, :now)",
                values,
            )
            return done.rowcount == 1

    def next(self, now: float) -> Waiting | None:
        """Returns the comment that has waited longest of those that are due."""
        with self._worded():
            row = self._base.execute(
                "SELECT forge, project, number, id, author, written, taken, tries FROM comments"
                " WHERE state = 'waiting' AND due <= ? ORDER BY taken LIMIT 1",
                (now,),
            ).fetchone()
        if row is None:
            return None
        forge, project, number, identity, author, written, taken, tries = row
        moment = datetime.fromisoformat(written)
        return Waiting(Comment(forge, project, number, identity, author, "", moment), taken, tries)

    def due(self) -> float | None:
        """Returns when the next comment is due, in seconds since 1970; None if none waits."""
        with self._worded():
            row = self._base.execute("SELECT MIN(due) FROM comments WHERE state = 'waiting'").fetchone()
        return None if row is None or row[0] is None else float(row[0])

    def end(self, waiting: Waiting, end: End) -> None:
        """Takes a comment out of those that wait, and remembers it."""
        self._change("UPDATE comments SET state = ?", end, waiting)

    def put_off(self, waiting: Waiting, due: float) -> None:
        """Has a comment wait until a time, in seconds since 1970, since its job could not be started."""
        self._change("UPDATE comments SET tries = tries + 1, due = ?", due, waiting)

    def counts(self) -> dict[str, int]:
        """Returns how many comments there are in each state."""
        with self._worded():
            found = self._base.execute("SELECT state, COUNT(*) FROM comments GROUP BY state").fetchall()
        return {"waiting": 0, "started": 0, "given up": 0} | dict(found)

    def check(self) -> None:
        """Writes, for the sake of writing.

        Raises:
            QueueError: Comments could not be kept now.
        """
        with self._worded():
            self._base.execute("INSERT OR REPLACE INTO checks VALUES (1, RANDOM())")

    def forget(self, now: float) -> None:
        """Forgets what ended long ago."""
        before = now - KEPT.total_seconds()
        with self._worded():
            self._base.execute("DELETE FROM comments WHERE state <> 'waiting' AND taken < ?", (before,))

    def close(self) -> None:
        """Lets another server have the folder."""
        with self._using:
            self._base.close()
        self._lock.release()

    def _change(self, statement: str, value: object, waiting: Waiting) -> None:
        comment = waiting.comment
        with self._worded():
            self._base.execute(
                f"{statement} WHERE forge = ? AND project = ? AND id = ?",
                (value, comment.forge, comment.project, comment.id),
            )

    @contextmanager
    def _worded(self) -> Iterator[None]:
        """Has one thread at a time use the base, and words what goes wrong."""
        with self._using:
            try:
                yield
            except sqlite3.Error as error:
                full = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
                raise QueueError(f"{self._folder}: {error}", full) from None
