"""A comment that came by webhook or poll is worked by what the forge says, not by what the job was told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nbship.chatops.events import read_comment
from nbship.chatops.screening import pointer
from nbship.errors import UsageError
from tests.commenting import HEAD, NEXT, Place


def test_who_holds_a_trigger_cannot_say_which_commit_was_seen(forge: Place, done: list[str]) -> None:
    comment = forge.write("/deploy cars", "grace")
    forge.push(NEXT, "2026-01-31T12:00:05Z")
    told = read_comment({**comment.variables, "NBSHIP_COMMENT_TEXT": "", "NBSHIP_COMMENT_HEAD": NEXT})
    assert told
    forge.work(told)
    (entry,) = forge.entries(comment)
    assert entry.state == "refused" and HEAD[:12] in entry.text
    assert done == []


@pytest.mark.parametrize("change", [{"text": "/deploy cars"}, {"author": "grace"}])
def test_who_holds_a_trigger_cannot_write_or_sign_a_comment(
    forge: Place, done: list[str], change: dict[str, str]
) -> None:
    comment = forge.write("/help", "ada")
    try:
        forge.work(replace(comment, **change))  # type: ignore[arg-type]
    except UsageError as error:
        assert "is not by grace" in error.message
    assert done == []


def test_a_pointer_is_worked_as_the_comment_is(forge: Place, done: list[str]) -> None:
    comment = forge.write("/deploy cars", "grace")
    told = read_comment(pointer(comment, comment.project).variables)
    assert told and not told.text
    forge.work(told)
    assert done == ["deploy production v1.1.0"]


def test_two_pipelines_for_one_comment_do_it_once(forge: Place, done: list[str]) -> None:
    """As when a receiver was killed between starting a pipeline and noting it, or when two polls overlap."""
    comment = pointer(forge.write("/deploy cars", "grace"), forge.write("-").project)
    for pipeline in (100, 101):
        forge.work(comment, pipeline=pipeline)
    assert done == ["deploy production v1.1.0"] and len(forge.replies()) == 1
