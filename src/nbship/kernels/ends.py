"""How kernels end: noticing it, and ending what they leave behind.

A part of the process that `kernel_forker` is. On Linux, what a kernel has started comes to that process when
it loses its parent, whatever session it is in.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# By which a process is known as a kernel's although it has left the kernel's session and lost its parent.
MARK = "NBSHIP_KERNEL"
_SECONDS_TO_END = 1.0


@dataclass
class Kernels:
    """The server's children: kernels, those that have ended but are not released, and what they left."""

    # Each with its mark.
    running: dict[int, str] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)


def kill_group(leader: int) -> None:
    """Kills all processes of a group, if there are any."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def note_ends(tell: Callable[[str, int, int | list[str]], None], kernels: Kernels) -> None:
    """Reports the kernels that have ended, and ends what they left behind.

    A kernel stays a zombie until the other side has noted its end and sends no more signals: only then may
    its process id go to a stranger.
    """
    # Else another end would call this in the midst of itself.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        for pid in list(kernels.running):
            returncode = _returncode(pid)
            if returncode is not None:
                kill_group(pid)
                kernels.ended.add(pid)
                mark = kernels.running.pop(pid)
                mine = [child for child in _orphans(kernels) if _marked(child) == mark]
                tell("left", pid, [_command(child) for child in mine if _group(child) != pid])
                tell("ended", pid, returncode)
        _end_left(kernels)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _returncode(pid: int) -> int | None:
    """The exit code of a child, or minus the signal that ended it; None while it runs. It stays a zombie."""
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13: its process id is free from now on
        ended, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None
    end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if end is None:
        return None
    return end.si_status if end.si_code == os.CLD_EXITED else -end.si_status


def _end_left(kernels: Kernels) -> None:
    """Kills what kernels that have ended left behind; what it leaves in turn comes here with its end."""
    for pid in _orphans(kernels):
        alive = os.waitpid(pid, os.WNOHANG)[0] == 0
        if alive and (not kernels.running or _marked(pid) not in {*kernels.running.values(), ""}):
            os.kill(pid, signal.SIGKILL)


def _orphans(kernels: Kernels) -> list[int]:
    """The children of this process that have lost the parent that a kernel was.

    They are in a kernel's session, or in one of their own; what a library starts while it is imported here is
    in this process's.
    """
    tasks = Path("/proc/self/task")
    children = " ".join(_text(task / "children") for task in tasks.iterdir()) if tasks.exists() else ""
    others = {*kernels.running, *kernels.ended}
    return [pid for pid in map(int, children.split()) if pid not in others and _session(pid) != _session(0)]


def release(pid: int, kernels: Kernels) -> None:
    """Lets a kernel's process id go, once its end has been noted on the other side."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    kernels.ended.discard(pid)


def end_all(kernels: Kernels) -> None:
    """Kills the kernels and all that they leave, for as long as there is any, within reason."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for kernel in kernels.running:
        kill_group(kernel)
    deadline = time.monotonic() + _SECONDS_TO_END
    everything = Kernels()
    while _orphans(everything) and time.monotonic() < deadline:
        _end_left(everything)
        time.sleep(0.002)


def mark_of(server: int, number: int) -> str:
    """Returns the mark of a kernel, by the server that forks it and the number of the request."""
    return f"{server}.{number}"


def _marked(pid: int) -> str:
    """The kernel that a process comes from; empty if it does not say so."""
    variables = _text(Path(f"/proc/{pid}/environ")).split("\0")
    return next((v.partition("=")[2] for v in variables if v.startswith(f"{MARK}=")), "")


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return os.getsid(0)


def _command(pid: int) -> str:
    return _text(Path(f"/proc/{pid}/cmdline")).rstrip("\0").replace("\0", " ")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
