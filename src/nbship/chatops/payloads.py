"""What forges send of a comment, as far as it is read: GitLab's note events, GitHub's issue_comment.

From GitLab's page "Webhook events", *Comment on a merge request*, and `lib/gitlab/data_builder/note.rb`; from
GitHub's page "Webhook events and payloads", *issue_comment*. Keys that are not named here are passed over.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

_Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]
# A path or a name as an address has it; both forges allow no other characters.
_Path = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+\Z", max_length=1000)]
_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.\[\]-]+\Z", max_length=255)]


class GitlabUser(Struct):
    """Who wrote it."""

    username: _Name


class GitlabProject(Struct):
    """Where."""

    path_with_namespace: _Path


class GitlabNote(Struct):
    """The comment; `action` is there since GitLab 16.11."""

    id: _Number
    noteable_type: str | None
    note: str
    created_at: str
    updated_at: str
    system: bool
    action: str = ""


class GitlabRequest(Struct):
    """The merge request that it is on."""

    iid: _Number


class GitlabHook(Struct):
    """A note event."""

    user: GitlabUser
    project: GitlabProject
    object_attributes: GitlabNote
    merge_request: GitlabRequest | None = None


class GithubUser(Struct):
    """Who wrote it: a User, a Bot or an Organization."""

    login: _Name
    type: str


class GithubComment(Struct):
    """The comment; it has no user once its account is deleted."""

    id: _Number
    created_at: str
    body: str | None = None
    user: GithubUser | None = None


class GithubIssue(Struct):
    """The issue that it is on; a pull request if it says so."""

    number: _Number
    pull_request: dict[str, object] | None = None


class GithubRepository(Struct):
    """Where."""

    full_name: _Path


class GithubHook(Struct):
    """An issue_comment event."""

    action: str
    comment: GithubComment
    issue: GithubIssue
    repository: GithubRepository
