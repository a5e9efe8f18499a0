"""The progress of a run: a live table on a terminal, plain lines elsewhere, JSON lines for machines."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table
from rich.text import Text

from nbship.cli.common import can_redraw, console, print_json

if TYPE_CHECKING:
    from nbship.local.runner import Event
    from nbship.workflow.progress import Progress

OnEvent = Callable[["Event"], None]
_STYLES = {
    "running": "bold cyan",
    "done": "green",
    "cached": "blue",
    "failed": "bold red",
    "skipped": "dim",
    "waiting": "dim",
    "interrupted": "yellow",
}


# Where lines stay, so often it is told what still runs.
_SECONDS_BETWEEN_SIGNS = 30.0
# Lines of a terminal that are not for steps: what is summed up, and where the cursor stands.
_OTHER_LINES = 2


@contextmanager
def progress(as_json: bool, jobs: int = 1) -> Iterator[OnEvent]:
    """Yields what to call with each event; it may be called from several threads.

    Args:
        as_json: Print JSON for machines.
        jobs: Steps at a time, by which it is known how much time is left.
    """
    from nbship.workflow.progress import Progress

    lock = threading.Lock()
    if as_json:
        yield _locked(_print_json, lock)
        return
    known = Progress(jobs)
    if can_redraw():
        table = _LiveTable(known)
        with Live(get_renderable=table.render, console=console, refresh_per_second=10):
            yield _locked(known.update, lock)
            table.ended = True
        return

    def show(event: Event) -> None:
        known.update(event)
        _print_line(event)

    with _signs_of_life(known, lock):
        yield _locked(show, lock)


@contextmanager
def _signs_of_life(known: Progress, lock: threading.Lock) -> Iterator[None]:
    """Tells from time to time what runs, so that no reader of a log takes a long step for a dead one."""
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(_SECONDS_BETWEEN_SIGNS):
            with lock, unread_is_fine():
                for row in known.rows():
                    if row.event.state == "running":
                        console.print(_line(row.event, row.left))

    thread = threading.Thread(target=tell, daemon=True, name="nbship-signs")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def unread_is_fine() -> Iterator[None]:
    """Goes on in silence when nobody reads the output any more: a reader gone is no reason to lose a run."""
    try:
        yield
    except (BrokenPipeError, SystemExit):  # the latter is how rich puts it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _locked(show: OnEvent, lock: threading.Lock) -> OnEvent:
    def call(event: Event) -> None:
        with lock, unread_is_fine():
            show(event)

    return call


def _print_json(event: Event) -> None:
    print_json({"event": "step", **asdict(event)})


def _print_line(event: Event) -> None:
    from nbship.workflow.progress import is_worth_a_line

    if is_worth_a_line(event):
        console.print(_line(event))


def _line(event: Event, left: float | None = None) -> Text:
    from nbship.workflow.progress import described

    told = described(event, left)
    text = Text(told, style=_STYLES.get(event.state, ""))
    if event.line:
        text.stylize("dim", len(told) - len(event.line))
    if event.state == "running":
        text.no_wrap, text.overflow = True, "ellipsis"
    return text


class _LiveTable:
    """As many steps as fit the terminal, what runs first; all of them when the run has ended."""

    def __init__(self, known: Progress) -> None:
        self._known = known
        self.ended = False

    def render(self) -> Table:
        table = Table.grid()
        room = None if self.ended else console.height - _OTHER_LINES
        rows = self._known.rows(room)
        for row in rows:
            if not self.ended or row.event.state != "waiting":
                table.add_row(_line(row.event, row.left))
        if not self.ended and rows:
            table.add_row(self._summary())
        return table

    def _summary(self) -> Text:
        from nbship.pages.formatting import about_text

        parts = [f"{count} {state}" for state, count in self._known.counts().items()]
        left = self._known.left()
        parts += [f"{about_text(left)} left"] if left else []
        return Text("  " + " · ".join(parts), style="dim", no_wrap=True, overflow="ellipsis")
