"""A job is started for each comment: again when the forge fails, and never twice when it did not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest

from nbship.chatops.events import Comment
from nbship.chatops.queue import Queue, QueueError
from nbship.chatops.worker import FIRST_PAUSE, LONGEST_PAUSE, PATIENCE, CatchUp, Worker
from nbship.ci.starting import StartError
from nbship.errors import NbshipError
from tests.chatops.test_queue import COMMENT, comment


class Forge:
    """Starts jobs, or fails in the ways that it is told."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.faults: list[StartError] = []

    def start(self, given: Comment) -> str:
        if self.faults:
            raise self.faults.pop(0)
        self.started.append(given.id)
        return f"https://forge.example.org/pipelines/{given.id}"


@pytest.fixture
def forge() -> Forge:
    return Forge()


@pytest.fixture
def outcomes() -> list[str]:
    return []


@pytest.fixture
def make(queue: Queue, forge: Forge, outcomes: list[str]) -> Callable[..., Worker]:
    return lambda catch_up=None: Worker(queue, forge.start, outcomes.append, catch_up)


def work(worker: Worker, now: float) -> float:
    """Does all that is due; returns the pause until there is more."""
    while not (pause := worker.step(now)):
        pass
    return pause


def test_each_comment_is_started_once_in_its_order(
    queue: Queue, forge: Forge, make: Callable[..., Worker], outcomes: list[str]
) -> None:
    for number in (1, 2, 3):
        queue.put(comment(number), float(number))
    work(make(), 10.0)
    work(make(), 20.0)
    assert forge.started == ["1", "2", "3"]
    assert outcomes == ["started"] * 3


def test_a_forge_that_fails_is_asked_after_longer_and_longer_pauses(
    queue: Queue, forge: Forge, make: Callable[..., Worker], outcomes: list[str]
) -> None:
    queue.put(COMMENT, 0.0)
    worker, now, pauses = make(), 0.0, []
    forge.faults = [StartError("down")] * 9
    for _ in range(9):
        work(worker, now)
        due = queue.due()
        assert due is not None
        pauses.append(due - now)
        now = due
    assert pauses == [min(FIRST_PAUSE * 2**tries, LONGEST_PAUSE) for tries in range(9)]
    assert pauses[-1] == LONGEST_PAUSE
    # A restart does not begin anew.
    work(make(), now)
    assert forge.started == ["1244"] and outcomes[-2:] == ["failed", "started"]


def test_a_forge_that_asks_for_patience_gets_it(
    queue: Queue, forge: Forge, make: Callable[..., Worker]
) -> None:
    queue.put(COMMENT, 0.0)
    forge.faults = [StartError("too many requests", after=90.0)]
    work(make(), 0.0)
    assert queue.due() == 90.0


def test_after_a_day_a_comment_is_given_up_and_told(
    queue: Queue,
    forge: Forge,
    make: Callable[..., Worker],
    outcomes: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue.put(COMMENT, 0.0)
    forge.faults = [StartError("the token is expired", "make a new one")]
    work(make(), PATIENCE)
    assert queue.counts()["given up"] == 1 and outcomes == ["given up"]
    assert "group/cars!3 comment 1244 by 'ada' given up: the token is expired; make a new one" in caplog.text


def test_a_comment_that_cannot_be_started_stops_no_other(
    queue: Queue, forge: Forge, make: Callable[..., Worker]
) -> None:
    for number in (1, 2):
        queue.put(comment(number), float(number))
    forge.faults = [StartError("refused")]
    work(make(), 5.0)
    assert forge.started == ["2"]


def test_a_start_that_could_not_be_noted_is_not_repeated(
    queue: Queue, forge: Forge, make: Callable[..., Worker]
) -> None:
    queue.put(COMMENT, 0.0)
    worker = make()
    queue._base.execute("PRAGMA query_only = 1")
    for now in (1.0, 2.0):
        with pytest.raises(QueueError):
            worker.step(now)
    queue._base.execute("PRAGMA query_only = 0")
    work(worker, 3.0)
    assert forge.started == ["1244"] and queue.counts()["started"] == 1


def test_what_no_webhook_brought_is_caught_up_at_its_time(
    queue: Queue, forge: Forge, make: Callable[..., Worker], outcomes: list[str]
) -> None:
    looks: list[float] = []
    now = 0.0

    def find() -> list[Comment]:
        looks.append(now)
        return [comment(1), comment(2)]

    queue.put(comment(1), 0.0)
    worker = make(CatchUp(find, 50.0))
    for now in (0.0, 49.0, 50.0):
        pause = work(worker, now)
    assert looks == [0.0, 50.0] and pause == 50.0
    assert forge.started == ["1", "2"] and outcomes.count("caught up") == 1


def test_a_forge_that_cannot_be_looked_at_stops_nothing(
    queue: Queue, forge: Forge, make: Callable[..., Worker], caplog: pytest.LogCaptureFixture
) -> None:
    def find() -> list[Comment]:
        raise NbshipError("gitlab.example.org: no connection", "check the network")

    queue.put(COMMENT, 0.0)
    work(make(CatchUp(find, 50.0)), 0.0)
    assert forge.started == ["1244"] and "no connection; check the network" in caplog.text


def test_an_author_is_one_line_of_the_log(
    queue: Queue, forge: Forge, make: Callable[..., Worker], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "nbship.chatops")
    queue.put(Comment("gitlab", "group/cars", "3", "5", "ada\nroot started", "", COMMENT.written), 0.0)
    work(make(), 0.0)
    assert caplog.messages == [
        r"group/cars!3 comment 5 by 'ada\nroot started' started https://forge.example.org/pipelines/5"
    ]


def test_its_thread_works_what_comes_and_ends_when_told(queue: Queue, forge: Forge) -> None:
    begun = threading.Semaphore(0)

    def start(given: Comment) -> str:
        begun.release()
        return forge.start(given)

    worker = Worker(queue, start, lambda _: None)
    worker.begin()
    for number in (1, 2):
        queue.put(comment(number), time.time())  # one of 1970 would be forgotten as soon as it is worked
        worker.wake()
        assert begun.acquire(timeout=60)
    assert worker.alive
    worker.end(60.0)
    assert not worker.alive and forge.started == ["1", "2"]
    assert queue.counts()["started"] == 2
