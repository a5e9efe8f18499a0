"""What is shown while a run goes on: lines, a live table, or JSON."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from nbship.cli import common
from nbship.cli import progress as module
from nbship.cli.progress import progress, unread_is_fine
from nbship.local.runner import Event
from nbship.record import State
from nbship.workflow.progress import Progress

EVENTS = [
    Event("prepare", State.CACHED, cells=4, seconds=1.26),
    Event("train", State.RUNNING),
    Event("train", State.RUNNING, 2, 7, 0.5),
    Event("train", State.DONE, 7, 7, 2.04),
    Event("evaluate", State.FAILED, 3, 3, 0.4, "step 'evaluate': evaluate.ipynb, cell 3: KeyError: 'a: b'"),
    Event("report", State.SKIPPED),
]


@pytest.fixture
def shown(monkeypatch):
    """Lets a console of some kind show the events; returns what it wrote."""

    def show(events: list[Event], **options: object) -> str:
        file = io.StringIO()
        console = Console(file=file, highlight=False, soft_wrap=True, **options)
        monkeypatch.setattr(module, "console", console)
        monkeypatch.setattr(common, "console", console)
        with progress(as_json=False) as on_event:
            for event in events:
                on_event(event)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())

    return show


def test_lines_say_what_changed_and_no_more(shown):
    assert [line.rstrip() for line in shown(EVENTS).splitlines()] == [
        "≡ prepare              cached      saved 1.3 s",
        "▸ train                running",
        "✓ train                done        2.0 s",
        "✗ evaluate             failed      evaluate.ipynb, cell 3: KeyError: 'a: b'",
        "– report               skipped",
    ]


def test_a_live_table_ends_with_the_last_state_of_each_step(shown):
    text = shown(EVENTS, force_terminal=True, width=80, color_system=None)
    lines = [line.rstrip() for line in text.splitlines()]
    assert lines[-4:] == [line.rstrip() for line in shown([EVENTS[n] for n in (0, 3, 4, 5)]).splitlines()]


def test_a_live_table_keeps_to_the_width_of_the_terminal(shown):
    long = Event("a-step-with-a-very-long-name-indeed", State.FAILED, error="step 'a': " + "too long " * 30)
    text = shown([EVENTS[1], long], force_terminal=True, width=80, color_system=None)
    assert max(map(len, text.splitlines())) <= 80


def test_what_runs_is_what_a_small_terminal_shows(monkeypatch):
    steps = [f"step-{n:02}" for n in range(40)]
    events = [Event(step, State.WAITING, expected=60) for step in steps]
    events += [Event(step, State.DONE, seconds=1) for step in steps[:30]]
    events += [Event(step, State.RUNNING, 2, 3, 20, line="50% of 7") for step in steps[36:38]]
    known = Progress(jobs=2)
    for event in events:
        known.update(event)
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24, color_system=None)
    monkeypatch.setattr(module, "console", console)
    table = module._LiveTable(known)
    console.print(table.render())
    frame = console.file.getvalue().splitlines()
    assert len(frame) <= 23
    assert max(map(len, frame)) <= 80
    running = [line for line in frame if line.startswith("▸")]
    assert [line.split()[1] for line in running] == ["step-36", "step-37"]
    assert all("cell 2 of 3  20.0 s, 40 s left  50% of 7" in line for line in running)
    assert frame[-1].strip() == "8 waiting · 2 running · 30 done · 5 min left"
    table.ended = True
    console.print(table.render())
    assert len(console.file.getvalue().splitlines()) - len(frame) == 32


def test_a_log_hears_from_a_long_step(monkeypatch):
    """Signs of life come without any event, with the last line that the step has printed."""
    told = threading.Event()

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            if "epoch 3" in text:
                told.set()
            return super().write(text)

    log = Log()
    monkeypatch.setattr(module, "console", Console(file=log, highlight=False, soft_wrap=True))
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_SIGNS", 0.01)
    with progress(as_json=False) as on_event:
        on_event(Event("train", State.RUNNING))
        on_event(Event("train", State.RUNNING, 2, 7, 0.5, line="epoch 3"))
        assert told.wait(30)
    assert "▸ train                cell 2 of 7  " in log.getvalue()


def test_machines_get_a_line_of_json_for_each_event(capsys):
    with progress(as_json=True) as on_event:
        for event in EVENTS:
            on_event(event)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[2] == {
        "event": "step", "step": "train", "state": "running",
        "cell": 2, "cells": 7, "seconds": 0.5, "error": "",
        "line": "", "expected": 0.0, "upstream": [],
    }  # fmt: skip
    assert [line["state"] for line in lines] == [event.state for event in EVENTS]


def test_threads_do_not_write_into_each_others_lines(capsys):
    with progress(as_json=True) as on_event, ThreadPoolExecutor(8) as pool:
        list(pool.map(on_event, EVENTS * 50))
    assert len([json.loads(line) for line in capsys.readouterr().out.splitlines()]) == 300


def test_nobody_needs_to_read_it(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with progress(as_json=True) as on_event:
            for event in EVENTS:
                on_event(event)
        with unread_is_fine():
            pipe.write("more")
            pipe.flush()
