"""A poll finds what nobody has answered, on both forges, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nbship import ci
from nbship.chatops.events import Comment
from nbship.chatops.poll import unanswered
from tests.commenting import NUMBER, Place

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
