"""What nbship asks of a forge, such as GitLab: what started a CI job, and to be told how a run ended.

Protocols, plain values, and one wording of what a forge answers. A forge is a module beside this one, and a
line in `nbship.ci.FORGES`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from urllib.parse import urlsplit

from nbship.errors import NbshipError

# Forges start no CI for a commit that says this.
SKIP_CI = "[skip ci]"
Event = Literal["push", "merge request", "schedule", "manual"]
RunState = Literal["succeeded", "failed", "rejected"]
# In the order of what each may do; the forges' own are in their modules.
Role = Literal["none", "read", "write", "maintain", "admin"]
ROLES: tuple[Role, ...] = ("none", "read", "write", "maintain", "admin")
Reaction = Literal["seen", "done", "refused"]

TOO_MANY = 429
_MEANINGS = {
    401: "authentication failed",
    403: "permission denied",
    404: "not found, or not visible to this token",
    TOO_MANY: "too many requests",
}
_LONGEST_MESSAGE = 300
# git@host:group/name.git
_SCP_ADDRESS = re.compile(r"(?:[^/@]+@)?(?P<host>[^/:@]{2,}):(?P<path>[^/].*)")


def split_address(repository: str) -> tuple[str, str]:
    """Splits the address of a Git repository into that of its server's pages, and the path there.

    Returns:
        Such as https://gitlab.example.org and /group/name.git; both are empty if it names no server.
    """
    scp = _SCP_ADDRESS.fullmatch(repository) if "://" not in repository else None
    parts = urlsplit(f"ssh://{scp['host']}/{scp['path']}" if scp else repository)
    if parts.scheme not in ("http", "https", "ssh") or not parts.hostname:
        return "", ""
    if parts.scheme == "ssh":  # pages and API are not on SSH's port
        return f"https://{parts.hostname}", parts.path
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path


def refusal(address: str, status: int, said: str, token: str, needed: str) -> NbshipError:
    """Returns what to tell of a forge's answer that is an error.

    Args:
        address: Who answered.
        status: The status of HTTP.
        said: The forge's own words, which may repeat what it was sent.
        token: What no error may show.
        needed: Which token it takes, where that is what may be wrong.
    """
    line = " ".join((said.replace(token, "…") if token else said).split())
    line = line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"
    meaning = _MEANINGS.get(status, "request refused" if status < 500 else "server error")
    later = status == TOO_MANY or status >= 500
    hint = "try again later" if later else needed if status in _MEANINGS else "correct what it names"
    return NbshipError(f"{address}: {meaning} ({status}): {line}", hint)


@dataclass(frozen=True)
class Job:
    """What a CI job is about; all is empty where there is none.

    Attributes:
        event: What started it.
        branch: The branch that is built; empty in a job of a merge request.
        head: The branch that is checked out, or a merge request's source.
        base: The commit that a merge request is compared with.
        default_branch: The repository's.
        number: The merge request's.
        artifacts: The address below which the job's files will be kept.
        project: The project's path on the forge.
        pipeline: What runs the job, as the forge numbers it: by it one can ask whether it still runs.
        link: The address of its page.
    """

    event: Event | None = None
    branch: str = ""
    head: str = ""
    base: str = ""
    default_branch: str = ""
    number: str = ""
    artifacts: str = ""
    project: str = ""
    pipeline: str = ""
    link: str = ""


@dataclass(frozen=True)
class Note:
    """A comment on a merge request, as the forge has it now.

    Attributes:
        id: By which it is asked for.
        author: Who wrote it: the name on the forge; empty if he is gone.
        text: Markdown.
        written: When it was written.
        edited: Whether it was changed since.
        bot: Whether an app or an access token wrote it, and no person.
        own: Whether we wrote it.
    """

    id: str
    author: str
    text: str
    written: datetime
    edited: bool = False
    bot: bool = False
    own: bool = False


@dataclass(frozen=True)
class Standing:
    """Where a merge request stands.

    Attributes:
        head: The commit that its branch is at.
        branch: Its branch.
        target: The branch that it is merged into.
        default_branch: The project's.
        ref: What to fetch to have its commits.
        fork: Whether its branch is in another project, where other people may push.
        open: Whether it may still be merged.
    """

    head: str
    branch: str
    target: str
    default_branch: str
    ref: str
    fork: bool
    open: bool


class Discussion(Protocol):
    """A merge request as a place to talk and act; methods raise an NbshipError if the forge refuses."""

    def standing(self) -> Standing:
        """Returns where it stands."""

    def notes(self) -> Sequence[Note]:
        """Returns all comments that people or programs wrote, in the order in which they were made."""

    def head_at(self, moment: datetime) -> str:
        """Returns the commit that its branch was at before a moment; empty if the forge does not tell."""

    def add(self, text: str) -> Note:
        """Writes a comment; it is made once, or it is an error that nobody knows whether it was made."""

    def change(self, note: str, text: str) -> None:
        """Changes a comment of ours."""

    def remove(self, note: str) -> None:
        """Removes a comment of ours, if it is there."""

    def react(self, note: str, reaction: Reaction) -> None:
        """Puts a small picture under a comment; one that is there stays."""

    def label(self, add: Sequence[str], remove: Sequence[str]) -> None:
        """Puts labels on it and takes others off; those that it does not have are none to take off."""

    def merge(self, head: str) -> str:
        """Merges it as the forge's rules have it, if it still is at a commit.

        Returns:
            Empty if it was merged; else why the forge does not merge it, in its words.
        """


class MergeRequest(Protocol):
    """A merge request, or a pull request."""

    def read_note(self, mark: str) -> str:
        """Returns our note, the text that begins with a mark; empty if there is none."""

    def write_note(self, mark: str, text: str) -> str:
        """Writes our note in place of the one that is there, and returns its address."""


class Project(Protocol):
    """A project on a forge; every method raises an NbshipError if the forge refuses or does not answer."""

    def set_status(
        self, commit: str, state: RunState | Literal["running"], name: str, description: str, link: str
    ) -> None:
        """Sets a commit's status.

        Args:
            commit: The whole hash.
            state: How a run of it ended, or that it has begun.
            name: By which the status is told from others, and replaced.
            description: A line; what is too long is cut.
            link: Where to read more; may be empty.
        """

    def open_merge_requests(self, branch: str, number: str = "") -> Sequence[MergeRequest]:
        """Returns the open merge requests of a branch, or the one of a number if it is open."""

    def merge_requests_of(self, commit: str) -> Sequence[MergeRequest]:
        """Returns the merge requests that hold a commit: the open ones, or the one that brought it in."""

    def open_merge_request(self, branch: str, into: str, title: str, text: str) -> str:
        """Opens a merge request, unless the branch has an open one, and returns its address.

        Args:
            branch: What is to be merged; the forge has it.
            into: The branch that it goes into.
            title: A line.
            text: The description, as Markdown.
        """

    def changed_since(self, moment: datetime) -> Sequence[str]:
        """Returns the numbers of the open merge requests that something was written or pushed to since."""

    def upload(self, name: str, content: bytes) -> str:
        """Keeps a picture for notes and returns its address; empty if there is no place for it."""

    def discussion(self, number: str) -> Discussion:
        """Returns the merge request of a number."""

    def role(self, person: str) -> Role:
        """Returns what a person may do in this project, by the name on the forge."""

    def read_text(self, path: str, revision: str) -> str:
        """Returns a file of a branch or commit; empty if it is not there."""

    def is_running(self, pipeline: str) -> bool:
        """Returns whether a pipeline, or a workflow's run, has not ended yet."""

    def cancel(self, pipeline: str) -> None:
        """Ends a pipeline, or a workflow's run; one that has ended stays as it is."""

    def start(self, branch: str, variables: Mapping[str, str]) -> tuple[str, str]:
        """Starts a pipeline, or a workflow's run, of a branch: apart from what protected branches have.

        Returns:
            Its number, and the commit that it is of.
        """


class Forge(Protocol):
    """A kind of forge.

    Attributes:
        name: As people call it.
        token: The variable that has the token.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 (above)

    @property
    def token(self) -> str: ...  # noqa: D102

    def job(self, environment: Mapping[str, str]) -> Job | None:
        """Returns the job that the environment tells of; None if it is none of this forge."""

    def open(self, environment: Mapping[str, str], repository: str = "") -> Project:
        """Returns a project.

        Args:
            environment: Has the token, and in a job the project.
            repository: Address of the Git repository; the job's project if empty.

        Raises:
            UsageError: There is no token, or no project is named.
            NbshipError: The forge refuses, or does not answer.
        """
