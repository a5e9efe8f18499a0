"""The reply to a comment: what became of each command, as Markdown for people, and as a record for the work.

The reply is the record of what was done, so that nothing is done twice: it is found by its mark, which names
the comment, and it counts only if we wrote it. Pure functions on text; strangers' words come here plain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from nbship.ci import Note

State = Literal["queued", "running", "done", "failed", "rejected", "refused", "skipped"]
FINAL: tuple[State, ...] = ("done", "failed", "rejected", "refused", "skipped")
_SIGNS: Mapping[State, str] = {
    "queued": "🕓",
    "running": "▶️",
    "done": "✅",
    "failed": "❌",
    "rejected": "❌",
    "refused": "⛔",
    "skipped": "⏭️",
}
_MARK = "<!-- nbship: reply to {} -->\n<!-- {} -->"
_READ = re.compile(r"<!-- nbship: reply to (\d+) -->\n<!-- (\{.*\}) -->")
_SECTION = re.compile(r"<!-- begin (\d+) -->\n[^\n]*\n\n(.*?)\n<!-- end \1 -->", re.DOTALL)
# GitHub takes 65,536 characters.
_LONGEST = 50_000
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|KEY|COOKIE", re.IGNORECASE)
_SHORTEST_SECRET = 6


@dataclass(frozen=True)
class AnswerEntry:
    """One command of a comment.

    Attributes:
        command: The line, as a code span shows it.
        state: Where it stands.
        text: What is told of it, as Markdown.
        memo: What a repetition must know to do nothing twice, such as the version that is deployed.
    """

    command: str
    state: State = "queued"
    text: str = ""
    memo: str = ""


@dataclass(frozen=True)
class Reply:
    """The reply to a comment.

    Attributes:
        comment: The comment's identifier.
        author: Who wrote the comment.
        written: When.
        head: The commit that its commands are for.
        pipeline: What works it, as the forge numbers it; empty outside of CI.
        link: The page of that.
        entries: The commands, in order.
        other: The pipeline that was started for the request's own code, where that is another one.
        approved: The commit that the comment approves; empty if none.
    """

    comment: str
    author: str
    written: str
    head: str
    pipeline: str
    link: str
    entries: tuple[AnswerEntry, ...]
    other: str = ""
    approved: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing is left to do."""
        return all(entry.state in FINAL for entry in self.entries)

    def with_entry(self, index: int, **changes: Any) -> Reply:
        """Returns the reply with another state, text or memo of one command."""
        entries = [*self.entries]
        entries[index] = replace(entries[index], **changes)
        return replace(self, entries=tuple(entries))


def to_text(reply: Reply, environment: Mapping[str, str]) -> str:
    """Returns the reply as it is written; no value of a secret variable is in it.

    Args:
        reply: The reply.
        environment: The variables of this job.
    """
    record = asdict(reply)
    record["entries"] = [{**asdict(entry), "text": ""} for entry in reply.entries]
    # Nothing in it may end the comment of HTML that it is in.
    hidden = re.sub("[<>-]", lambda found: f"\\u{ord(found[0]):04x}", masked(json.dumps(record), environment))
    longest = _LONGEST // max(1, len(reply.entries))
    parts = [_MARK.format(reply.comment, hidden)]
    for index, entry in enumerate(reply.entries):
        heading = f"{_SIGNS[entry.state]} {code(entry.command)} **{entry.state}**"
        shown = _shortened(entry.text, longest)
        parts.append(f"<!-- begin {index} -->\n{heading}\n\n{shown}\n<!-- end {index} -->")
    job = f" · [job]({reply.link})" if reply.link else ""
    parts.append(f"<sub>commit {reply.head[:12] or 'unknown'}{job}</sub>")
    return masked("\n\n".join(parts), environment)


def from_text(text: str) -> Reply | None:
    """Reads a reply back; None if it is none."""
    match = _READ.match(text)
    if not match:
        return None
    try:
        record = json.loads(match[2])
        entries = [AnswerEntry(**entry) for entry in record.pop("entries")]
        reply = Reply(**record, entries=tuple(entries))
    except (ValueError, TypeError, KeyError):
        return None
    for number, shown in _SECTION.findall(text):
        if int(number) < len(entries):
            reply = reply.with_entry(int(number), text=shown)
    return reply if reply.comment == match[1] else None


def replies(notes: Iterable[Note]) -> list[tuple[Note, Reply]]:
    """Returns our replies among comments, the oldest first."""
    read = ((note, from_text(note.text)) for note in notes if note.own)
    return [(note, reply) for note, reply in read if reply]


def written_since(found: Sequence[tuple[Note, Reply]], author: str, moment: datetime) -> int:
    """Returns how many comments of a person were answered since a moment."""
    return sum(reply.author == author and note.written >= moment for note, reply in found)


def code(text: str) -> str:
    """Returns a text as a code span, in which nothing mentions, links or formats."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    gap = " " if text.startswith("`") or text.endswith("`") else ""
    # In a comment of HTML a code span is no shelter.
    return f"{fence}{gap}{text.replace('<!--', '<! --')}{gap}{fence}"


def masked(text: str, environment: Mapping[str, str]) -> str:
    """Returns a text without the values of variables whose names say that they are secret."""
    values = {v.strip() for name, v in environment.items() if _SECRET.search(name)}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "…")
    return text


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    lines = text[:longest].split("\n")[:-1]
    fences = [line for line in lines if line.startswith("```")]
    return "\n".join([*lines, *(fences[-1][:3] for _ in range(len(fences) % 2)), "", "…"])
