"""`%nbship`: the command line in a cell, in the process of its kernel and without a shell."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nbship.cli.main import call
from nbship.errors import ExitCode


class CommandFailed(Exception):  # noqa: N818 (a cell shows the name)
    """A command ended with another exit code than 0; what was wrong it has said itself.

    Args:
        line: What was typed.
        code: The exit code.
    """

    def __init__(self, line: str, code: int) -> None:
        super().__init__(f"nbship {line}: ended with {code}")

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def register(shell: Any) -> None:
    """Gives an IPython shell the magic `%nbship`."""
    shell.register_magic_function(_nbship, "line", "nbship")


def _nbship(line: str) -> None:
    """Run a command of nbship: %nbship run auto-mpg --set train.C=3."""
    with _handlers_kept():
        code = call(shlex.split(line))
    if code != ExitCode.DONE:
        raise CommandFailed(line, code)


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Commands are made for a process of their own: what they say of signals ends with them."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
