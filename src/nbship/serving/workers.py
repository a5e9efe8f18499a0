"""Several processes that serve the same model on one port: started, and started again if one ends.

Knows nothing of HTTP; what each process does is the business of `listening`. Imports nothing heavy.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.context import SpawnProcess
from multiprocessing.sharedctypes import Synchronized

from nbship.errors import NbshipError
from nbship.serving.listening import GRACE, configure_log, serve
from nbship.serving.settings import ServerSettings

# What a worker ends with that cannot load the model, of which it has said why.
_CANNOT_LOAD = 3
# Workers that may end one after the other before one of them has served.
_LOST_AT_MOST = 5
# A new process, not a fork: thread pools do not survive one.
_context = multiprocessing.get_context("spawn")
_logger = logging.getLogger("nbship.serving")


def serve_by_workers(
    settings: ServerSettings, listener: socket.socket, count: int, ready: Callable[[], None]
) -> None:
    """Serves a model by processes of their own, each of which loads it, until a signal ends them.

    One that ends is started again. None is ended for being slow.

    Args:
        settings: What is served and how.
        listener: Bound to the address to listen on.
        count: How many processes.
        ready: Called when a signal would end it in order, before the processes start.

    Raises:
        NbshipError: They cannot start.
    """
    configure_log()
    told, teller = socket.socketpair()
    teller.setblocking(False)
    signal.set_wakeup_fd(teller.fileno())  # the wait below would not end for a signal alone
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: None)
    ready()
    shared = replace(settings, generation=_context.Value("Q", 0))
    crew = _Crew(shared, listener, _context.Value("Q", 0))
    workers = [crew.start() for _ in range(count)]
    try:
        while told not in (ended := multiprocessing.connection.wait([told, *(w.sentinel for w in workers)])):
            for index, worker in enumerate(workers):
                if worker.sentinel in ended:
                    crew.note_end(worker)
                    workers[index] = crew.start()
    finally:
        listener.close()  # who connects now is refused, instead of waiting for nobody
        _stop(workers)
        signal.set_wakeup_fd(-1)


@dataclass
class _Crew:
    """Starts workers, and counts those that end.

    Attributes:
        settings: What is served and how.
        listener: Bound to the address to listen on.
        loaded: How often a worker has loaded the model; the workers raise it.
    """

    settings: ServerSettings
    listener: socket.socket
    loaded: Synchronized[int]
    _loaded_before: int = 0
    _lost: int = 0

    def start(self) -> SpawnProcess:
        """Starts a worker, which inherits that Ctrl-C is blocked.

        A terminal sends it to all processes; this one ends its workers, and one that is about to start would
        say where it was interrupted.
        """
        worker = _context.Process(target=_work, args=(self.settings, self.listener, self.loaded))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            worker.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return worker

    def note_end(self, worker: SpawnProcess) -> None:
        """Says that a worker has ended.

        Raises:
            NbshipError: It makes no sense to start another.
        """
        worker.join()
        how, loaded = _how_it_ended(worker.exitcode), self.loaded.value
        self._lost = 1 if loaded > self._loaded_before else self._lost + 1
        self._loaded_before = loaded
        if worker.exitcode == _CANNOT_LOAD or self._lost >= _LOST_AT_MOST:
            raise NbshipError(
                f"worker processes cannot start: the last one {how}",
                "what they said is above; fewer --workers take less memory",
            )
        _logger.warning("worker process %s %s; another is started", worker.pid, how)


def _stop(workers: list[SpawnProcess]) -> None:
    """Ends workers in order: they answer what they have begun; who takes longer than that is killed."""
    for worker in workers:
        worker.terminate()
    end = time.monotonic() + GRACE + 10  # what they were asked is put away, too
    for worker in workers:
        worker.join(max(0, end - time.monotonic()))
        if worker.is_alive():
            worker.kill()


def _how_it_ended(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "was killed: for its memory, as a rule"
    return f"ended with exit code {code}"


def _work(settings: ServerSettings, listener: socket.socket, loaded: Synchronized[int]) -> None:
    """What a worker process does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    configure_log()
    from nbship.serving.model import PackagedModel

    model = PackagedModel(settings)
    try:
        model.load()
    except NbshipError as error:
        _logger.error("%s; %s", error.message, error.hint)
        sys.exit(_CANNOT_LOAD)
    with loaded.get_lock():
        loaded.value += 1
    serve(model, listener)


def _end_with_parent() -> None:
    """Ends this process in order when the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
