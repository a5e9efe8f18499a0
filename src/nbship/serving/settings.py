"""What is served and how.

Imports nothing heavy: a worker process gives its first sign of life once it has read this.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

RECORDS_AT_MOST = 100_000
BYTES_AT_MOST = 16 * 2**20
# Longer than proxies keep an idle connection: one that they use again must not be closed meanwhile.
PATIENCE = 65


def _generation() -> Synchronized[int]:
    return multiprocessing.get_context("spawn").Value("Q", 0)


@dataclass(frozen=True)
class Settings:
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
        generation: Shared by all worker processes: raised when one has been told to load the model again.
    """

    name: str
    folder: Path
    version: str = ""
    records_at_most: int = RECORDS_AT_MOST
    bytes_at_most: int = BYTES_AT_MOST
    patience: int = PATIENCE
    grpc_address: str = ""
    origins: tuple[str, ...] = ()
    generation: Synchronized[int] = field(default_factory=_generation)
