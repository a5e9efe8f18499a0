"""uvicorn with the server's application, in this process. Imports nothing heavy.

Silent unless something is wrong. What the application answers is the business of `routes`.
"""

from __future__ import annotations

import asyncio
import logging.config
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from nbship.errors import NbshipError, UsageError
from nbship.serving.memory import return_what_is_freed

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from nbship.serving.model import PackagedModel

LOG_LEVEL = "NBSHIP_LOG_LEVEL"
# Seconds that requests have to end in when the server is told to.
GRACE = 30


def serve(model: PackagedModel, listener: socket.socket) -> None:
    """Serves a loaded model in this process until a signal ends it.

    Args:
        model: What is served.
        listener: Bound to the address to listen on; not listening yet.
    """
    from nbship.serving.bodies import Bodies
    from nbship.serving.routes import application

    return_what_is_freed()
    bodies, more = Bodies(model.settings), {}
    if model.settings.grpc_address:
        from nbship.serving.grpc_service import lifespan

        more["lifespan"] = lifespan(model, bodies, GRACE)
    try:
        run(application(model, bodies, **more), listener, model.settings.patience)
    finally:
        model.close()


def run(application: ASGIApp, listener: socket.socket, patience: int) -> None:
    """Has an application answer until a signal ends it; what is being answered has `GRACE` to end in.

    Args:
        application: Any of ASGI's.
        listener: Bound to the address to listen on; not listening yet.
        patience: Seconds for which a connection may be idle, or a request's headers take to arrive.
    """
    config = uvicorn.Config(
        application,
        http=_Connection,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=patience,
    )
    server = uvicorn.Server(config)

    def stop(*_: Any) -> None:
        server.should_exit = True

    for each in (signal.SIGINT, signal.SIGTERM):  # uvicorn hands on what it got when it is done
        signal.signal(each, stop)
    server.run([listener])


def bind(host: str, port: int, option: str = "--port") -> socket.socket:
    """Takes a port, without listening yet: who connects is refused until there is somebody to answer.

    Args:
        host: The address.
        port: The port.
        option: What an error says to choose another by.

    Raises:
        NbshipError: The address is not this machine's, or the port is taken.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        reason = getattr(error, "strerror", "") or str(error)
        raise NbshipError(f"cannot listen on {host}:{port}: {reason}", f"choose another: {option}") from None
    return bound


def configure_log() -> None:
    """Sets the log, quiet: metrics tell what happens, and take less time.

    Raises:
        UsageError: The variable that says how quiet names no level.
    """
    level = os.environ.get(LOG_LEVEL, "WARNING").upper()
    levels = logging.getLevelNamesMapping()
    if level not in levels:
        raise UsageError(f"{LOG_LEVEL}: unknown level '{level}'", f"one of {', '.join(levels)}")
    loggers = ("nbship", "uvicorn")
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": "%(asctime)s %(process)d %(name)s %(levelname)s %(message)s"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "loggers": {
                name: {"handlers": ["stderr"], "level": level, "propagate": False} for name in loggers
            },
        }
    )


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
