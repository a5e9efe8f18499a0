"""Which comments are worth a job: what webhooks and polls leave out alike, before rights are looked at.

Generous: a line that begins with a slash is enough, and what it says is the business of the job.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from nbship.chatops.events import Comment

# Comments that are older start nothing; what was started is remembered for longer.
OLDEST = timedelta(days=7)


def why_not(comment: Comment, project: str, now: datetime) -> str:
    """Returns why a comment starts nothing; empty if it may start something.

    Args:
        comment: With its text.
        project: The path of the one project whose comments count; forges take capitals as small letters.
        now: With a time zone.
    """
    if comment.project.lower() != project.lower():
        return "another project's"
    if not any(line.lstrip().startswith("/") for line in comment.text.splitlines()):
        return "without a command"
    return "too old" if now - comment.written > OLDEST else ""


def pointer(comment: Comment, project: str) -> Comment:
    """Returns what a job is given of a comment: where it is, and no word of its text.

    Whoever can start a job could write any text; so the job reads it, and its author, from the forge.
    """
    return replace(comment, project=project, text="")


def named(comment: Comment) -> str:
    """Returns how a log names a comment; whatever an author is called, it is one line."""
    return f"{comment.project}!{comment.number} comment {comment.id} by {comment.author!a}"
