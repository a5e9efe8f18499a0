"""What starts the work: a comment on a merge request, as an event of the forge or a job's variables tell it.

Whoever reaches a forge by a webhook, or by asking it again and again, makes a `Comment`, and starts a job
with its `variables`. Nothing here is believed: the work reads the comment from the forge once more, with
author and text, and asks the forge which commit the author saw. A text that differs is taken for an edit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nbship.errors import UsageError

PREFIX = "NBSHIP_COMMENT_"
# Forges keep longer texts than variables of a job may be.
LONGEST_TEXT = 10_000
_GITHUB_EVENT = "issue_comment"


@dataclass(frozen=True)
class Comment:
    """A comment on a merge request that may hold commands.

    Attributes:
        forge: "github" or "gitlab".
        project: Its path on the forge, such as group/name.
        number: The merge request's.
        id: The comment's: what makes repeats recognisable.
        author: Name on the forge, without @.
        text: As the event tells it, in Markdown; a longer one than `LONGEST_TEXT` is cut in variables.
        written: When, with a time zone.
    """

    forge: str
    project: str
    number: str
    id: str
    author: str
    text: str
    written: datetime

    @property
    def variables(self) -> dict[str, str]:
        """What a job must be given to read the same comment: `NBSHIP_COMMENT_ID` and the like."""
        values = {
            "FORGE": self.forge,
            "PROJECT": self.project,
            "NUMBER": self.number,
            "ID": self.id,
            "AUTHOR": self.author,
            "TEXT": self.text[:LONGEST_TEXT],
            "WRITTEN": self.written.astimezone(UTC).isoformat(),
        }
        return {PREFIX + key: value for key, value in values.items()}


def read_comment(environment: Mapping[str, str]) -> Comment | None:
    """Reads the comment that a job is about.

    Args:
        environment: `NBSHIP_COMMENT_…`, or in a workflow of GitHub the path of its event.

    Returns:
        The comment; None if the event starts nothing: an edited comment, one on an issue, or
        one that an app wrote.

    Raises:
        UsageError: The job is about no comment.
    """
    if environment.get(f"{PREFIX}ID"):
        return _from_variables(environment)
    if environment.get("GITHUB_EVENT_NAME") == _GITHUB_EVENT:
        told = json.loads(Path(environment["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
        return github_comment(told)
    raise UsageError(
        "this job was not started by a comment",
        f"start it by a comment: a workflow on issue_comment, or a pipeline with {PREFIX}ID and the others",
    )


def github_comment(told: Mapping[str, Any]) -> Comment | None:
    """Reads GitHub's event `issue_comment`; None if it is none that may start anything."""
    comment, issue = told["comment"], told["issue"]
    person = comment.get("user") or {}
    if told.get("action") != "created" or "pull_request" not in issue or person.get("type") != "User":
        return None
    return Comment(
        forge="github",
        project=str(told["repository"]["full_name"]),
        number=str(issue["number"]),
        id=str(comment["id"]),
        author=str(person["login"]),
        text=str(comment.get("body") or ""),
        written=_time(str(comment["created_at"])),
    )


def _from_variables(environment: Mapping[str, str]) -> Comment:
    def value(key: str) -> str:
        return environment.get(PREFIX + key, "")

    missing = [key for key in ("FORGE", "PROJECT", "NUMBER", "AUTHOR", "WRITTEN") if not value(key)]
    if missing or not (value("NUMBER") + value("ID")).isdigit():
        wrong = ", ".join(PREFIX + key for key in missing) or f"{PREFIX}NUMBER and {PREFIX}ID as numbers"
        raise UsageError(
            f"the job's variables do not describe a comment: {wrong}", "see the guide to comments"
        )
    return Comment(
        forge=value("FORGE"),
        project=value("PROJECT"),
        number=value("NUMBER"),
        id=value("ID"),
        author=value("AUTHOR"),
        text=value("TEXT"),
        written=_time(value("WRITTEN")),
    )


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"'{text[:40]}' is not a time", "as in 2026-01-31T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
