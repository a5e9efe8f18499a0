"""What a benchmark measures, and the bars it is held against. Pure data: nothing is run here."""

from __future__ import annotations

from datetime import date
from statistics import median

from pydantic import BaseModel

NBSHIP = "nbship run --force"
PLAIN = "plain Python script"
RERUN = "nbship run, nothing changed"
HELP = "nbship --help"
COMPILE = "nbship compile"


class Timing(BaseModel):
    """Wall times of one command.

    Attributes:
        name: What ran.
        seconds: Wall seconds of each repetition; empty if it could not be measured.
        kernel_per_step: Whether every step ran in a kernel of its own.
        absent: Why it could not be measured.
    """

    name: str
    seconds: list[float] = []
    kernel_per_step: bool = False
    absent: str = ""

    @property
    def median(self) -> float:
        """Median of the repetitions, in seconds."""
        return median(self.seconds)


class Share(BaseModel):
    """Wall time of many trivial steps.

    Attributes:
        name: How they were run.
        steps: How many.
        seconds: All of them together.
    """

    name: str
    steps: int
    seconds: float


class Memory(BaseModel):
    """Memory of one process, in bytes.

    Attributes:
        name: Which process.
        resident: Resident set size, pages shared with other processes included.
        proportional: The same with each shared page divided by how many processes share it.
        unique: What would be free if this process alone ended.
    """

    name: str
    resident: int
    proportional: int
    unique: int


class Results(BaseModel):
    """All that one run of the benchmark measured, and where.

    Attributes:
        load: Processes that were running or waiting to, on average of the minute before it began.
    """

    measured: date
    processor: str
    cores: int
    memory_gib: int
    load: float
    system: str
    python: str
    versions: dict[str, str]
    pipeline: list[Timing]
    commands: list[Timing]
    engine: list[Share]
    memory: list[Memory]


class Bar(BaseModel):
    """A figure and the most that it may be."""

    name: str
    value: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the figure is at most the limit."""
        return self.value <= self.limit


def overhead(timing: Timing, results: Results) -> float:
    """Returns the seconds that a way of running the pipeline takes beyond the plain script."""
    return timing.median - named(results.pipeline, PLAIN).median


def best_peer(results: Results) -> Timing | None:
    """Returns the fastest way but nbship that runs each step in a kernel of its own."""
    peers = [t for t in results.pipeline if t.kernel_per_step and t.seconds and t.name != NBSHIP]
    return min(peers, key=lambda timing: timing.median, default=None)


def bars(results: Results) -> list[Bar]:
    """Returns the figures that have a limit."""
    own, plain = named(results.pipeline, NBSHIP), named(results.pipeline, PLAIN)
    found = [Bar(name="cold run ÷ plain script", value=own.median / plain.median, limit=1.4, unit="×")]
    peer = best_peer(results)
    if peer:
        share = overhead(own, results) / overhead(peer, results)
        found.append(Bar(name=f"overhead ÷ overhead of {peer.name}", value=share, limit=1 / 6, unit="×"))
    limits = {RERUN: 0.6, HELP: 0.2, COMPILE: 2.0}
    return found + [
        Bar(name=name, value=named(results.commands, name).median, limit=limit, unit=" s")
        for name, limit in limits.items()
    ]


def named(timings: list[Timing], name: str) -> Timing:
    """Returns the timing of a name."""
    return next(timing for timing in timings if timing.name == name)
