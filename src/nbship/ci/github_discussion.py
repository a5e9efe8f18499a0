"""A pull request as a place to talk and act: comments, reactions, labels, times of pushes, its merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from nbship.ci.forge import Discussion, Note, Reaction, Standing
from nbship.ci.github_client import Client, user_of
from nbship.errors import NbshipError

_REACTIONS: Mapping[Reaction, str] = {"seen": "eyes", "done": "rocket", "refused": "confused"}
# The forge's own rules forbid a merge: not mergeable, another head, an invalid state, no permission to do it.
_NO_MERGE = (403, 405, 409, 422)


def discuss(client: Client, number: int) -> Discussion:
    """Returns a merge request, as `ci.forge` asks for it."""
    return _Conversation(client, number)


@dataclass(frozen=True)
class _Conversation:
    """A pull request."""

    client: Client
    number: int

    def standing(self) -> Standing:
        found = self._pull()
        head = found["head"]
        # A fork may be deleted while its request is open.
        source = (head["repo"] or {}).get("full_name", "")
        return Standing(
            head=str(head["sha"]),
            branch=str(head["ref"]),
            target=str(found["base"]["ref"]),
            default_branch=str(found["base"]["repo"]["default_branch"]),
            ref=f"refs/pull/{self.number}/head",
            fork=source.lower() != self.client.address.repository.lower(),
            open=found["state"] == "open",
        )

    def notes(self) -> list[Note]:
        listed = list(self.client.pages(f"issues/{self.number}/comments"))
        me = user_of(self.client) if listed else ""
        return [_note(each, me) for each in listed]

    def head_at(self, moment: datetime) -> str:
        """By the repository's activity, which has a push's time from the server and not from its commits."""
        head = self._pull()["head"]
        repository = (head["repo"] or {}).get("full_name")
        if not repository:
            return ""
        try:
            pushes = self.client.pages(f"/repos/{repository}/activity", ref=f"refs/heads/{head['ref']}")
            # The newest first. One of the same second may have come after.
            return next((str(p["after"]) for p in pushes if _time(p["timestamp"]) < moment), "")
        except NbshipError:
            return ""

    def add(self, text: str) -> Note:
        try:
            made = self.client.send("POST", f"issues/{self.number}/comments", {"body": text})
        except NbshipError:
            # Nobody knows whether it was made.
            found = [note for note in self.notes() if note.own and note.text == text]
            if not found:
                raise
            return found[0]
        return _note(made, str((made["user"] or {}).get("login")))

    def change(self, note: str, text: str) -> None:
        self.client.send("PATCH", f"issues/comments/{note}", {"body": text})

    def remove(self, note: str) -> None:
        self.client.send("DELETE", f"issues/comments/{note}", missing=True)

    def react(self, note: str, reaction: Reaction) -> None:
        self.client.send("POST", f"issues/comments/{note}/reactions", {"content": _REACTIONS[reaction]})

    def label(self, add: Sequence[str], remove: Sequence[str]) -> None:
        if add:
            self.client.send("POST", f"issues/{self.number}/labels", {"labels": [*add]})
        for name in remove:
            path = f"issues/{self.number}/labels/{quote(name, safe='')}"
            self.client.send("DELETE", path, missing=True)

    def merge(self, head: str) -> str:
        try:
            self.client.send("PUT", f"pulls/{self.number}/merge", {"sha": head})
        except NbshipError as error:
            found = self._pull()
            if found["merged"]:
                return ""
            if not any(f"({status})" in error.message for status in _NO_MERGE):
                raise
            return error.message.partition(": ")[2]
        return ""

    def _pull(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.send("GET", f"pulls/{self.number}")
        return found


def _note(found: Mapping[str, Any], me: str) -> Note:
    person = found["user"] or {}
    author = str(person.get("login") or "")
    return Note(
        id=str(found["id"]),
        author=author,
        text=str(found["body"] or ""),
        written=_time(found["created_at"]),
        edited=found["updated_at"] != found["created_at"],
        bot=person.get("type") != "User",
        own=bool(author) and author == me,
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
