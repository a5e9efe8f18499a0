"""GitLab: the variables of its jobs, and its API: statuses of commits, merge requests, their notes, uploads.

Built on python-gitlab. What is written there is the business of `workflow.merge_request`. The token is sent
to the server alone that CI's variables or the repository's address name, and is in no error. `GITLAB`, at the
end, offers it as `nbship.ci.forge` asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from nbship.ci.forge import TOO_MANY, Event, Job, RunState, refusal, split_address
from nbship.errors import NbshipError, UsageError, without_credentials

if TYPE_CHECKING:
    from gitlab import Gitlab
    from gitlab.exceptions import GitlabError
    from gitlab.v4.objects import Project, ProjectMergeRequest, ProjectMergeRequestNote

T = TypeVar("T")

TOKEN = "NBSHIP_GITLAB_TOKEN"  # noqa: S105 (the name of a variable)
URL = "NBSHIP_GITLAB_URL"
CA = "NBSHIP_GITLAB_CA"
_TIMEOUT = 30.0
# Before each repetition of what must not be made twice, in seconds; the library repeats everything else.
_PAUSES = (0.2, 1.0, 5.0)
_ONCE: Mapping[str, Any] = {"retry_transient_errors": False, "obey_rate_limit": False}
_LONGEST_DESCRIPTION = 255
_NEEDED = f"check {TOKEN}: not expired, scope api, and the role Developer in this project"
_EVENTS: Mapping[str, Event] = {
    "merge_request_event": "merge request",
    "schedule": "schedule",
    "web": "manual",
}
# One of these is set in every job, and in what plays one.
_OF_JOBS = ("GITLAB_CI", "CI_PIPELINE_SOURCE", "CI_COMMIT_BRANCH", "CI_COMMIT_REF_NAME", "CI_PROJECT_PATH")
# What a merge request is compared with: in a pipeline for merged results the branch that it is merged into,
# which the commit that runs holds as well; else where the two branches parted.
_BASES = ("CI_MERGE_REQUEST_TARGET_BRANCH_SHA", "CI_MERGE_REQUEST_DIFF_BASE_SHA")
_STATES: Mapping[RunState, str] = {"succeeded": "success", "failed": "failed", "rejected": "failed"}


@dataclass(frozen=True)
class Address:
    """A project: the server, such as https://gitlab.example.org, and the path, such as group/name."""

    server: str
    project: str


def read_job(environment: Mapping[str, str]) -> Job | None:
    """Reads GitLab's variables; None if there are none."""
    if not any(map(environment.get, _OF_JOBS)):
        return None
    # Only GitLab keeps files, so a job that was run by hand has none.
    address = environment.get("CI_JOB_URL", "") if environment.get("GITLAB_CI") == "true" else ""
    return Job(
        event=_EVENTS.get(environment.get("CI_PIPELINE_SOURCE", ""), "push"),
        branch=environment.get("CI_COMMIT_BRANCH", ""),
        head=environment.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")
        or environment.get("CI_COMMIT_REF_NAME", ""),
        base=next(filter(None, map(environment.get, _BASES)), ""),
        default_branch=environment.get("CI_DEFAULT_BRANCH", ""),
        number=environment.get("CI_MERGE_REQUEST_IID", ""),
        artifacts=address and f"{address}/artifacts/file",
        project=environment.get("CI_PROJECT_PATH", ""),
    )


def find_address(environment: Mapping[str, str], repository: str = "") -> Address:
    """Finds the project.

    Args:
        environment: `CI_SERVER_URL` and `CI_PROJECT_PATH` in a CI job; `NBSHIP_GITLAB_URL` if the server's
            address has a path, or cannot be told from the repository's.
        repository: Address of the Git repository; CI's project if empty.

    Raises:
        UsageError: Neither names a project.
    """
    server = environment.get(URL, "").rstrip("/")
    if not repository and environment.get("CI_PROJECT_PATH"):
        return Address(server or environment.get("CI_SERVER_URL", ""), environment["CI_PROJECT_PATH"])
    host, path = split_address(repository)
    path = path.removeprefix(urlsplit(server).path).strip("/").removesuffix(".git")
    if not host or "/" not in path:
        raise UsageError(
            f"the repository's address is not a GitLab project's: '{without_credentials(repository)}'",
            "it should be like https://gitlab.example.org/group/name.git: git remote -v",
        )
    return Address(server or host, path)


def open_project(environment: Mapping[str, str], repository: str = "") -> Project:
    """Returns a project that can be asked and written to.

    Args:
        environment: The token is in `NBSHIP_GITLAB_TOKEN`; a private authority's certificates in the file
            that `NBSHIP_GITLAB_CA`, or in a CI job `CI_SERVER_TLS_CA_FILE`, names.
        repository: As for `find_address`.

    Raises:
        UsageError: There is no token, or no project is named.
        NbshipError: The extra is not installed; or GitLab refuses, or does not answer.
    """
    address = find_address(environment, repository)
    token = environment.get(TOKEN, "").strip()
    if not token:
        raise UsageError(
            f"there is no token for {address.server}", f"set {TOKEN} to one with the scope api; see the guide"
        )
    try:
        import gitlab
    except ModuleNotFoundError:
        raise NbshipError("python-gitlab is not installed", "pip install 'nbship[gitlab]'") from None
    authority = environment.get(CA) or environment.get("CI_SERVER_TLS_CA_FILE") or True
    # As a bearer token it is not sent on when the server redirects to another host.
    server = gitlab.Gitlab(
        address.server,
        oauth_token=token,
        timeout=_TIMEOUT,
        ssl_verify=authority,
        retry_transient_errors=True,
        keep_base_url=True,
    )
    with _explained(server):
        return server.projects.get(address.project)


def set_status(project: Project, commit: str, state: str, name: str, description: str, link: str) -> None:
    """Sets a commit's status; one that is set already stays.

    Args:
        project: The project.
        commit: The whole hash.
        state: In GitLab's words: pending, running, success, failed, canceled.
        name: By which it is told from other statuses, and replaced.
        description: A line; what is too long is cut.
        link: Where to read more; may be empty.

    Raises:
        NbshipError: GitLab refuses, or does not answer.
    """
    text = description if len(description) <= _LONGEST_DESCRIPTION else description[:254] + "…"
    status = {"state": state, "name": name, "description": text} | ({"target_url": link} if link else {})
    with _explained(project.manager.gitlab):
        from gitlab.exceptions import GitlabCreateError

        try:
            project.commits.get(commit, lazy=True).statuses.create(status)
        except GitlabCreateError as error:
            # So GitLab words that a status already is what it should become.
            if "Cannot transition status" not in str(error.error_message):
                raise


def open_merge_requests(project: Project, branch: str, number: str = "") -> list[ProjectMergeRequest]:
    """Returns the open merge requests of a branch of this project, not of a fork's branch of that name.

    Args:
        project: The project.
        branch: Their source.
        number: The merge request's number, where CI names one.

    Raises:
        NbshipError: GitLab refuses, or does not answer.
    """
    with _explained(project.manager.gitlab):
        if number:
            found = [project.mergerequests.get(number)]
            return [each for each in found if each.state == "opened"]
        listed = project.mergerequests.list(source_branch=branch, state="opened", get_all=True)
        return [each for each in listed if each.source_project_id == project.id]


def merge_requests_of(project: Project, commit: str) -> list[ProjectMergeRequest]:
    """Returns the merge requests that hold a commit: the open ones, or else the one that brought it in.

    Raises:
        NbshipError: GitLab refuses, or does not answer.
    """
    with _explained(project.manager.gitlab):
        listed = list(project.commits.get(commit, lazy=True).merge_requests(get_all=True))
        opened = [each["iid"] for each in listed if each["state"] == "opened"]
        merged = [each["iid"] for each in listed if each["state"] == "merged"]
        return [project.mergerequests.get(number) for number in opened or merged[:1]]


def read_note(merge_request: ProjectMergeRequest, mark: str) -> str:
    """Returns our note on a merge request, the text that begins with a mark; empty if there is none.

    Raises:
        NbshipError: GitLab refuses, or does not answer.
    """
    with _explained(merge_request.manager.gitlab):
        return str(next((note.body for note in _own_notes(merge_request, mark)), ""))


def write_note(merge_request: ProjectMergeRequest, mark: str, text: str) -> str:
    """Writes our note on a merge request, in place of the one that is there.

    Args:
        merge_request: The merge request.
        mark: With what the note begins, by which it is found again.
        text: The whole note.

    Returns:
        The note's address.

    Raises:
        NbshipError: GitLab refuses, or does not answer.
    """
    from gitlab.exceptions import GitlabDeleteError

    with _explained(merge_request.manager.gitlab):
        notes = _own_notes(merge_request, mark) or _created(
            lambda: [merge_request.notes.create({"body": text}, **_ONCE)],
            lambda: _own_notes(merge_request, mark),
        )
        first, *others = notes
        if first.body != text:
            first.body = text
            first.save()
        # Two jobs at once may each have made one; and each deletes the other's.
        for other in others:
            with suppress(GitlabDeleteError):
                other.delete()
    return f"{merge_request.web_url}#note_{first.get_id()}"


def open_merge_request(project: Project, branch: str, into: str, title: str, text: str) -> str:
    """Opens a merge request, unless the branch has an open one, and returns its address.

    Raises:
        NbshipError: GitLab refuses, or does not answer.
    """
    wanted = {"source_branch": branch, "target_branch": into, "title": title[:_LONGEST_DESCRIPTION]}
    settings = {**wanted, "description": text, "remove_source_branch": True}

    def find() -> list[Any]:
        return list(open_merge_requests(project, branch))

    with _explained(project.manager.gitlab):
        found = find() or _created(lambda: [project.mergerequests.create(settings, **_ONCE)], find)
        return str(found[0].web_url)


def upload(project: Project, name: str, content: bytes) -> str:
    """Uploads a file to the project and returns the address by which its texts show it: /uploads/….

    Raises:
        NbshipError: GitLab refuses, or does not answer.
    """
    with _explained(project.manager.gitlab):
        answer = _created(lambda: project.upload(name, filedata=content, **_ONCE), lambda: None)
        return str(answer["url"])


def _own_notes(merge_request: ProjectMergeRequest, mark: str) -> list[ProjectMergeRequestNote]:
    """Our notes, the oldest first; one that somebody else began with the same mark is not ours."""
    server = merge_request.manager.gitlab
    if server.user is None:
        server.auth()
    listed = merge_request.notes.list(sort="asc", order_by="created_at", iterator=True)
    user = server.user.id if server.user else None
    return [note for note in listed if note.body.startswith(mark) and note.author["id"] == user]


def _created(make: Callable[[], T], find: Callable[[], T | None]) -> T:
    """Makes something; when nobody knows whether it was made, it is looked for before it is made again."""
    import requests  # type: ignore[import-untyped]
    from gitlab.exceptions import GitlabError

    for pause in _PAUSES:
        try:
            return make()
        except (GitlabError, requests.ConnectionError, requests.Timeout) as error:
            if isinstance(error, GitlabError) and not _may_pass(error):
                raise
        time.sleep(pause)
        found = find()
        if found:
            return found
    return make()


def _may_pass(error: GitlabError) -> bool:
    status = error.response_code or 0
    return status == TOO_MANY or status >= 500


@contextmanager
def _explained(server: Gitlab) -> Iterator[None]:
    """Says what went wrong, and what to do."""
    import requests
    from gitlab.exceptions import GitlabError

    address = server.url
    try:
        yield
    except GitlabError as error:
        status = error.response_code or 0
        said, token = str(error.error_message), server.oauth_token or ""
        raise refusal(address, status, said, token, _NEEDED) from None
    except requests.exceptions.SSLError:
        raise NbshipError(
            f"{address}: its certificate is not trusted",
            f"set {CA} to the file with your authority's certificates",
        ) from None
    except requests.RequestException as error:
        what = "no answer in time" if isinstance(error, requests.Timeout) else "no connection"
        raise NbshipError(f"{address}: {what}", f"check the network and {URL}") from None


@dataclass(frozen=True)
class _MergeRequest:
    merge_request: ProjectMergeRequest

    def read_note(self, mark: str) -> str:
        return read_note(self.merge_request, mark)

    def write_note(self, mark: str, text: str) -> str:
        return write_note(self.merge_request, mark, text)


@dataclass(frozen=True)
class _Project:
    project: Project

    def set_status(self, commit: str, state: RunState, name: str, description: str, link: str) -> None:
        set_status(self.project, commit, _STATES[state], name, description, link)

    def open_merge_requests(self, branch: str, number: str = "") -> list[_MergeRequest]:
        return [_MergeRequest(each) for each in open_merge_requests(self.project, branch, number)]

    def merge_requests_of(self, commit: str) -> list[_MergeRequest]:
        return [_MergeRequest(each) for each in merge_requests_of(self.project, commit)]

    def open_merge_request(self, branch: str, into: str, title: str, text: str) -> str:
        return open_merge_request(self.project, branch, into, title, text)

    def upload(self, name: str, content: bytes) -> str:
        return upload(self.project, name, content)


@dataclass(frozen=True)
class _GitLab:
    name: str = "GitLab"
    token: str = TOKEN

    def job(self, environment: Mapping[str, str]) -> Job | None:
        return read_job(environment)

    def open(self, environment: Mapping[str, str], repository: str = "") -> _Project:
        return _Project(open_project(environment, repository))


GITLAB = _GitLab()
