"""How a run gets on, from the events that it tells: the last news of each step, and how much time is left.

What a terminal, a notebook and a browser show alike. Draws nothing, and keeps nothing when the run has ended.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from itertools import islice
from pathlib import Path

from nbship.local.events import Event
from nbship.pages.formatting import about_text
from nbship.record import State, all_runs

_ENDED = (State.DONE, State.CACHED, State.FAILED, State.SKIPPED, State.INTERRUPTED)
SIGNS: Mapping[str, str] = {
    "waiting": "·",
    "running": "▸",
    "done": "✓",
    "cached": "≡",
    "failed": "✗",
    "skipped": "–",
    "interrupted": "!",
}
# Runs to look into for how long a step takes.
_LOOKED_INTO = 10


@dataclass(frozen=True)
class Row:
    """A step as it stands now.

    Attributes:
        event: The last that was told of it; a running step's seconds go on.
        left: About how many seconds it still takes; None if that is not known.
    """

    event: Event
    left: float | None


class Progress:
    """What the events so far amount to.

    Args:
        jobs: Steps that run at the same time.
    """

    def __init__(self, jobs: int = 1) -> None:
        self._jobs = jobs
        self._told: dict[str, tuple[Event, float]] = {}
        self._expected: dict[str, float] = {}
        self._upstream: dict[str, tuple[str, ...]] = {}

    def update(self, event: Event) -> None:
        """Takes an event in."""
        if event.state is State.WAITING:
            self._expected[event.step] = event.expected
            self._upstream[event.step] = event.upstream
        self._told[event.step] = (event, time.perf_counter())

    def rows(self, most: int | None = None) -> list[Row]:
        """Returns the steps as they were told first.

        Args:
            most: How many there is room for. Those that run and those that failed go first, then what ended
                last, then what waits.
        """
        rows = [self._row(*told) for told in list(self._told.values())]
        if most is None or len(rows) <= most:
            return rows
        chosen = {row.event.step for row in sorted(rows, key=self._urgency)[: max(most, 0)]}
        return [row for row in rows if row.event.step in chosen]

    def counts(self) -> dict[State, int]:
        """Returns how many steps there are in each state, without states that none is in."""
        states = [event.state for event, _ in list(self._told.values())]
        return {state: states.count(state) for state in State if state in states}

    def left(self) -> float | None:
        """Returns about how many seconds the whole run still takes; None if a step's time is not known."""
        rows = [row for row in self.rows() if row.event.state not in _ENDED]
        seconds = {row.event.step: row.left for row in rows if row.left is not None}
        if len(seconds) < len(rows) or not rows:
            return None
        return time_left(seconds, self._upstream, self._jobs)

    def _row(self, event: Event, since: float) -> Row:
        expected = self._expected.get(event.step, 0.0)
        if event.state is State.RUNNING:
            event = replace(event, seconds=event.seconds + time.perf_counter() - since)
        left = None
        if expected and event.state in (State.RUNNING, State.WAITING):
            left = max(expected - event.seconds, 0.0)
        return Row(event, left)

    def _urgency(self, row: Row) -> tuple[int, float]:
        rank = {State.RUNNING: 0, State.FAILED: 1, State.INTERRUPTED: 1, State.WAITING: 3}
        return rank.get(row.event.state, 2), -self._told[row.event.step][1]


def is_worth_a_line(event: Event) -> bool:
    """Returns whether an event is told where lines stay: a change of state, no cell and nothing printed."""
    if event.state is State.RUNNING:
        return not (event.cell or event.line)
    return event.state is not State.WAITING


def described(event: Event, left: float | None = None) -> str:
    """Returns a line that says where a step stands.

    Args:
        event: What was told last.
        left: About how many seconds it still takes.
    """
    return f"{SIGNS.get(event.state, ' ')} {event.step:<20} {state_text(event, left)}".rstrip()


def state_text(event: Event, left: float | None = None) -> str:
    """Returns where a step stands, without its name."""
    if (
        event.state is State.RUNNING and event.cell
    ):  # it says that it runs, and leaves room for what is printed
        rest = f", {about_text(left)} left" if left else ""
        printed = f"  {event.line}" if event.line else ""
        return f"cell {event.cell} of {event.cells}  {event.seconds:.1f} s{rest}{printed}"
    note = f"{event.seconds:.1f} s" if event.seconds else ""
    if event.error:
        note = event.error.partition(": ")[2]
    elif event.state is State.CACHED:
        note = f"saved {event.seconds:.1f} s"
    return f"{event.state:<12}{note}"


def time_left(seconds: Mapping[str, float], upstream: Mapping[str, Sequence[str]], jobs: int) -> float:
    """Returns about how many seconds it takes to run steps, several at a time.

    The larger of two bounds that no order of the steps can beat, and that some order is at most twice above
    (Graham, "Bounds on multiprocessing timing anomalies", 1969): the longest chain, and all work shared out.

    Args:
        seconds: What each step still takes.
        upstream: The steps that each one waits for; those that are not in `seconds` have ended.
        jobs: Steps that run at the same time.
    """
    ends: dict[str, float] = {}
    waits = {step: [other for other in upstream.get(step, ()) if other in seconds] for step in seconds}
    for step in TopologicalSorter(waits).static_order():
        ends[step] = seconds[step] + max((ends[other] for other in waits[step]), default=0.0)
    return max(max(ends.values(), default=0.0), sum(seconds.values()) / max(jobs, 1))


def durations(root: Path, pipeline: str, steps: Collection[str]) -> dict[str, float]:
    """Returns how many seconds steps took when they last ran to their ends, of those that lately did.

    Args:
        root: The project's folder.
        pipeline: Its name.
        steps: Names of the steps.
    """
    found: dict[str, float] = {}
    for record in islice(all_runs(root, pipeline), _LOOKED_INTO):
        for step in record.steps.values():
            if step.name in steps and step.state in (State.DONE, State.CACHED) and step.seconds:
                found.setdefault(step.name, step.seconds)
        if len(found) == len(steps):
            break
    return found
