"""The progress of a run: a live table on a terminal, plain lines elsewhere, JSON lines for machines."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table
from rich.text import Text

from nbship.cli.common import console, print_json

if TYPE_CHECKING:
    from nbship.local.runner import Event

OnEvent = Callable[["Event"], None]
_STYLES = {
    "running": "bold cyan",
    "done": "green",
    "cached": "blue",
    "failed": "bold red",
    "skipped": "dim",
    "interrupted": "yellow",
}
_SIGNS = {"running": "▸", "done": "✓", "cached": "≡", "failed": "✗", "skipped": "–", "interrupted": "!"}


@contextmanager
def progress(as_json: bool) -> Iterator[OnEvent]:
    """Yields what to call with each event; it may be called from several threads."""
    lock = threading.Lock()
    if as_json:
        show: OnEvent = _print_json
    elif console.is_terminal:
        table = _LiveTable()
        with Live(get_renderable=table.render, console=console, refresh_per_second=10):
            yield _locked(table.update, lock)
        return
    else:
        show = _print_line
    yield _locked(show, lock)


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
    """Cells are not worth a line each where lines stay."""
    if not event.cell or event.state != "running":
        console.print(_line(event))


def _line(event: Event) -> Text:
    style = _STYLES.get(event.state, "")
    text = Text(f"{_SIGNS.get(event.state, ' ')} ", style=style)
    text.append(f"{event.step:<20} ").append(f"{event.state:<12}", style=style).append(_note(event))
    return text


def _note(event: Event) -> str:
    if event.error:
        return event.error.partition(": ")[2]
    if event.state == "running":
        return f"cell {event.cell} of {event.cells}  {event.seconds:.1f} s" if event.cells else ""
    if event.state == "cached":
        return f"saved {event.seconds:.1f} s"
    return f"{event.seconds:.1f} s" if event.seconds else ""


class _LiveTable:
    """The last event of each step; a running step's clock goes on between events."""

    def __init__(self) -> None:
        self._events: dict[str, tuple[Event, float]] = {}

    def update(self, event: Event) -> None:
        if event.state == "running" and not event.cell:
            event = replace(event, cells=0)
        self._events[event.step] = (event, time.perf_counter())

    def render(self) -> Table:
        table = Table.grid()
        for event, since in list(self._events.values()):
            if event.state == "running":
                event = replace(event, seconds=event.seconds + time.perf_counter() - since)
            table.add_row(_line(event))
        return table
