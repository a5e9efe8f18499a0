"""A comment is read from GitHub's event, or from the variables of a job."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nbship.chatops.events import Comment, read_comment
from nbship.errors import UsageError

WRITTEN = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def event(**changes: Any) -> dict[str, Any]:
    comment = {"id": 5, "body": "/run", "created_at": "2026-01-31T12:00:00Z"}
    told = {
        "action": "created",
        "issue": {"number": 3, "pull_request": {"url": "…"}},
        "comment": {**comment, "user": {"login": "ada", "type": "User"}},
        "repository": {"full_name": "octo/cars"},
    }
    return {**told, **changes}


def read(tmp_path: Path, told: dict[str, Any]) -> Comment | None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(told))
    return read_comment({"GITHUB_EVENT_NAME": "issue_comment", "GITHUB_EVENT_PATH": str(path)})


def test_an_event_of_github_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, event()) == Comment("github", "octo/cars", "3", "5", "ada", "/run", WRITTEN)


@pytest.mark.parametrize(
    "changes",
    [
        {"action": "edited"},
        {"action": "deleted"},
        {"issue": {"number": 3}},
        {"comment": {**event()["comment"], "user": {"login": "renovate[bot]", "type": "Bot"}}},
        {"comment": {**event()["comment"], "user": None}},
    ],
)
def test_edits_bots_ghosts_and_plain_issues_start_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert read(tmp_path, event(**changes)) is None


def test_variables_carry_a_comment_whole() -> None:
    comment = Comment("gitlab", "group/cars", "3", "5", "ada", "/run\n/deploy $HOME", WRITTEN)
    assert read_comment(comment.variables) == comment


def test_a_job_without_a_comment_is_told_what_it_lacks() -> None:
    with pytest.raises(UsageError, match="not started by a comment"):
        read_comment({})
    with pytest.raises(UsageError, match="NBSHIP_COMMENT_AUTHOR"):
        read_comment({"NBSHIP_COMMENT_ID": "5", "NBSHIP_COMMENT_FORGE": "gitlab"})
