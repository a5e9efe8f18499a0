"""Killed between any two calls of the forge and started again, nothing is done twice, and nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from nbship.chatops.events import Comment
from tests import commenting
from tests.commenting import NUMBER, Place


class Killed(BaseException):
    """As a process that is killed: nothing catches it."""


@contextmanager
def killed_after(monkeypatch: pytest.MonkeyPatch, call: int) -> Iterator[list[int]]:
    """Kills whoever asks, once the forge did what it was asked for: before the next call is the same."""
    count = [0]
    send = requests.Session.send

    def counted(*arguments: Any, **options: Any) -> Any:
        count[0] += 1
        answer = send(*arguments, **options)
        if count[0] == call:
            raise Killed
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(requests.Session, "send", counted)
        yield count


def calls_of(place: Place, comment: Comment, monkeypatch: pytest.MonkeyPatch) -> int:
    with killed_after(monkeypatch, 0) as count:
        place.work(comment)
    return count[0]


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_killed_at_any_call(name: str, done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbship.ci.github_client._PAUSES", ())
    monkeypatch.setattr("nbship.ci.gitlab_client._PAUSES", ())
    text = "/staging_deploy cars\n/depoly\n/deploy cars"
    call, calls = 0, 1
    while call < calls:
        call += 1
        done.clear()
        with commenting.place(name) as place:
            place.settings("chatops: {merge: when deployed}")
            comment = place.write(text, "grace")
            if call == 1:
                with commenting.place(name) as other:
                    other.settings("chatops: {merge: when deployed}")
                    calls = calls_of(other, other.write(text, "grace"), monkeypatch)
                assert calls > 10
                done.clear()
            with killed_after(monkeypatch, call), pytest.raises(Killed):
                place.work(comment, pipeline=100)
            # Started again by hand it is the same pipeline on GitHub; delivered again, another one.
            if call % 2:
                place.end(100)
            place.work(comment, pipeline=100 + call % 2)
            place.work(comment, pipeline=100 + call % 2)
            assert done == ["deploy staging v1.1.0", "deploy production v1.1.0"], call
            assert [entry.state for entry in place.entries(comment)] == ["done", "refused", "done"], call
            assert place.reactions(comment) == ["eyes"]
            assert place.labels() == {"nbship:deployed"}
            assert place.merged
            assert len(place.server.bodies(NUMBER)) == 2


def together(place: Place, *comments: Comment) -> None:
    """Works comments at once, each in a pipeline of its own."""
    begin = threading.Barrier(len(comments))

    def one(comment: Comment, pipeline: int) -> None:
        begin.wait()
        place.work(comment, pipeline=pipeline)

    for number in range(len(comments)):
        place.environment(100 + number)
    threads = [threading.Thread(target=one, args=(c, 100 + n)) for n, c in enumerate(comments)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_delivered_twice_at_once_it_is_done_once(forge: Place, done: list[str]) -> None:
    comment = forge.write("/run cars\n/staging_deploy cars")
    begin = threading.Barrier(3)

    def one(pipeline: int) -> None:
        environment = forge.environment(pipeline)
        begin.wait()
        forge.work(comment, pipeline=pipeline, environment=environment, part="answer")

    threads = [threading.Thread(target=one, args=(100 + number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(forge.replies()) == 1
    for pipeline in range(100, 103):
        forge.work(comment, pipeline=pipeline, part="code")
        forge.work(comment, pipeline=pipeline, part="deliver")
    assert done == ["run cars", "deploy staging v1.1.0"]


def test_of_two_deployments_at_once_one_is_told_to_wait(forge: Place, done: list[str]) -> None:
    together(forge, forge.write("/staging_deploy cars"), forge.write("/deploy cars", "grace"))
    found = sorted(reply.entries[0].state for reply in forge.replies())
    # The second may come when the first has ended.
    assert found in (["done", "refused"], ["done", "done"])
    assert len(done) == found.count("done")
