"""What is shown while a run goes on: lines, a live table, or JSON."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from nbship.cli import progress as module
from nbship.cli.progress import progress, unread_is_fine
from nbship.local.runner import Event
from nbship.record import State

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
        monkeypatch.setattr(module, "console", Console(file=file, highlight=False, soft_wrap=True, **options))
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


def test_machines_get_a_line_of_json_for_each_event(capsys):
    with progress(as_json=True) as on_event:
        for event in EVENTS:
            on_event(event)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[2] == {
        "event": "step", "step": "train", "state": "running",
        "cell": 2, "cells": 7, "seconds": 0.5, "error": "",
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
