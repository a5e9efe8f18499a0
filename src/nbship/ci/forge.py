"""What nbship asks of a forge, such as GitLab: what started a CI job, and to be told how a run ended.

Protocols, plain values, and one wording of what a forge answers. A forge is a module beside this one, and a
line in `nbship.ci.FORGES`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit

from nbship.errors import NbshipError

# Forges start no CI for a commit that says this.
SKIP_CI = "[skip ci]"
Event = Literal["push", "merge request", "schedule", "manual"]
RunState = Literal["succeeded", "failed", "rejected"]

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
    """

    event: Event | None = None
    branch: str = ""
    head: str = ""
    base: str = ""
    default_branch: str = ""
    number: str = ""
    artifacts: str = ""
    project: str = ""


class MergeRequest(Protocol):
    """A merge request, or a pull request."""

    def read_note(self, mark: str) -> str:
        """Returns our note, the text that begins with a mark; empty if there is none."""

    def write_note(self, mark: str, text: str) -> str:
        """Writes our note in place of the one that is there, and returns its address."""


class Project(Protocol):
    """A project on a forge; every method raises an NbshipError if the forge refuses or does not answer."""

    def set_status(self, commit: str, state: RunState, name: str, description: str, link: str) -> None:
        """Sets a commit's status.

        Args:
            commit: The whole hash.
            state: How a run of it ended.
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

    def upload(self, name: str, content: bytes) -> str:
        """Keeps a picture for notes and returns its address; empty if there is no place for it."""


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
