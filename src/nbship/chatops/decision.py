"""Decides what of a comment is done: by who wrote it, for which commit, and what else runs on the request.

Asks the forge, and changes nothing there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from nbship import ci
from nbship.chatops.answers import FINAL, Reply, replies, written_since
from nbship.chatops.commands import COMMANDS, Asked, Parse, understood
from nbship.chatops.comments import Line, read_commands
from nbship.chatops.events import LONGEST_TEXT, Comment
from nbship.chatops.rights import may, needed
from nbship.config import parse_project
from nbship.config.chatops import Chatops
from nbship.errors import NbshipError, UsageError
from nbship.project import SETTINGS
from nbship.workflow.note import plain

_HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_WINDOW = timedelta(hours=1)
EDITED = "The comment was edited. Write a new one."


@dataclass(frozen=True)
class CommandContext:
    """Where a comment stands, as the forge has it now.

    Attributes:
        project: The project.
        discussion: The merge request.
        notes: All comments on it.
        note: The comment itself.
        standing: Where the merge request stands.
        settings: What `nbship.yaml` says, on the branch that is merged into.
        problem: Why that is not understood; empty if it is.
    """

    project: ci.Project
    discussion: ci.Discussion
    notes: Sequence[ci.Note]
    note: ci.Note
    standing: ci.Standing
    settings: Chatops
    problem: str = ""

    @property
    def replies(self) -> list[tuple[ci.Note, Reply]]:
        """Our replies to comments, the oldest first."""
        return replies(self.notes)


@dataclass(frozen=True)
class CommandDecision:
    """What becomes of one line.

    Attributes:
        line: The line.
        asked: What is to be done; None if nothing is.
        refusal: Why nothing is, as Markdown.
    """

    line: Line
    asked: Asked | None = None
    refusal: str = ""


def find_place(project: ci.Project, comment: Comment) -> CommandContext | None:
    """Returns where a comment stands; None if it is gone, or a program's.

    Raises:
        UsageError: The event tells of another author.
    """
    discussion = project.discussion(comment.number)
    notes = discussion.notes()
    note = next((note for note in notes if note.id == comment.id), None)
    if note is None or note.bot or note.own:
        return None
    if note.author.lower() != comment.author.lower():
        raise UsageError(
            f"comment {comment.id} is not by {comment.author}", "the event and the forge disagree"
        )
    standing = discussion.standing()
    text = project.read_text(SETTINGS, standing.target)
    place = CommandContext(project, discussion, notes, note, standing, Chatops())
    try:
        shared = parse_project(text, f"{SETTINGS} of {standing.target}")
    except UsageError as error:
        return replace(place, problem=error.message)
    return replace(place, settings=shared.chatops or Chatops())


def within_limit(place: CommandContext) -> bool:
    """Returns whether the author may have one more comment answered in this hour."""
    before = [(note, reply) for note, reply in place.replies if reply.comment != place.note.id]
    since = place.note.written - _WINDOW
    return written_since(before, place.note.author, since) < place.settings.limit


def busy(place: CommandContext, pipeline: str) -> Reply | None:
    """Returns the reply to an earlier comment that is still worked; by whom, the forge knows.

    Args:
        place: Where the comment stands.
        pipeline: This one.
    """
    for _, reply in place.replies:
        if reply.comment == place.note.id:
            return None
        runs = (each for each in (reply.pipeline, reply.other) if each and each != pipeline)
        waits = any(entry.state not in FINAL and _occupies(entry.command) for entry in reply.entries)
        if waits and any(place.project.is_running(each) for each in runs):
            return reply
    return None


def _occupies(line: str) -> bool:
    """Whether a command does more than to talk."""
    return any(each.name in COMMANDS and COMMANDS[each.name].part != "answer" for each in read_commands(line))


def decide(
    place: CommandContext, comment: Comment, lines: Sequence[Line], parse: Parse
) -> list[CommandDecision]:
    """Decides of each line."""
    role = place.project.role(place.note.author)
    edited = comment.text and place.note.text[:LONGEST_TEXT] != comment.text[:LONGEST_TEXT]
    if edited or place.note.edited:
        return [CommandDecision(line, refusal=EDITED) for line in lines]
    seen: list[str] = []
    found = []
    begun = next((reply.entries for _, reply in place.replies if reply.comment == place.note.id), ())
    for index, line in enumerate(lines):
        try:
            asked = understood(line, parse)
            _check_right(place, asked, role)
            if asked.command.part != "answer":
                _check_branches(place, asked)
            if asked.command.part != "answer" and asked.command.of_commit:
                if not (index < len(begun) and begun[index].state == "running"):
                    _check_open(place)
                seen = seen or [_seen(place)]
                _check_commit(place, seen[0])
            found.append(CommandDecision(line, asked))
        except NbshipError as error:
            hint = f" _{plain(error.hint)}_" if error.hint else ""
            found.append(CommandDecision(line, refusal=f"{plain(error.message)}.{hint}"))
    return found


def _check_right(place: CommandContext, asked: Asked, role: ci.Role) -> None:
    command = asked.command
    if place.problem:
        raise NbshipError(place.problem, "correct it on that branch")
    least = needed(place.settings, command.right, asked.stage)
    if not may(role, least):
        where = f" to {asked.stage}" if asked.stage else ""
        raise NbshipError(
            f"/{asked.line.name}{where} takes the role {least}, and {place.note.author} has {role}",
            f"{SETTINGS} of {place.standing.target} says so: chatops.rights",
        )


def _check_open(place: CommandContext) -> None:
    """What was begun goes on: it may be that itself which merged the request."""
    if not place.standing.open:
        raise NbshipError("the request is closed", "open it again")


def _check_branches(place: CommandContext, asked: Asked) -> None:
    if place.standing.fork and asked.command.part == "code":
        # It would run where this project's branches run.
        raise NbshipError(
            f"/{asked.line.name} does not run code of a fork",
            "see what its own jobs say; push the commit to a branch here; or, once approved: /submit",
        )
    if place.standing.target != place.standing.default_branch:
        # Who may push to another branch could give himself rights there.
        raise NbshipError(
            f"the request's target is not {place.standing.default_branch}, whose rights apply",
            "change its target",
        )


def _check_commit(place: CommandContext, seen: str) -> None:
    head = place.standing.head
    if place.standing.fork and seen != head:
        raise NbshipError(
            f"the request comes from a fork, and nobody approved its commit {head}",
            f"look at it; somebody with that role writes: /nbship approve {head}",
        )
    if not seen:
        raise NbshipError(
            "the forge does not tell at which commit the request was when this was written",
            f"somebody with that role approves the commit first: /nbship approve {head}",
        )
    if seen != head:
        raise NbshipError(
            f"the request was at {seen[:12]} when this was written, and is at {head[:12]} now",
            "look at what was pushed, and write it again",
        )


def _seen(place: CommandContext) -> str:
    """The commit that the author had before his eyes, or that somebody approved."""
    head = place.standing.head
    if not place.standing.fork:
        # By the forge's times: whoever starts a job could name any commit.
        seen = place.discussion.head_at(place.note.written)
        if seen:
            return seen
    return head if _approved(place, head) else ""


def _approved(place: CommandContext, head: str) -> bool:
    """Whether a comment that was not edited approves a commit, and we answered it: both have to say so."""
    answered = {reply.comment for _, reply in place.replies if reply.approved == head}
    least = needed(place.settings, "approve")
    for note in place.notes:
        if note.id not in answered or note.edited or note.bot or not _HASH.fullmatch(head):
            continue
        with_hash = any(line.name == "approve" and line.words == (head,) for line in read_commands(note.text))
        if with_hash and may(place.project.role(note.author), least):
            return True
    return False
