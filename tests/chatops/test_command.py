"""`nbship chatops run`: works the comment that a job's environment tells of."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from typer.main import get_command

from nbship.chatops import commands
from nbship.chatops.actions import Context, Outcome
from nbship.cli.main import app
from tests.commenting import Place


def run(*arguments: str) -> int:
    code = get_command(app).main(["chatops", "run", *arguments], standalone_mode=False)
    assert isinstance(code, int)
    return code


@pytest.fixture
def job(forge: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    (tmp_path / "pipelines").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, value in forge.environment().items():
        monkeypatch.setenv(name, value)
    return forge


def test_it_works_the_comment_that_variables_tell(job: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    comment = job.write("/help")
    for name, value in comment.variables.items():
        monkeypatch.setenv(name, value)
    assert run() == 0
    assert [entry.state for entry in job.entries(comment)] == ["done"]


def test_it_does_nothing_for_an_edited_comment(
    job: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    event = {"action": "edited", "comment": {"user": {"type": "User"}}, "issue": {"pull_request": {}}}
    (tmp_path / "event.json").write_text(json.dumps(event))
    monkeypatch.setenv("GITHUB_EVENT_NAME", "issue_comment")
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(tmp_path / "event.json"))
    assert run("--part", "answer") == 0
    assert job.server.seen == []


def test_notebooks_do_not_inherit_the_forges_token(
    job: Place, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    before = commands.COMMANDS["run"]

    def looking(context: Context) -> Outcome:
        seen.append({*os.environ})
        return before.action(context)

    monkeypatch.setitem(commands.COMMANDS, "run", replace(before, action=looking))
    comment = job.write("/run cars")
    for name, value in comment.variables.items():
        monkeypatch.setenv(name, value)
    assert run("--part", "answer") == 0
    assert run("--part", "code") == 0
    assert [entry.state for entry in job.entries(comment)] == ["done"]
    assert not seen[0] & {"NBSHIP_GITHUB_TOKEN", "NBSHIP_GITLAB_TOKEN"}
