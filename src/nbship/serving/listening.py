"""uvicorn with KServe's application: in this process, or in several. Imports nothing heavy.

Silent unless something is wrong. What the application answers is the business of `routes`.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import logging
import multiprocessing.connection
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from nbship.errors import NbshipError
from nbship.serving.memory import return_what_is_freed
from nbship.serving.settings import Settings

if TYPE_CHECKING:
    from nbship.serving.model import PackagedModel

# Seconds that requests have to end in when the server is told to.
_GRACE = 30
# Seconds until a worker has to show a sign of life: with little CPU, Python alone takes several to start.
_SIGN_OF_LIFE = 120
# Workers that may end one after the other before one of them has served.
_LOST_AT_MOST = 5
_logger = logging.getLogger("nbship.serving")


def serve_here(model: PackagedModel, host: str, port: int) -> None:
    """Serves a loaded model in this process until a signal ends it."""
    server = uvicorn.Server(_config(_application(model), model.settings, host, port))

    def stop(*_: Any) -> None:
        server.should_exit = True

    for each in (signal.SIGINT, signal.SIGTERM):  # uvicorn hands on what it got when it is done
        signal.signal(each, stop)
    server.run()


def serve_by_workers(
    settings: Settings, host: str, port: int, workers: int, ready: Callable[[], None]
) -> None:
    """Serves a model by processes of their own, each of which loads it, until a signal ends them.

    Args:
        settings: What is served and how.
        host: The address to listen on.
        port: The port to listen on.
        workers: How many processes.
        ready: Called when a signal would end it in order, before the processes start.

    Raises:
        NbshipError: They cannot start.
    """
    make = functools.partial(_application_of_worker, settings)
    config = _config(make, settings, host, port, workers=workers, factory=True)
    supervisor = _Supervisor(config, [config.bind_socket()])
    ready()
    supervisor.run()
    if supervisor.failure:
        raise NbshipError(supervisor.failure, "what they said is above; fewer --workers take less memory")


def configure_log() -> None:
    """Sets KServe's log, quieter: metrics tell what happens, and take less time."""
    from kserve.logging import KSERVE_LOG_CONFIG, configure_logging

    config: dict[str, Any] = copy.deepcopy(KSERVE_LOG_CONFIG)
    level = os.environ.get("KSERVE_LOGLEVEL", "WARNING")
    for logger in config["loggers"].values():
        logger["level"] = level
    config["loggers"]["uvicorn.access"]["handlers"] = []
    config["loggers"]["nbship"] = {"handlers": ["kserve"], "level": level, "propagate": False}
    configure_logging(config)


def _config(application: Any, settings: Settings, host: str, port: int, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        http=_Connection,
        log_config=None,
        timeout_graceful_shutdown=_GRACE,
        timeout_keep_alive=settings.patience,
        **more,
    )


def _application_of_worker(settings: Settings) -> Any:
    from nbship.serving.routes import open_model

    configure_log()
    model = open_model(settings)
    try:
        model.load()
    except NbshipError as error:
        _logger.error("%s; %s", error.message, error.hint)
        sys.exit(STARTUP_FAILURE)
    return _application(model)


def _application(model: PackagedModel) -> Any:
    """Adds KServe's own routes to its application, which has the model's already."""
    return_what_is_freed()
    import kserve
    from kserve.protocol.rest.server import RESTServer

    server = kserve.ModelServer(enable_grpc=False, enable_latency_logging=False)
    server.register_model(model)
    rest = RESTServer("", server.dataplane, server.model_repository_extension, server.http_port)
    rest.create_application()
    return kserve.model_server.app


class _Supervisor(Multiprocess):
    """Starts a worker again that has ended, and says so; gives up when none comes to serve.

    Attributes:
        failure: Why it gave up; empty if a signal ended it.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.failure = ""
        self._lost = 0

    def keep_subprocess_alive(self) -> None:
        """Looks whether all workers are well; called twice a second."""
        for index, process in enumerate(self.processes):
            if self.should_exit.is_set() or self._shows_life(process):
                continue
            process.kill()
            process.join()
            self._lost += 1
            if process.exitcode == STARTUP_FAILURE or self._lost >= _LOST_AT_MOST:
                self.failure = f"worker processes cannot start: the last one {_end_of(process.exitcode)}"
                self.should_exit.set()
                return
            _logger.warning(
                "worker process %s %s; another is started", process.pid, _end_of(process.exitcode)
            )
            self.processes[index] = Process(self.config, self.sockets)
            self.processes[index].start()

    def _shows_life(self, process: Process) -> bool:
        """Asks a worker for a sign of life, until it gives one, ends, takes too long, or a signal comes."""
        end = time.monotonic() + _SIGN_OF_LIFE
        with contextlib.suppress(OSError, EOFError):
            process.parent_conn.send(b"ping")
            while not self.signal_queue:
                said = multiprocessing.connection.wait([process.parent_conn, process.process.sentinel], 0.5)
                if process.parent_conn in said:
                    if process.parent_conn.recv():  # it serves
                        self._lost = 0
                    return True
                if said or time.monotonic() > end:
                    return False
        return bool(self.signal_queue)


def _end_of(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return f"was killed: for its memory, or without a sign of life for {_SIGN_OF_LIFE} s"
    return f"ended with exit code {code}"


class _Connection(HttpToolsProtocol):
    """A connection that is closed if a request's headers do not arrive in time, as an idle one is.

    uvicorn closes what is idle after an answer; here the time counts from a request's first byte, or
    from the beginning where nothing comes. How long a body may take is the business of `routes`.
    """

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waiting is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
