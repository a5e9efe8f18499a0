"""A request of the forge is told from any other, and what it tells from what only looks like it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.chatops.events import Comment
from nbship.chatops.hooks import Expected, Hook, HookError, read_hook
from nbship.errors import UsageError
from tests.chatops.webhooks import (
    KEY,
    NOW,
    PROJECT,
    SECRET,
    SIGNING,
    Sent,
    by_github,
    by_signature,
    by_token,
    github_comment,
    gitlab_note,
)

WRITTEN = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
OTHER_KEY = KEY[::-1].lstrip("=") + "="


def read(forge: str, sent: Sent, *secrets: str, now: datetime = NOW) -> Hook:
    expected = Expected(forge, PROJECT[forge], secrets or (SECRET, SIGNING))
    return read_hook(sent.headers, sent.body, expected, now)


def refused(forge: str, sent: Sent, *secrets: str, now: datetime = NOW) -> int:
    with pytest.raises(HookError) as error:
        read(forge, sent, *secrets, now=now)
    assert SECRET not in str(error.value) and KEY not in str(error.value)
    return error.value.status


@pytest.mark.parametrize(
    "sent", [by_token(gitlab_note()), by_signature(gitlab_note())], ids=["token", "signed"]
)
def test_a_comment_on_gitlab_is_pointed_to_without_its_text(sent: Sent) -> None:
    assert read("gitlab", sent) == Hook(Comment("gitlab", "group/cars", "3", "1244", "ada", "", WRITTEN))


def test_a_comment_on_github_is_pointed_to_without_its_text() -> None:
    hook = read("github", by_github(github_comment()))
    assert hook == Hook(Comment("github", "octo/cars", "3", "1244", "ada", "", WRITTEN))


def test_times_are_read_as_gitlab_has_ever_written_them() -> None:
    for text in ("2026-01-31 12:00:00 UTC", "2026-01-31T12:00:00Z", "2026-01-31T13:00:00.000+01:00"):
        told = gitlab_note(object_attributes={"created_at": text})
        comment = read("gitlab", by_token(told)).comment
        assert comment and comment.written == WRITTEN


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"object_attributes": {"action": "update"}}, "an edit"),
        ({"object_attributes": {"action": "", "updated_at": "2026-01-31 12:00:09 UTC"}}, "an edit"),
        ({"object_attributes": {"system": True}}, "a bot's"),
        ({"user": {"username": "project_5_bot_0f3a"}}, "a bot's"),
        ({"user": {"username": "group_5_bot"}}, "a bot's"),
        ({"object_attributes": {"noteable_type": "Issue"}, "merge_request": None}, "not on a merge request"),
        ({"object_attributes": {"note": "see a/b\nand / or"}}, "without a command"),
        ({"object_attributes": {"note": ""}}, "without a command"),
        ({"object_attributes": {"created_at": "2026-01-01 12:00:00 UTC"}}, "too old"),
        ({"project": {"path_with_namespace": "group/bikes"}}, "another project's"),
    ],
)
def test_what_starts_nothing_on_gitlab_is_told(changes: dict[str, Any], reason: str) -> None:
    assert read("gitlab", by_token(gitlab_note(**changes))) == Hook(reason=reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"action": "edited"}, "an edit"),
        ({"action": "deleted"}, "an edit"),
        ({"comment": {"user": {"login": "renovate[bot]", "type": "Bot"}}}, "a bot's"),
        ({"comment": {"user": None}}, "a bot's"),
        ({"issue": {"pull_request": None}}, "not on a merge request"),
        ({"comment": {"body": None}}, "without a command"),
        ({"repository": {"full_name": "mallory/cars"}}, "another project's"),
    ],
)
def test_what_starts_nothing_on_github_is_told(changes: dict[str, Any], reason: str) -> None:
    assert read("github", by_github(github_comment(**changes))) == Hook(reason=reason)


@pytest.mark.parametrize(
    ("forge", "sent"),
    [
        ("gitlab", by_token({}, **{"x-gitlab-event": "Push Hook"})),
        ("github", by_github({"zen": "Keep it logically awesome."}, **{"x-github-event": "ping"})),
    ],
)
def test_other_events_are_acknowledged(forge: str, sent: Sent) -> None:
    assert read(forge, sent) == Hook(reason="no comment")


def without(sent: Sent, *names: str) -> Sent:
    return Sent({name: value for name, value in sent.headers.items() if name not in names}, sent.body)


@pytest.mark.parametrize(
    ("forge", "sent"),
    [
        ("gitlab", without(by_token(gitlab_note()), "x-gitlab-token")),
        ("gitlab", by_token(gitlab_note(), "")),
        ("gitlab", by_token(gitlab_note(), SECRET[:-1])),
        ("gitlab", by_token(gitlab_note(), f"{SECRET} ")),
        ("gitlab", by_token(gitlab_note(), "ö")),
        ("gitlab", by_token(gitlab_note(), SIGNING)),
        ("gitlab", by_signature(gitlab_note(), OTHER_KEY)),
        ("gitlab", without(by_signature(gitlab_note()), "webhook-signature")),
        ("gitlab", without(by_signature(gitlab_note()), "webhook-timestamp")),
        ("gitlab", without(by_signature(gitlab_note()), "webhook-id")),
        ("gitlab", by_signature(gitlab_note(), **{"webhook-timestamp": "١٧٦٩٨٥٠٠٣٠"})),
        ("gitlab", by_signature(gitlab_note(), **{"webhook-timestamp": "9" * 5000})),
        ("gitlab", by_signature(gitlab_note(), **{"webhook-signature": "v1, v1,= v2,x"})),
        ("gitlab", by_github(github_comment())),
        ("github", by_token(gitlab_note())),
        ("github", by_github(github_comment(), "another")),
        ("github", without(by_github(github_comment()), "x-hub-signature-256")),
        ("github", by_github(github_comment(), **{"x-hub-signature-256": "sha256="})),
    ],
)
def test_who_is_not_the_forge_is_refused(forge: str, sent: Sent) -> None:
    assert refused(forge, sent) == 401


def test_a_signed_request_is_good_for_five_minutes() -> None:
    sent = by_signature(gitlab_note(), moment=NOW)
    for seconds in (-300, 299):
        assert read("gitlab", sent, SIGNING, now=NOW + timedelta(seconds=seconds)).comment
    for seconds in (-302, 302):
        assert refused("gitlab", sent, SIGNING, now=NOW + timedelta(seconds=seconds)) == 401


def test_a_secret_takes_the_place_of_another_without_a_gap() -> None:
    old, new = by_token(gitlab_note(), "old"), by_token(gitlab_note(), "new")
    assert read("gitlab", old, "old", "new").comment and read("gitlab", new, "old", "new").comment
    assert refused("gitlab", old, "new") == 401
    many = by_signature(gitlab_note())
    signatures = f"v1,AAAA {many.headers['webhook-signature']}"
    assert read("gitlab", by_signature(gitlab_note(), **{"webhook-signature": signatures}), SIGNING).comment


def test_a_secret_that_signs_nothing_is_refused_at_the_start() -> None:
    for secrets in ((), ("whsec_not base64",), ("whsec_",), (SECRET, "whsec_=")):
        with pytest.raises(UsageError):
            Expected("gitlab", "group/cars", secrets)


@given(st.data())
def test_no_other_body_passes_under_a_signature(data: st.DataObject) -> None:
    forge, sent = data.draw(
        st.sampled_from([("gitlab", by_signature(gitlab_note())), ("github", by_github(github_comment()))])
    )
    at = data.draw(st.integers(0, len(sent.body) - 1))
    changed = data.draw(st.integers(0, 255).filter(lambda byte: byte != sent.body[at]))
    body = sent.body[:at] + bytes([changed]) + sent.body[at + 1 :]
    assert refused(forge, Sent(sent.headers, body)) == 401


# What somebody may have who can make the forge send anything.
KEYS = st.sampled_from(
    [*gitlab_note(), *gitlab_note()["object_attributes"], "username", "path_with_namespace", "iid", "login"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("/run"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.sampled_from(["gitlab", "github"]), VALUES)
def test_whatever_json_comes_is_taken_or_refused(forge: str, told: Any) -> None:
    answered(forge, told)


@given(st.sampled_from(["gitlab", "github"]), st.data())
def test_an_event_with_any_part_exchanged_is_taken_or_refused(forge: str, data: st.DataObject) -> None:
    told = gitlab_note() if forge == "gitlab" else github_comment()
    part = told
    while True:
        key = data.draw(st.sampled_from(sorted(part)))
        if not isinstance(part[key], dict) or not part[key] or data.draw(st.booleans()):
            break
        part = part[key]
    if data.draw(st.booleans()):
        del part[key]
    else:
        part[key] = data.draw(VALUES)
    answered(forge, told)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"object_attributes": {"id": ' + b"9" * 10_000 + b"}}",
        json.dumps(gitlab_note(object_attributes={"id": 2**63})).encode(),
        json.dumps(gitlab_note(object_attributes={"id": True})).encode(),
        json.dumps(gitlab_note(object_attributes={"id": "1244; DROP TABLE comments"})).encode(),
        json.dumps(gitlab_note(object_attributes={"created_at": "0001-01-01T00:00:00+23:59"})).encode(),
        json.dumps(gitlab_note(project={"path_with_namespace": "group/../../etc"})).encode() + b"}",
        json.dumps(gitlab_note(user={"username": "ada\n"})).encode(),
        json.dumps(gitlab_note(user={"username": "\ud800"})).encode(),
    ],
)
def test_what_the_forge_never_sends_is_refused(body: bytes) -> None:
    assert refused("gitlab", by_token(body)) == 400


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_no_json_is_told_what_to_set(kind: str) -> None:
    assert refused("github", by_github(github_comment(), **{"content-type": kind})) == 415


def answered(forge: str, told: Any) -> None:
    """A request with the right secret gives a comment that can be kept, a reason, or a 4xx."""
    sent = by_token(told) if forge == "gitlab" else by_github(told)
    try:
        hook = read(forge, sent)
    except HookError as error:
        assert 400 <= error.status < 500
        return
    assert bool(hook.comment) != bool(hook.reason)
    if hook.comment:
        assert hook.comment.id.isdigit() and hook.comment.number.isdigit() and not hook.comment.text
        assert hook.comment.project == PROJECT[forge]
