"""A merge request as a place to talk and act: notes, reactions, labels, when it was pushed to, its merge."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from nbship.ci.forge import Discussion, Note, Reaction, Standing
from nbship.ci.gitlab_client import ONCE, created, explained

if TYPE_CHECKING:
    from gitlab import Gitlab
    from gitlab.v4.objects import Project, ProjectMergeRequest, ProjectMergeRequestNote

_REACTIONS: Mapping[Reaction, str] = {"seen": "eyes", "done": "rocket", "refused": "confused"}
# Users that are made for access tokens, service accounts and GitLab itself.
_BOTS = re.compile(r"(project|group)_\d+_bot.*|service_account_.*|ghost\d*|GitLab(-Admin)?-Bot|.*-bot")
# What the rules forbid: no permission, not mergeable, another head, failed checks.
_NO_MERGE = (401, 403, 405, 406, 409, 422)


def user_of(server: Gitlab) -> int | None:
    """Returns the number of the token's user."""
    if server.user is None:
        server.auth()
    return int(server.user.id) if server.user else None


def discuss(project: Project, number: str) -> Discussion:
    """Returns a merge request, as `ci.forge` asks for it."""
    return _Conversation(project, number)


@dataclass(frozen=True)
class _Conversation:
    """A merge request."""

    project: Project
    number: str

    def standing(self) -> Standing:
        found = self._request()
        return Standing(
            head=str(found.sha),
            branch=str(found.source_branch),
            target=str(found.target_branch),
            default_branch=str(self.project.default_branch),
            ref=f"refs/merge-requests/{self.number}/head",
            fork=found.source_project_id != found.target_project_id,
            open=found.state == "opened",
        )

    def notes(self) -> list[Note]:
        with explained(self.project.manager.gitlab):
            listed = self._lazy().notes.list(sort="asc", order_by="created_at", iterator=True)
            me = user_of(self.project.manager.gitlab)
            return [_note(each, me) for each in listed if not each.system]

    def head_at(self, moment: datetime) -> str:
        """By the versions of its changes, of which each push makes one, with the server's time."""
        with explained(self.project.manager.gitlab):
            # The newest first. One of the same moment may have come after.
            listed = self._lazy().diffs.list(iterator=True)
            return next((str(v.head_commit_sha) for v in listed if _time(v.created_at) < moment), "")

    def add(self, text: str) -> Note:
        def find() -> Note | None:
            return next((note for note in self.notes() if note.own and note.text == text), None)

        def make() -> Note:
            me = user_of(self.project.manager.gitlab)
            return _note(self._lazy().notes.create({"body": text}, **ONCE), me)

        with explained(self.project.manager.gitlab):
            return created(make, find)

    def change(self, note: str, text: str) -> None:
        with explained(self.project.manager.gitlab):
            self._lazy().notes.update(int(note), {"body": text})

    def remove(self, note: str) -> None:
        from gitlab.exceptions import GitlabDeleteError

        with explained(self.project.manager.gitlab), suppress(GitlabDeleteError):
            self._lazy().notes.delete(int(note))

    def react(self, note: str, reaction: Reaction) -> None:
        from gitlab.exceptions import GitlabCreateError

        with explained(self.project.manager.gitlab):
            place = self._lazy().notes.get(int(note), lazy=True)
            try:
                place.awardemojis.create({"name": _REACTIONS[reaction]})
            except GitlabCreateError as error:
                # GitLab refuses one that is there already.
                if "already been taken" not in str(error.error_message):
                    raise

    def label(self, add: Sequence[str], remove: Sequence[str]) -> None:
        # Two lists that are empty are no change, which GitLab refuses.
        wanted = {"add_labels": ",".join(add), "remove_labels": ",".join(remove)}
        changes = {key: value for key, value in wanted.items() if value}
        if changes:
            with explained(self.project.manager.gitlab):
                self.project.mergerequests.update(int(self.number), changes)

    def merge(self, head: str) -> str:
        from gitlab.exceptions import GitlabError

        with explained(self.project.manager.gitlab):
            try:
                self._lazy().merge(sha=head)
            except GitlabError as error:
                if self._request().state == "merged":
                    return ""
                if error.response_code not in _NO_MERGE:
                    raise
                return f"{error.error_message} ({error.response_code})"
        return ""

    def _request(self) -> ProjectMergeRequest:
        with explained(self.project.manager.gitlab):
            return self.project.mergerequests.get(int(self.number))

    def _lazy(self) -> ProjectMergeRequest:
        return self.project.mergerequests.get(int(self.number), lazy=True)


def _note(found: ProjectMergeRequestNote, me: int | None) -> Note:
    """GitLab does not tell whether a note was edited: its time of change moves with each reaction as well."""
    author = str(found.author.get("username") or "")
    return Note(
        id=str(found.get_id()),
        author=author,
        text=str(found.body),
        written=_time(found.created_at),
        bot=_BOTS.fullmatch(author) is not None,
        own=found.author["id"] == me,
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
