"""Asks the forge for comments that nobody has answered: for a schedule, and for what no webhook brought.

It keeps nothing: the answers are the record. What becomes of a comment that is found its caller says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from nbship import ci
from nbship.chatops.answers import replies, written_since
from nbship.chatops.commands import is_meant
from nbship.chatops.comments import read_commands
from nbship.chatops.events import Comment
from nbship.chatops.screening import pointer, why_not
from nbship.config import parse_project
from nbship.config.chatops import Chatops
from nbship.errors import UsageError
from nbship.project import SETTINGS

# How far back one looks: for longer than a receiver or a schedule may be down unseen.
WINDOW = timedelta(days=1)
_HOUR = timedelta(hours=1)


def unanswered(
    project: ci.Project, forge: str, path: str, now: datetime, limit: int, window: timedelta = WINDOW
) -> Iterator[Comment]:
    """Yields the comments that may hold commands and that have no answer of ours, without their text.

    Args:
        project: Is asked.
        forge: "gitlab" or "github".
        path: The project's.
        now: With a time zone.
        limit: Comments of one person on a request that are answered in an hour; what is beyond is left, as
            the job would leave it.
        window: How old they may be.

    Raises:
        NbshipError: The forge refuses, or does not answer.
    """
    for number in project.changed_since(now - window):
        notes = project.discussion(number).notes()
        answers = replies(notes)
        answered = {reply.comment for _, reply in answers}
        begun: dict[str, int] = {}
        for note in notes:
            if note.id in answered or note.bot or note.own or now - note.written > window:
                continue
            comment = Comment(forge, path, number, note.id, note.author, note.text, note.written)
            if why_not(comment, path, now) or not _is_meant(note.text):
                continue
            begun.setdefault(note.author, written_since(answers, note.author, note.written - _HOUR))
            begun[note.author] += 1
            if begun[note.author] <= limit:
                yield pointer(comment, path)


def look(environment: Mapping[str, str], forge: str, path: str, branch: str, now: datetime) -> list[Comment]:
    """Finds the comments of a project that nobody has answered.

    Args:
        environment: Has the forge's token, `NBSHIP_GITLAB_TOKEN` or `NBSHIP_GITHUB_TOKEN`, and its address.
        forge: "gitlab" or "github".
        path: The project's.
        branch: Whose `nbship.yaml` says how many comments of one person are answered.
        now: With a time zone.

    Raises:
        UsageError: There is no token.
        NbshipError: The forge refuses, or does not answer.
    """
    known = next(each for each in ci.FORGES if each.name.lower() == forge)
    # As a job of the project has it.
    of_job = {"GITHUB_API_URL": "https://api.github.com", **environment, "GITHUB_REPOSITORY": path}
    project = known.open({**of_job, "CI_PROJECT_PATH": path})
    try:
        shared = parse_project(project.read_text(SETTINGS, branch), f"{SETTINGS} of {branch}")
        limit = (shared.chatops or Chatops()).limit
    except UsageError:  # the answer to each comment says so
        limit = Chatops().limit
    return list(unanswered(project, forge, path, now, limit))


def _is_meant(text: str) -> bool:
    try:
        return any(is_meant(line) for line in read_commands(text))
    except UsageError:  # it is answered with what is wrong
        return True
