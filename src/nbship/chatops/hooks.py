"""Webhooks: whether a request comes from the forge, and which comment it tells of.

Headers and a body in, a `Hook` or a `HookError` out; nothing is kept and nobody is asked. A comment's text is
looked at once, for whether it can hold a command at all, and goes no further.

Sources: GitLab's `app/services/web_hook_service.rb` for the headers, and its merge requests 230944 and 231325
for signatures, which are those of standardwebhooks.com; GitHub's page "Validating webhook deliveries".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from nbship.chatops.events import Comment
from nbship.chatops.payloads import GithubHook, GitlabHook
from nbship.chatops.screening import pointer, why_not
from nbship.errors import UsageError

SECRET = "NBSHIP_WEBHOOK_SECRET"  # noqa: S105 (the name of a variable)
# What a signing secret of Standard Webhooks begins with, and for how many seconds what it signs is taken.
SIGNING, TOLERANCE = "whsec_", 300
UNAUTHORIZED = 401
_WRONG, _WRONG_TYPE = 400, 415
# Whom GitLab makes for an access token of a project or a group.
_GITLAB_BOT = re.compile(r"(project|group)_\d+_bot(_\w+)?")

Headers = Mapping[str, str]
T = TypeVar("T", bound=msgspec.Struct)


class HookError(Exception):
    """A request that is answered with a status of HTTP; no word of the message comes from the request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Hook:
    """What a request of the forge tells.

    Attributes:
        comment: That may hold commands, without its text; None if there is nothing to do.
        reason: Why there is not.
    """

    comment: Comment | None = None
    reason: str = ""


@dataclass(frozen=True)
class Expected:
    """Whose requests are taken.

    Attributes:
        forge: "gitlab" or "github".
        project: Its path on the forge.
        secrets: The webhook's; several while one takes the place of another.

    Raises:
        UsageError: There is no secret, or one that signs nothing.
    """

    forge: str
    project: str
    secrets: tuple[str, ...]

    def __post_init__(self) -> None:
        """Looks at the secrets before anybody depends on them."""
        if not self.secrets:
            raise UsageError("the webhook has no secret", f"set {SECRET} to the one that it has on the forge")
        if self.forge == "gitlab" and not all(map(_key, filter(_is_signing, self.secrets))):
            raise UsageError(f"{SECRET}: the signing token is not base64", "copy it from GitLab once more")


def read_hook(headers: Headers, body: bytes, expected: Expected, now: datetime) -> Hook:
    """Checks a request and reads it.

    Args:
        headers: Of the request; names are in lower case.
        body: As it came.
        expected: Whose requests are taken.
        now: With a time zone.

    Raises:
        HookError: It is not from the forge, or is nothing that the forge sends.
    """
    is_right, read = _FORGES[expected.forge]
    if not is_right(headers, body, expected.secrets, now):
        raise HookError(UNAUTHORIZED, f"the token or the signature is not that of {SECRET}")
    found = read(headers, body)
    if not found.comment:
        return found
    reason = why_not(found.comment, expected.project, now)
    return Hook(reason=reason) if reason else Hook(pointer(found.comment, expected.project))


def _from_gitlab(headers: Headers, body: bytes, secrets: Sequence[str], now: datetime) -> bool:
    """Whether the secret token is right, or one of the signatures and its time."""
    plain = [each for each in secrets if not _is_signing(each)]
    if _is_one_of(headers.get("x-gitlab-token", ""), plain):
        return True
    moment = headers.get("webhook-timestamp", "")
    if not re.fullmatch(r"[0-9]{1,12}", moment) or abs(now.timestamp() - int(moment)) > TOLERANCE:
        return False
    keys = [_key(each) for each in secrets if _is_signing(each)]
    # Starlette reads headers as Latin-1.
    text = b".".join([headers.get("webhook-id", "").encode("latin-1", "replace"), moment.encode(), body])
    right = ["v1," + base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode() for key in keys]
    return any(_is_one_of(each, right) for each in headers.get("webhook-signature", "").split())


def _from_github(headers: Headers, body: bytes, secrets: Sequence[str], _: datetime) -> bool:
    """Whether the signature is right; no time is signed."""
    right = [f"sha256={hmac.digest(each.encode(), body, hashlib.sha256).hex()}" for each in secrets]
    return _is_one_of(headers.get("x-hub-signature-256", ""), right)


def _read_gitlab(headers: Headers, body: bytes) -> Hook:
    if headers.get("x-gitlab-event") != "Note Hook":
        return Hook(reason="no comment")
    told = _decoded(headers, body, GitlabHook)
    note, request = told.object_attributes, told.merge_request
    if note.noteable_type != "MergeRequest" or request is None:
        return Hook(reason="not on a merge request")
    # Before there was an action, nothing but the times told an edit.
    if note.action != "create" if note.action else note.updated_at != note.created_at:
        return Hook(reason="an edit")
    if note.system or _GITLAB_BOT.fullmatch(told.user.username):
        return Hook(reason="a bot's")
    return Hook(
        Comment(
            forge="gitlab",
            project=told.project.path_with_namespace,
            number=str(request.iid),
            id=str(note.id),
            author=told.user.username,
            text=note.note,
            written=_time(note.created_at),
        )
    )


def _read_github(headers: Headers, body: bytes) -> Hook:
    if headers.get("x-github-event") != "issue_comment":
        return Hook(reason="no comment")
    told = _decoded(headers, body, GithubHook)
    if told.issue.pull_request is None:
        return Hook(reason="not on a merge request")
    if told.action != "created":
        return Hook(reason="an edit")
    author = told.comment.user
    if author is None or author.type != "User":
        return Hook(reason="a bot's")
    return Hook(
        Comment(
            forge="github",
            project=told.repository.full_name,
            number=str(told.issue.number),
            id=str(told.comment.id),
            author=author.login,
            text=told.comment.body or "",
            written=_time(told.comment.created_at),
        )
    )


_Check = Callable[[Headers, bytes, Sequence[str], datetime], bool]
_FORGES: Mapping[str, tuple[_Check, Callable[[Headers, bytes], Hook]]] = {
    "gitlab": (_from_gitlab, _read_gitlab),
    "github": (_from_github, _read_github),
}


def _is_signing(secret: str) -> bool:
    return secret.startswith(SIGNING)


def _key(secret: str) -> bytes:
    """The key of a signing secret; empty if it is none."""
    try:
        return base64.b64decode(secret.removeprefix(SIGNING), validate=True)
    except binascii.Error:
        return b""


def _is_one_of(given: str, right: Sequence[str]) -> bool:
    """Compares in a time that tells nothing of what is right."""
    # A token of other characters comes as the bytes of its UTF-8, which are read as Latin-1.
    came = given.encode("latin-1", "replace")
    return any(hmac.compare_digest(came, each.encode()) for each in right)


def _decoded(headers: Headers, body: bytes, kind: type[T]) -> T:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HookError(_WRONG_TYPE, "not JSON: the webhook's content type has to be application/json")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HookError(_WRONG, "the body is not what the forge sends of a comment") from None


def _time(text: str) -> datetime:
    """Reads a time as GitLab writes it, 2026-01-31 12:00:00 UTC, or as both do in ISO 8601."""
    try:
        moment = datetime.fromisoformat(text.replace(" UTC", "Z"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise HookError(_WRONG, "the comment's time is not a time") from None
