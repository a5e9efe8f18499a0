"""GitLab: the variables of its jobs, and its API: statuses of commits, merge requests, their notes, uploads.

Built on python-gitlab. What is written there is the business of `workflow.merge_request`. The token is sent
to the server alone that CI's variables or the repository's address name, and is in no error. `GITLAB`, at the
end, offers it as `nbship.ci.forge` asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from nbship.ci.forge import Discussion, Event, Job, Role, RunState
from nbship.ci.gitlab_client import (
    ONCE,
    TOKEN,
    Address,
    created,
    explained,
    find_address,
    open_project,
)
from nbship.ci.gitlab_discussion import discuss, user_of

if TYPE_CHECKING:
    from gitlab.v4.objects import Project, ProjectMergeRequest, ProjectMergeRequestNote

__all__ = ["GITLAB", "TOKEN", "Address", "find_address", "open_project", "read_job"]

_LONGEST_DESCRIPTION = 255
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
_STATES: Mapping[RunState | Literal["running"], str] = {
    "running": "running",
    "succeeded": "success",
    "failed": "failed",
    "rejected": "failed",
}
_ENDED = ("success", "failed", "canceled", "skipped")
# The least access level of each role: Owner, Maintainer, Developer, Reporter.
_LEVELS: Mapping[int, Role] = {50: "admin", 40: "maintain", 30: "write", 20: "read"}
_NOT_FOUND = 404


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
        pipeline=environment.get("CI_PIPELINE_ID", ""),
        link=environment.get("CI_PIPELINE_URL", ""),
    )


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
    with explained(project.manager.gitlab):
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
    with explained(project.manager.gitlab):
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
    with explained(project.manager.gitlab):
        listed = list(project.commits.get(commit, lazy=True).merge_requests(get_all=True))
        opened = [each["iid"] for each in listed if each["state"] == "opened"]
        merged = [each["iid"] for each in listed if each["state"] == "merged"]
        return [project.mergerequests.get(number) for number in opened or merged[:1]]


def read_note(merge_request: ProjectMergeRequest, mark: str) -> str:
    """Returns our note on a merge request, the text that begins with a mark; empty if there is none.

    Raises:
        NbshipError: GitLab refuses, or does not answer.
    """
    with explained(merge_request.manager.gitlab):
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

    with explained(merge_request.manager.gitlab):
        notes = _own_notes(merge_request, mark) or created(
            lambda: [merge_request.notes.create({"body": text}, **ONCE)],
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

    def find() -> list[ProjectMergeRequest]:
        return list(open_merge_requests(project, branch))

    with explained(project.manager.gitlab):
        found = find() or created(lambda: [project.mergerequests.create(settings, **ONCE)], find)
        return str(found[0].web_url)


def upload(project: Project, name: str, content: bytes) -> str:
    """Uploads a file to the project and returns the address by which its texts show it: /uploads/….

    Raises:
        NbshipError: GitLab refuses, or does not answer.
    """
    with explained(project.manager.gitlab):
        answer = created(lambda: project.upload(name, filedata=content, **ONCE), lambda: None)
        return str(answer["url"])


def role_of(project: Project, person: str) -> Role:
    """Returns what somebody may do in a project, by himself or by a group.

    Raises:
        NbshipError: GitLab refuses, or does not answer.
    """
    from gitlab.exceptions import GitlabGetError

    server = project.manager.gitlab
    with explained(server):
        found = [user for user in server.users.list(username=person, get_all=True) if user.username == person]
        if not found:
            return "none"
        try:
            level = project.members_all.get(found[0].id).access_level
        except GitlabGetError as error:
            if error.response_code != _NOT_FOUND:
                raise
            return "none"
    return next((role for least, role in _LEVELS.items() if level >= least), "none")


def read_text(project: Project, path: str, revision: str) -> str:
    """Returns a file of a branch or commit; empty if it is not there.

    Raises:
        NbshipError: GitLab refuses, or does not answer.
    """
    from gitlab.exceptions import GitlabGetError

    with explained(project.manager.gitlab):
        try:
            content = project.files.raw(file_path=path, ref=revision)
        except GitlabGetError as error:
            if error.response_code != _NOT_FOUND:
                raise
            return ""
    return content.decode("utf-8") if isinstance(content, bytes) else ""


def _own_notes(merge_request: ProjectMergeRequest, mark: str) -> list[ProjectMergeRequestNote]:
    """Our notes, the oldest first; one that somebody else began with the same mark is not ours."""
    listed = merge_request.notes.list(sort="asc", order_by="created_at", iterator=True)
    user = user_of(merge_request.manager.gitlab)
    return [note for note in listed if note.body.startswith(mark) and note.author["id"] == user]


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

    def set_status(
        self, commit: str, state: RunState | Literal["running"], name: str, description: str, link: str
    ) -> None:
        set_status(self.project, commit, _STATES[state], name, description, link)

    def open_merge_requests(self, branch: str, number: str = "") -> list[_MergeRequest]:
        return [_MergeRequest(each) for each in open_merge_requests(self.project, branch, number)]

    def merge_requests_of(self, commit: str) -> list[_MergeRequest]:
        return [_MergeRequest(each) for each in merge_requests_of(self.project, commit)]

    def open_merge_request(self, branch: str, into: str, title: str, text: str) -> str:
        return open_merge_request(self.project, branch, into, title, text)

    def changed_since(self, moment: datetime) -> list[str]:
        with explained(self.project.manager.gitlab):
            listed = self.project.mergerequests.list(
                state="opened", updated_after=moment.astimezone(UTC).isoformat(), iterator=True
            )
            return [str(each.iid) for each in listed]

    def upload(self, name: str, content: bytes) -> str:
        return upload(self.project, name, content)

    def discussion(self, number: str) -> Discussion:
        return discuss(self.project, number)

    def role(self, person: str) -> Role:
        return role_of(self.project, person)

    def read_text(self, path: str, revision: str) -> str:
        return read_text(self.project, path, revision)

    def is_running(self, pipeline: str) -> bool:
        with explained(self.project.manager.gitlab):
            return self.project.pipelines.get(int(pipeline)).status not in _ENDED

    def cancel(self, pipeline: str) -> None:
        with explained(self.project.manager.gitlab):
            self.project.pipelines.get(int(pipeline), lazy=True).cancel()

    def start(self, branch: str, variables: Mapping[str, str]) -> tuple[str, str]:
        listed = [{"key": key, "value": value} for key, value in variables.items()]
        with explained(self.project.manager.gitlab):
            made = self.project.pipelines.create({"ref": branch, "variables": listed}, **ONCE)
            return str(made.get_id()), str(made.sha)


@dataclass(frozen=True)
class _GitLab:
    name: str = "GitLab"
    token: str = TOKEN

    def job(self, environment: Mapping[str, str]) -> Job | None:
        return read_job(environment)

    def open(self, environment: Mapping[str, str], repository: str = "") -> _Project:
        return _Project(open_project(environment, repository))


GITLAB = _GitLab()
