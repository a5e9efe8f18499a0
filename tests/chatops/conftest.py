"""A merge request on each forge, a queue on disk, and commands that note what they do instead of doing it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nbship.chatops import actions, commands, work
from nbship.chatops.actions import Context, Outcome
from nbship.chatops.queue import Queue
from tests import commenting
from tests.commenting import Place
from tests.repositories import git


@pytest.fixture(params=["github", "gitlab"])
def forge(request: pytest.FixtureRequest) -> Iterator[Place]:
    with commenting.place(request.param) as made:
        yield made


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What commands did, a line each: what is asked for again, and was done, is not done again."""
    lines: list[str] = []

    def run(context: Context) -> Outcome:
        lines.append(f"run {context.given['name']} {' '.join(context.given['settings'])}".strip())
        context.tell("step train running")
        return Outcome("done", "It ran.", ("nbship:passed",), ("nbship:rejected",))

    def deploy(context: Context) -> Outcome:
        version = context.memo or "v1.1.0"
        context.note(version)
        line = f"deploy {context.given['stage']} {version}"
        lines.extend([] if line in lines else [line])
        return Outcome("done", "It serves.", ("nbship:deployed",), served=context.given["stage"])

    for name, action in {"run": run, "deploy": deploy, "staging_deploy": deploy}.items():
        monkeypatch.setitem(commands.COMMANDS, name, replace(commands.COMMANDS[name], action=action))
    # There is no repository: a commit is what the forge says.
    monkeypatch.setattr(work, "checked_out", lambda _: commenting.HEAD)
    monkeypatch.setattr(actions, "fetch", lambda _: None)
    monkeypatch.setattr(work, "INTERVAL", 0.0)
    return lines


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    return tmp_path


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    made = Queue(tmp_path)
    yield made
    made.close()
