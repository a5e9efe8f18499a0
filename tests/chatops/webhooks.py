"""What forges send when somebody comments, for tests.

The shape of GitLab's is that of its page "Webhook events", *Comment on a merge request* (GitLab 18), the
headers are those of `app/services/web_hook_service.rb` and, for signatures, of its merge request 230944.
GitHub's is that of its page "Webhook events and payloads", *issue_comment*. Names and numbers are ours.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

SECRET = "hook-hunter2-hunter2"  # noqa: S105
KEY = base64.b64encode(b"k" * 32).decode()
SIGNING = f"whsec_{KEY}"
NOW = datetime(2026, 1, 31, 12, 0, 30, tzinfo=UTC)
PROJECT = {"gitlab": "group/cars", "github": "octo/cars"}


@dataclass(frozen=True)
class Sent:
    headers: dict[str, str]
    body: bytes


def merge(base: Any, changes: Any) -> Any:
    """Changes what is nested, key by key."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    return {**base, **{key: merge(base.get(key), value) for key, value in changes.items()}}


def gitlab_note(**changes: Any) -> dict[str, Any]:
    """A note event; changes are of any depth."""
    project = {
        "id": 5,
        "name": "cars",
        "description": "",
        "web_url": "https://gitlab.example.org/group/cars",
        "avatar_url": None,
        "git_ssh_url": "git@gitlab.example.org:group/cars.git",
        "git_http_url": "https://gitlab.example.org/group/cars.git",
        "namespace": "group",
        "visibility_level": 0,
        "path_with_namespace": "group/cars",
        "default_branch": "main",
        "ci_config_path": None,
    }
    told = {
        "object_kind": "note",
        "event_type": "note",
        "user": {"id": 1, "name": "Ada L.", "username": "ada", "avatar_url": None, "email": "[REDACTED]"},
        "project_id": 5,
        "project": project,
        "repository": {"name": "cars", "url": "git@…", "description": "", "homepage": "https://…"},
        "object_attributes": {
            "id": 1244,
            "internal": False,
            "note": "Looks good.\n/run\n",
            "noteable_type": "MergeRequest",
            "author_id": 1,
            "created_at": "2026-01-31 12:00:00 UTC",
            "updated_at": "2026-01-31 12:00:00 UTC",
            "project_id": 5,
            "attachment": None,
            "line_code": None,
            "commit_id": "",
            "noteable_id": 7,
            "system": False,
            "st_diff": None,
            "action": "create",
            "url": "https://gitlab.example.org/group/cars/-/merge_requests/3#note_1244",
        },
        "merge_request": {
            "id": 7,
            "iid": 3,
            "target_branch": "main",
            "source_branch": "topic",
            "source_project_id": 5,
            "target_project_id": 5,
            "state": "opened",
            "title": "Faster cars",
            "description": "…",
            "last_commit": {"id": "5" * 40, "message": "Change", "timestamp": "2026-01-31T11:00:00+00:00"},
            "labels": [],
            "detailed_merge_status": "mergeable",
        },
    }
    return merge(told, changes)


def github_comment(**changes: Any) -> dict[str, Any]:
    """An issue_comment event; changes are of any depth."""
    person = {"login": "ada", "id": 1, "type": "User", "site_admin": False}
    told = {
        "action": "created",
        "issue": {
            "number": 3,
            "title": "Faster cars",
            "state": "open",
            "user": person,
            "pull_request": {"url": "https://api.github.com/repos/octo/cars/pulls/3", "merged_at": None},
        },
        "comment": {
            "id": 1244,
            "body": "Looks good.\r\n/run\r\n",
            "user": person,
            "created_at": "2026-01-31T12:00:00Z",
            "updated_at": "2026-01-31T12:00:00Z",
            "author_association": "MEMBER",
        },
        "repository": {"id": 5, "full_name": "octo/cars", "default_branch": "main", "private": True},
        "sender": person,
    }
    return merge(told, changes)


def encoded(told: Any) -> bytes:
    return told if isinstance(told, bytes) else json.dumps(told).encode()


def by_token(told: Any, token: str = SECRET, **headers: str) -> Sent:
    """As GitLab sends it with a secret token."""
    own = {
        "content-type": "application/json",
        "user-agent": "GitLab/18.6.0",
        "idempotency-key": "0000-1",
        "x-gitlab-event": "Note Hook",
        "x-gitlab-event-uuid": "0000-2",
        "x-gitlab-instance": "https://gitlab.example.org",
        "x-gitlab-token": token,
    }
    return Sent({**own, **headers}, encoded(told))


def by_signature(told: Any, key: str = KEY, moment: datetime = NOW, **headers: str) -> Sent:
    """As GitLab sends it with a signing token."""
    sent = by_token(told)
    own = {name: value for name, value in sent.headers.items() if name != "x-gitlab-token"}
    identity, seconds = own["idempotency-key"], str(int(moment.timestamp()))
    text = f"{identity}.{seconds}.".encode() + sent.body
    digest = hmac.new(base64.b64decode(key), text, hashlib.sha256).digest()
    own |= {
        "webhook-id": identity,
        "webhook-timestamp": seconds,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
    return Sent({**own, **headers}, sent.body)


def by_github(told: Any, secret: str = SECRET, **headers: str) -> Sent:
    """As GitHub sends it."""
    body = encoded(told)
    own = {
        "content-type": "application/json",
        "user-agent": "GitHub-Hookshot/044aadd",
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "x-github-event": "issue_comment",
        "x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }
    return Sent({**own, **headers}, body)
