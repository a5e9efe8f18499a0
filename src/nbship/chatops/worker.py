"""Takes comments from the queue and has a job started for each: until it is started, or a day has gone by.

What a job is, and where, is told by whoever makes a worker. It takes the time from its caller in `step`, and
the clock's only in its thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nbship.chatops.events import Comment
from nbship.chatops.queue import Queue, QueueError, Waiting
from nbship.chatops.screening import named
from nbship.ci.starting import StartError
from nbship.errors import NbshipError

# Seconds between tries: at first, and at most. After a day, whoever asked has asked again.
FIRST_PAUSE, LONGEST_PAUSE, PATIENCE = 5.0, 600.0, 24 * 3600.0
# How often an idle worker looks, in seconds: at what is forgotten, and whether the disk is well.
_LOOK = 60.0
_logger = logging.getLogger("nbship.chatops")


@dataclass(frozen=True)
class CatchUp:
    """Comments that no webhook brought.

    Attributes:
        find: Returns those of late that nobody has answered.
        pause: Seconds between two looks.
    """

    find: Callable[[], Iterable[Comment]]
    pause: float


class Worker:
    """Works the queue in a thread of its own.

    Args:
        queue: Where comments wait.
        start: Starts the job of a comment and returns its address; raises StartError.
        count: Called with the outcome of each try: "started", "failed", "given up" or "caught up".
        catch_up: Where else comments are found, if anywhere.
    """

    def __init__(
        self,
        queue: Queue,
        start: Callable[[Comment], str],
        count: Callable[[str], None],
        catch_up: CatchUp | None = None,
    ) -> None:
        self._queue, self._start, self._count, self._catch_up = queue, start, count, catch_up
        self._next_look, self._stopping = 0.0, False
        self._started: set[Comment] = set()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nbship-comments", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether it works."""
        return self._thread.is_alive()

    def begin(self) -> None:
        """Begins to work."""
        self._thread.start()

    def wake(self) -> None:
        """Has it look at the queue now."""
        self._woken.set()

    def end(self, patience: float) -> None:
        """Has it end after the job that it is starting; what waits stays in the queue.

        Args:
            patience: Seconds to wait for it.
        """
        self._stopping = True
        self.wake()
        self._thread.join(patience)

    def step(self, now: float) -> float:
        """Does what is due, one thing; returns for how many seconds there is nothing more.

        Args:
            now: Seconds since 1970.

        Raises:
            QueueError: The disk is full or gone.
        """
        if self._catch_up and now >= self._next_look:
            self._next_look = now + self._catch_up.pause
            self._look(self._catch_up, now)
        waiting = self._queue.next(now)
        if waiting:
            self._work(waiting, now)
            return 0.0
        self._queue.forget(now)
        due = self._queue.due()
        ends = [now + _LOOK, *([due] if due is not None else []), *([self._next_look] * bool(self._catch_up))]
        return max(min(ends) - now, 0.0)

    def _run(self) -> None:
        while not self._stopping:
            self._woken.clear()
            try:
                pause = self.step(time.time())
            except QueueError as error:
                _logger.error("%s", error)
                pause = FIRST_PAUSE
            if pause and not self._stopping:
                self._woken.wait(pause)

    def _work(self, waiting: Waiting, now: float) -> None:
        comment = waiting.comment
        # One that was started while the disk was full, and could not be noted.
        if comment not in self._started:
            try:
                address = self._start(comment)
            except StartError as error:
                self._put_off(waiting, now, error)
                return
            self._started.add(comment)
            self._count("started")
            _logger.info("%s started %s", named(comment), address)
        self._queue.end(waiting, "started")
        self._started.discard(comment)

    def _put_off(self, waiting: Waiting, now: float, error: StartError) -> None:
        name = named(waiting.comment)
        if now - waiting.taken >= PATIENCE:
            self._queue.end(waiting, "given up")
            self._count("given up")
            _logger.error("%s given up: %s; %s", name, error.message, error.hint)
            return
        pause = max(min(FIRST_PAUSE * 2.0 ** min(waiting.tries, 20), LONGEST_PAUSE), error.after)
        self._queue.put_off(waiting, now + pause)
        self._count("failed")
        _logger.warning("%s again in %.0f s: %s; %s", name, pause, error.message, error.hint)

    def _look(self, catch_up: CatchUp, now: float) -> None:
        try:
            found = list(catch_up.find())
        except NbshipError as error:
            _logger.warning("no look for other comments: %s; %s", error.message, error.hint)
            return
        for comment in found:
            if self._queue.put(comment, now):
                self._count("caught up")
                _logger.info("%s caught up", named(comment))
