"""A poll finds what nobody has answered, on both forges, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nbship import ci
from nbship.chatops.events import Comment
from nbship.chatops.poll import unanswered
from nbship.cli.receive import poll
from nbship.errors import UsageError
from tests.commenting import NUMBER, Place
from tests.gitlab_server import TRIGGER_TOKEN
from tests.kubeflow_server import Fault

NOW = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)


def found(forge: Place, now: datetime = NOW, limit: int = 20) -> list[Comment]:
    known = next(each for each in ci.FORGES if each.name.lower() == forge.name)
    project = known.open(forge.environment())
    path = {"github": "octo/cars", "gitlab": "group/cars"}[forge.name]
    return list(unanswered(project, forge.name, path, now, limit))


def test_a_comment_is_found_until_it_is_answered(forge: Place) -> None:
    comment = forge.write("please\n/help")
    # As a webhook tells it, without its text.
    assert found(forge) == found(forge) == [replace(comment, text="")]
    forge.work(replace(comment, text=""))
    assert len(forge.replies()) == 1 and found(forge) == []


@pytest.mark.parametrize(
    "text", ["nice", "see a/b", "```\n/run\n```", "> /run", "/label ~bug", "/ or /", "`/run`"]
)
def test_what_is_no_command_of_ours_is_left(forge: Place, text: str) -> None:
    forge.write(text)
    assert found(forge) == []


def test_a_mistyped_command_is_worth_an_answer(forge: Place) -> None:
    comment = forge.write("/hepl")
    assert [each.id for each in found(forge)] == [comment.id]
    forge.work(comment)
    assert found(forge) == []


def test_what_is_older_than_a_day_is_left(forge: Place) -> None:
    comment = forge.write("/run line")
    assert [each.id for each in found(forge, comment.written + timedelta(hours=24))] == [comment.id]
    assert found(forge, comment.written + timedelta(hours=24, seconds=1)) == []
    # The request was touched since, and the old comment was not.
    forge.at("2026-02-02T12:00:00Z")
    new = forge.write("/run line")
    assert [each.id for each in found(forge, new.written)] == [new.id]


def test_a_request_that_is_closed_is_left(forge: Place) -> None:
    forge.write("/run line")
    if forge.name == "github":
        forge.server.pulls[NUMBER]["state"] = "closed"
    else:
        forge.server.merge_requests[NUMBER]["state"] = "closed"
    assert found(forge) == []


def test_a_flood_starts_no_more_jobs_than_are_answered_in_an_hour(forge: Place) -> None:
    flood = [forge.write("/help", "mallory") for _ in range(5)]
    other = forge.write("/run line")
    assert [each.id for each in found(forge, limit=3)] == [*(each.id for each in flood[:3]), other.id]
    for each in flood[:3]:
        forge.work(each)
    assert [each.id for each in found(forge, limit=3)] == [other.id]


@pytest.fixture
def asked(forge: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A forge whose comments are of now, as the command's clock has it, and its job's variables."""
    forge.at(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    environment = {**forge.environment(), "NBSHIP_TRIGGER_TOKEN": TRIGGER_TOKEN, "CI_DEFAULT_BRANCH": "main"}
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    return forge


def started(forge: Place) -> list[str]:
    jobs = forge.server.started.values()
    assert all(branch == "main" and not told["NBSHIP_COMMENT_TEXT"] for branch, told in jobs)
    return [told["NBSHIP_COMMENT_ID"] for _, told in jobs]


def test_the_command_starts_a_job_for_each(asked: Place, capsys: pytest.CaptureFixture[str]) -> None:
    asked.settings("chatops:\n  limit: 2\n")
    comments = [asked.write("/run line") for _ in range(3)]
    assert poll() == 0
    assert started(asked) == [each.id for each in comments[:2]]
    assert f"!3 comment {comments[0].id} by 'ada' started" in capsys.readouterr().out


def test_a_job_that_does_not_start_stops_no_other_and_is_tried_again(asked: Place) -> None:
    comments = [asked.write("/run line") for _ in range(2)]
    asked.server.faults = [Fault("dispatches" if asked.name == "github" else "trigger", status=503)]
    assert poll() == 1
    assert started(asked) == [comments[1].id]
    assert poll() == 0
    assert comments[0].id in started(asked)


def test_settings_that_are_wrong_are_for_the_answer_to_tell(asked: Place) -> None:
    asked.settings("chatops: [")
    comment = asked.write("/run line")
    assert poll() == 0 and started(asked) == [comment.id]


def test_outside_of_a_job_it_is_told_whose_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI_PROJECT_PATH", raising=False)
    with pytest.raises(UsageError, match="whose comments"):
        poll()
    with pytest.raises(UsageError, match="--forge gitea"):
        poll(project="group/cars", forge="gitea")
