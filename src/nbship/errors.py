"""What can go wrong, told to a person: what happened and where, and what to do about it.

Not for control flow inside a room: everything raised here is meant to be read on a terminal.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from enum import IntEnum

# Called with each line that tells a person how the work gets on.
Report = Callable[[str], None]
# What an address has before its @. For http a user alone may be a token; elsewhere it is a container or an
# account, and only what follows a colon is a secret. A key may hold a slash, where the colon begins no port.
_CREDENTIALS = re.compile(
    r"(?:(?<=\bhttp://)|(?<=https://))[^\s/?#]+@"
    r"|(?<=\b(?:s3|gs|az)://)[^\s@/]+:[^\s@]+@"
    r"|(?<=://)[^\s@/:\[]*:(?!\d+(?:[/?#\s]|$))[^\s@]+@"
)


class ExitCode(IntEnum):
    """How a command ends."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REJECTED = 3
    INTERRUPTED = 130


class NbshipError(Exception):
    """A failure that a person can act on.

    Args:
        message: One line: what is wrong, and where.
        hint: One line: what to do about it.
        details: More lines worth showing, such as a failing cell and its error.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "", details: str = "") -> None:
        message, hint, details = map(without_credentials, (message, hint, details))
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in a cell: what is wrong and what to do, for the traceback is ours alone."""
        return [
            f"error: {self.message}",
            *self.details.rstrip().splitlines(),
            *([f"hint:  {self.hint}"] if self.hint else []),
        ]


class UsageError(NbshipError):
    """A command line, a pipeline file or a notebook's signature that cannot be understood."""

    exit_code = ExitCode.USAGE


class RejectedError(NbshipError):
    """The quality gate kept a model out."""

    exit_code = ExitCode.REJECTED


class InterruptedRun(NbshipError):  # noqa: N818 (a person's wish is no error)
    """A person stopped it; what was finished is kept."""

    exit_code = ExitCode.INTERRUPTED


def without_credentials(text: str, instead: str = "") -> str:
    """Returns a text without the users and passwords of the addresses in it, so that it may be shown."""
    return _CREDENTIALS.sub(f"{instead}@" if instead else "", text)


def suggestion(word: str, candidates: Iterable[str]) -> str:
    """Returns a hint that names the candidates nearest to a mistyped word, or lists them all."""
    known = sorted(candidates)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known are: {', '.join(known)}" if known else "there are none"
