"""`nbship chatops run`: works the comment that a job's environment tells of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.main import get_command

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
