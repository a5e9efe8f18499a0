"""Shows how a run gets on while its cell runs: a table that renews itself; lines where there is no notebook.

What is shown is worked out by `workflow.progress`.
"""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nbship.jupyter import cards
from nbship.local.events import Event
from nbship.workflow.progress import Progress, described, is_worth_a_line

_SECONDS_BETWEEN_LOOKS = 0.25

OnEvent = Callable[[Event], None]


@contextmanager
def showing(name: str, jobs: int) -> Iterator[OnEvent]:
    """Yields what to call with each event, from any thread.

    Args:
        name: What is run.
        jobs: Steps at a time, by which it is known how much time is left.
    """
    progress = Progress(jobs)
    if not _in_notebook():
        yield lambda event: _tell(progress, event)
        return
    table = _Table(name, progress)
    try:
        yield table.update
    finally:
        table.end()


def _in_notebook() -> bool:
    """Whether a cell runs this; IPython on a terminal has no place that can be renewed."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython.get_ipython(), "kernel") if ipython else False


class _Table:
    """A table in the cell that runs, from the first event on: what is wrong before that needs none."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name = name
        self._progress = progress
        self._lock = threading.Lock()
        self._ended = threading.Event()
        # What it shows belongs to the cell that runs now: which one that is goes with the context.
        target = contextvars.copy_context().run
        self._thread = threading.Thread(target=target, args=(self._renew,), daemon=True)

    def update(self, event: Event) -> None:
        """Takes an event in."""
        self._progress.update(event)
        with self._lock:
            if not self._thread.ident:
                self._thread.start()

    def end(self) -> None:
        """Leaves the last state in the cell."""
        self._ended.set()
        if self._thread.ident:
            self._thread.join()

    def _renew(self) -> None:
        from IPython.display import display

        shown = display(_bundle(self._name, self._progress, False), raw=True, display_id=True)
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            shown.update(_bundle(self._name, self._progress, False), raw=True)
        shown.update(_bundle(self._name, self._progress, True), raw=True)


def _bundle(name: str, progress: Progress, ended: bool) -> dict[str, str]:
    text = "\n".join(described(row.event, row.left) for row in progress.rows())
    return {"text/html": cards.progress_card(name, progress, ended), "text/plain": text}


def _tell(progress: Progress, event: Event) -> None:
    progress.update(event)
    if is_worth_a_line(event):
        sys.stderr.write(f"{described(event)}\n")
