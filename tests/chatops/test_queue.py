"""What the queue took is there until it is worked, whatever happens in between."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nbship.chatops.events import Comment
from nbship.chatops.queue import KEPT, Queue, QueueError
from nbship.errors import NbshipError

COMMENT = Comment("gitlab", "group/cars", "3", "1244", "ada", "", datetime(2026, 1, 31, 12, tzinfo=UTC))


def comment(number: int) -> Comment:
    return replace(COMMENT, id=str(number))


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    made = Queue(tmp_path / "queue")
    yield made
    made.close()


def test_a_comment_is_taken_once(queue: Queue) -> None:
    assert queue.put(COMMENT, 10.0)
    assert not queue.put(COMMENT, 11.0)
    # Of another project's comments some have the same number.
    assert queue.put(replace(COMMENT, project="group/bikes"), 12.0)
    waiting = queue.next(20.0)
    assert waiting and waiting.comment == COMMENT and (waiting.taken, waiting.tries) == (10.0, 0)
    queue.end(waiting, "started")
    assert not queue.put(COMMENT, 13.0)
    assert queue.counts() == {"waiting": 1, "started": 1, "given up": 0}


def test_comments_come_in_their_order_and_one_that_is_put_off_lets_others_pass(queue: Queue) -> None:
    for number in (3, 1, 2):
        queue.put(comment(number), float(number))
    first = queue.next(9.0)
    assert first and first.comment.id == "1"
    queue.put_off(first, 30.0)
    passed = []
    while waiting := queue.next(9.0):
        passed.append(waiting.comment.id)
        queue.end(waiting, "started")
    assert passed == ["2", "3"]
    assert queue.due() == 30.0
    again = queue.next(30.0)
    assert again and (again.comment.id, again.tries) == ("1", 1)


def test_what_ended_is_remembered_for_weeks_and_what_waits_for_ever(queue: Queue) -> None:
    for number in (1, 2):
        queue.put(comment(number), 0.0)
    first = queue.next(0.0)
    assert first
    queue.end(first, "given up")
    queue.forget(KEPT.total_seconds())
    assert not queue.put(comment(1), 1.0)
    queue.forget(KEPT.total_seconds() + 1)
    assert queue.counts() == {"waiting": 1, "started": 0, "given up": 0}


def test_another_server_has_it_after_the_first_has_ended(tmp_path: Path) -> None:
    first = Queue(tmp_path)
    first.put(COMMENT, 1.0)
    with pytest.raises(NbshipError, match="another server has this queue"):
        Queue(tmp_path)
    first.close()
    second = Queue(tmp_path)
    assert second.counts()["waiting"] == 1
    second.close()


def test_nobody_else_may_read_it(queue: Queue, tmp_path: Path) -> None:
    assert (tmp_path / "queue").stat().st_mode & 0o077 == 0


def test_a_full_disk_takes_nothing_and_loses_nothing(queue: Queue, tmp_path: Path) -> None:
    queue.put(COMMENT, 0.0)
    # As many pages as it has: SQLite answers as on a disk without space.
    pages = queue._base.execute("PRAGMA page_count").fetchone()[0]
    queue._base.execute(f"PRAGMA max_page_count = {pages}")
    taken = 0
    with pytest.raises(QueueError, match="full") as error:
        for number in range(1, 1000):
            queue.put(comment(number), 1.0)
            taken = number
    assert error.value.full and "space" in error.value.hint
    assert queue.counts()["waiting"] == taken + 1
    queue._base.execute("PRAGMA max_page_count = 1000000")
    assert queue.put(comment(taken + 1), 2.0)


def test_a_disk_that_cannot_be_written_is_not_called_full(queue: Queue) -> None:
    queue._base.execute("PRAGMA query_only = 1")
    with pytest.raises(QueueError) as error:
        queue.check()
    assert not error.value.full


def test_a_folder_or_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NbshipError, match="file"):
        Queue(tmp_path / "file")
    (tmp_path / "queue.db").write_bytes(b"no database" * 500)
    for _ in range(2):  # the lock is not kept
        with pytest.raises(NbshipError, match="not a database"):
            Queue(tmp_path)


# Puts comments until it is killed, and says of each that it is kept.
WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from nbship.chatops.queue import Queue
from tests.chatops.test_queue import comment
queue = Queue(Path(sys.argv[1]))
for number in range(10_000):
    queue.put(comment(number), float(number))
    print(number, flush=True)
"""


def test_killed_while_it_writes_all_that_was_said_to_be_kept_is_kept(tmp_path: Path) -> None:
    kept = -1
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True
        ) as done:
            assert done.stdout
            for _ in range(40):
                kept = max(kept, int(done.stdout.readline()))
            done.kill()
            kept = max([kept, *(int(line) for line in done.stdout if line.endswith("\n"))])
        base = sqlite3.connect(tmp_path / "queue.db")
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        base.close()
        queue = Queue(tmp_path)
        assert queue.counts()["waiting"] in (kept + 1, kept + 2)
        queue.close()
