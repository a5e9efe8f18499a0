"""What the work of one comment shares: its reply, who has taken it on, and a line of audit for each act."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nbship import ci
from nbship.chatops.answers import FINAL, AnswerEntry, Reply, masked, to_text
from nbship.chatops.commands import Part
from nbship.chatops.decision import EDITED, CommandContext, CommandDecision, busy, within_limit
from nbship.chatops.events import Comment
from nbship.errors import NbshipError, Report

# Where a comment holds more commands than are read.
_NO_LINE = "…"


@dataclass
class Desk:
    """What the work of one comment shares: where it stands, and the reply as it was written last."""

    comment: Comment
    environment: Mapping[str, str]
    place: CommandContext
    report: Report
    root: Path
    note: str = ""
    reply: Reply | None = None
    told: float = 0.0

    @property
    def job(self) -> ci.Job:
        """The job that works it."""
        return ci.current_job(self.environment)

    def write(self, reply: Reply) -> None:
        """Writes the reply, if it is another."""
        if reply != self.reply:
            self.place.discussion.change(self.note, to_text(reply, self.environment))
            self.reply, self.told = reply, time.monotonic()


def claim(desk: Desk, decisions: list[CommandDecision], part: Part | Literal["wait", "end"] | None) -> bool:
    """Finds the reply, or makes it; returns whether it is for this job to go on with it."""
    place = desk.place
    mine = [(note, reply) for note, reply in place.replies if reply.comment == desk.comment.id]
    if mine:
        desk.note, desk.reply = mine[0][0].id, mine[0][1]
        return _take_on(desk, mine[0][1], decisions, part)
    if part not in (None, "answer"):
        return False
    if not decisions or not within_limit(place):
        audit(desk, "", "over the limit")
        decorate(desk, lambda: place.discussion.react(place.note.id, "refused"))
        return False
    decorate(desk, lambda: place.discussion.react(place.note.id, "seen"))
    reply = _first_reply(desk, decisions)
    made = place.discussion.add(to_text(reply, desk.environment))
    desk.note, desk.reply = made.id, reply
    desk.place = replace(place, notes=place.discussion.notes())
    first = next((note for note, each in desk.place.replies if each.comment == desk.comment.id), made)
    if first.id != made.id:
        # The same comment was delivered twice, and somebody was quicker.
        place.discussion.remove(made.id)
        return False
    for decision in decisions:
        audit(desk, decision.line.text, "allowed" if decision.asked else "refused")
    _wait_for_nobody(desk, decisions)
    return True


def _take_on(
    desk: Desk, reply: Reply, decisions: list[CommandDecision], part: Part | Literal["wait", "end"] | None
) -> bool:
    """Goes on with a comment that was begun, unless whoever has begun it lives."""
    job = desk.job
    if reply.final:
        return False
    commands = [masked(each.line.text or _NO_LINE, desk.environment) for each in decisions]
    if [entry.command for entry in reply.entries] != commands:
        for index, entry in enumerate(reply.entries):
            if entry.state not in FINAL:
                reply = reply.with_entry(index, state="refused", text=EDITED)
        desk.write(reply)
        return False
    if not job.pipeline or job.pipeline not in (reply.pipeline, reply.other):
        before = reply.other if part == "code" else reply.pipeline
        if before and desk.place.project.is_running(before):
            return False
        if part == "code":
            desk.write(replace(reply, other=job.pipeline))
        else:
            desk.write(replace(reply, pipeline=job.pipeline, link=job.link))
        now = refresh(desk)
        if job.pipeline not in (now.pipeline, now.other):
            return False
    _wait_for_nobody(desk, decisions)
    return True


def _first_reply(desk: Desk, decisions: list[CommandDecision]) -> Reply:
    entries = tuple(
        AnswerEntry(each.line.text or _NO_LINE, "queued" if each.asked else "refused", each.refusal)
        for each in decisions
    )
    note, job = desk.place.note, desk.job
    head = desk.place.standing.head
    return Reply(note.id, note.author, note.written.isoformat(), head, job.pipeline, job.link, entries)


def _wait_for_nobody(desk: Desk, decisions: list[CommandDecision]) -> None:
    """Refuses what would run beside what runs already on this request: one after the other."""
    other = busy(desk.place, desk.job.pipeline)
    reply = desk.reply
    if other is None or reply is None:
        return
    at = f"[it runs]({other.link})" if other.link else "it runs"
    for index, decision in enumerate(decisions):
        waits = reply.entries[index].state == "queued"
        if waits and decision.asked and decision.asked.command.part != "answer":
            text = f"Something else is under way on this request: {at}. Wait for it, or end it: /stop"
            reply = reply.with_entry(index, state="refused", text=text)
    desk.write(reply)


def refresh(desk: Desk) -> Reply:
    """Reads the reply, which another job may have written."""
    desk.place = replace(desk.place, notes=desk.place.discussion.notes())
    desk.reply = next(reply for note, reply in desk.place.replies if note.id == desk.note)
    return desk.reply


def decorate(desk: Desk, do: Callable[[], None]) -> None:
    """What is pleasant to have, and no reason to leave the work."""
    try:
        do()
    except NbshipError as error:
        desk.report(json.dumps({"warning": error.message}))


def audit(desk: Desk, command: str, outcome: str) -> None:
    """Says who asked for what, and how it ended."""
    note = desk.place.note
    line = {
        "forge": desk.comment.forge,
        "project": desk.comment.project,
        "request": desk.comment.number,
        "comment": note.id,
        "author": note.author,
        "written": note.written.isoformat(),
        "commit": desk.place.standing.head,
        "command": command,
        "outcome": outcome,
        "pipeline": desk.job.pipeline,
    }
    desk.report(json.dumps(line, ensure_ascii=False))
