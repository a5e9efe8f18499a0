"""What is told of a run while it goes on.

Not what is kept of it: that is the record.
"""

from __future__ import annotations

from dataclasses import dataclass

from nbship.record import State


@dataclass(frozen=True)
class Event:
    """Something that happened to a step: it is known, changed its state, began a cell, or printed something.

    Attributes:
        step: The step.
        state: Where it stands.
        cell: The number of the code cell that runs, from 1.
        cells: How many it has.
        seconds: How long it has run.
        error: Why it failed.
        line: The last line that its running cell has printed.
        expected: How many seconds it took before; 0 if that is not known. Told while it waits.
        upstream: The steps that it depends on. Told while it waits.
    """

    step: str
    state: State
    cell: int = 0
    cells: int = 0
    seconds: float = 0.0
    error: str = ""
    line: str = ""
    expected: float = 0.0
    upstream: tuple[str, ...] = ()
