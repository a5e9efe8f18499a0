"""What is served and how.

Imports nothing heavy: a worker process gives its first sign of life once it has read this.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from nbship.package.prediction import Prediction
    from nbship.package.records import CheckedValues, Problem
    from nbship.package.schema import Column, Output

RECORDS_AT_MOST = 100_000
BYTES_AT_MOST = 16 * 2**20
# Longer than proxies keep an idle connection: one that they use again must not be closed meanwhile.
PATIENCE = 65


class Generation(Protocol):
    """How often a model was loaded again: of one process, or shared by several (`multiprocessing.Value`)."""

    value: int

    def get_lock(self) -> AbstractContextManager[Any]:
        """Returns what is held while it is raised."""


class Log(Protocol):
    """Keeps what was asked and answered; none of it may take long."""

    def describe(self, columns: Sequence[Column], output: Output) -> None:
        """Tells which model answers from now on."""

    def note(
        self, version: str, checked: CheckedValues, prediction: Prediction, flags: Sequence[Problem]
    ) -> str:
        """Takes a request that was answered; returns its identifier, empty if not kept."""

    def correct(self, record: str, value: Any) -> bool:
        """Takes what came true of a record; returns whether there was room."""

    def close(self) -> None:
        """Puts away what is left."""


# Makes the log of a model, told what it takes and gives, and whom to tell how many records are lost. Worker
# processes are given it, so it can be pickled.
OpenLog = Callable[["Sequence[Column]", "Output", Callable[[int], None]], Log]


class _OfOneProcess:
    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def get_lock(self) -> AbstractContextManager[Any]:
        return self._lock


@dataclass(frozen=True)
class ServerSettings:
    """What is served and how.

    Attributes:
        name: The model's, in addresses.
        folder: Its package.
        version: Of the model, as it is shown; empty if it has none.
        records_at_most: In one request.
        bytes_at_most: Of one request's body.
        patience: Seconds in which a request has to arrive; a large body has more, see `bodies`.
            An idle connection is closed after as long.
        grpc_address: Where gRPC is served, as `host:port`; empty to leave it.
        origins: From which other hosts' pages a browser may call; `*` is all.
        log: Opens what keeps requests and answers; None to keep none.
        corrections: Whether who asked may tell what came true; needs a log.
        generation: Raised when the model has been loaded again; worker processes share it.
    """

    name: str
    folder: Path
    version: str = ""
    records_at_most: int = RECORDS_AT_MOST
    bytes_at_most: int = BYTES_AT_MOST
    patience: int = PATIENCE
    grpc_address: str = ""
    origins: tuple[str, ...] = ()
    log: OpenLog | None = None
    corrections: bool = False
    generation: Generation = field(default_factory=_OfOneProcess)
