"""This process's fork server: starting it, asking it for kernels, and hearing how they end.

The server itself is `kernel_forker`. Nothing here knows of notebooks or of Jupyter, and it is quick to
import, so that the server can be started first of all.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

from nbship.errors import NbshipError
from nbship.kernels.ends import kill_group
from nbship.kernels.forker import ForkRequest, Preload, ReleasedProcess

# The specification of the kernels that are forked.
KERNEL_NAME = "nbship"
# That of every Jupyter, which starts more slowly.
STANDARD_KERNEL = "python3"
# Elsewhere a process cannot fork, or its libraries do not survive it.
AVAILABLE = sys.platform == "linux"
_SERVER = "nbship.kernels.forker"
_SECONDS_TO_END = 1.0


class ForkedProcess:
    """A kernel forked by the server, with the part of `subprocess.Popen` that a kernel provisioner uses."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended: Future[int] = Future()
        # Command lines of what had left its group and outlived it; known once it has ended.
        self.left: list[str] = []
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Returns the exit code, or minus the signal that ended the process; None while it runs."""
        return self.ended.result() if self.ended.done() else None

    def wait(self, timeout: float | None = None) -> int:
        """Returns what `poll` does, once the process has ended."""
        return self.ended.result(timeout)

    def send_signal(self, signum: int) -> None:
        """Sends a signal to this process alone, unless it has ended."""
        with self._lock:
            if not self.ended.done():
                os.kill(self.pid, signum)

    def send_group_signal(self, signum: int) -> None:
        """Sends a signal to this process and all in its group, unless it has ended."""
        with self._lock:
            if not self.ended.done():
                os.killpg(self.pid, signum)

    def note_end(self, returncode: int) -> None:
        """Takes note that it has ended: no signal is sent from now on, for its number may be another's."""
        with self._lock:
            self.ended.set_result(returncode)

    def terminate(self) -> None:
        """Asks the process to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the process."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """This process's end of a fork server. Threads may share it.

    The server and its kernels have sessions of their own, so that Ctrl-C in a terminal reaches none of them.
    They end with this process, however it ends.
    """

    def __init__(self) -> None:
        if not hasattr(os, "fork"):
            raise NbshipError("warm kernels need a system that can fork", "use --kernel standard")
        self.environment = dict(os.environ)
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _SERVER, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._lock = threading.Lock()
        self._told: dict[str, str] | None = None
        self._numbers = itertools.count()
        self._requested: dict[int, Future[ForkedProcess]] = {}
        self._running: dict[int, ForkedProcess] = {}
        self._listener = threading.Thread(target=self._listen, name="nbship fork server", daemon=True)
        self._listener.start()

    @property
    def alive(self) -> bool:
        """Whether the server can still fork."""
        return self._channel.fileno() >= 0

    def preload(self, preload: Preload) -> None:
        """Says which modules to import before kernels are forked; only the first call counts."""
        with self._lock:
            if self._told is None:
                self._told = preload.environment
                self.environment |= preload.environment
                # A server that has ended is noticed by whoever asks it for a kernel.
                with contextlib.suppress(OSError):
                    self._channel.sendall(json.dumps(asdict(preload)).encode() + b"\n")

    def is_idle_under_other(self, environment: Mapping[str, str]) -> bool:
        """Returns whether this server has no kernels, and was told to import under other variables."""
        with self._lock:
            told = self._told is not None and self._told != environment
            return told and not self._running and not self._requested

    def fork(
        self, command: Sequence[str], directory: str, environment: Mapping[str, str], streams: Sequence[int]
    ) -> Future[ForkedProcess]:
        """Asks for a kernel.

        Args:
            command: Command line, as for a fresh process.
            directory: Absolute working directory.
            environment: All environment variables.
            streams: Descriptors to use as standard output and standard error.

        Returns:
            The process to be; fails with NbshipError when the server ends before it has forked.

        Raises:
            NbshipError: The server has ended.
        """
        process: Future[ForkedProcess] = Future()
        with self._lock:
            if not self.alive:
                raise self._failure()
            number = next(self._numbers)
            request = ForkRequest(number, list(command), directory, dict(environment))
            line = json.dumps(asdict(request)).encode() + b"\n"
            try:
                sent = socket.send_fds(self._channel, [line], list(streams))
                self._channel.sendall(line[sent:])
            except (BrokenPipeError, ConnectionResetError):
                raise self._failure() from None
            self._requested[number] = process
        return process

    def close(self) -> None:
        """Ends the server and all its kernels."""
        # It ends kernels, with all that they started, when it hears that nobody is there.
        with self._lock:
            busy = self.alive and bool(self._running)
            if busy:
                self._channel.shutdown(socket.SHUT_WR)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_SECONDS_TO_END if busy else 0)
        self._process.kill()
        self._listener.join()

    def _listen(self) -> None:
        with self._channel.makefile("rb") as lines, contextlib.suppress(ConnectionResetError):
            for line in lines:
                self._note(*json.loads(line))
        killed = self._process.wait() != 0
        with self._lock:
            self._channel.close()
            for process in self._running.values():
                if killed:  # Linux has ended the kernels together with the server, but not what they started.
                    kill_group(process.pid)
                process.note_end(-signal.SIGKILL)
            for requested in self._requested.values():
                requested.set_exception(self._failure())

    def _note(self, kind: str, number: int, value: Any) -> None:
        with self._lock:
            if kind == "forked":
                process = self._running[int(value)] = ForkedProcess(int(value))
                self._requested.pop(number).set_result(process)
            elif kind == "left":
                self._running[number].left = value
            elif kind == "ended":
                self._running.pop(number).note_end(int(value))
                with contextlib.suppress(OSError):
                    self._channel.sendall(json.dumps(asdict(ReleasedProcess(number))).encode() + b"\n")
            else:
                error = NbshipError(f"a warm kernel could not be forked: {value}", "use --kernel standard")
                self._requested.pop(number).set_exception(error)

    def _failure(self) -> NbshipError:
        return NbshipError(
            f"the fork server of the warm kernels has ended: {describe_end(self._process.wait())}",
            "run again, or use --kernel standard",
        )


def describe_end(returncode: int) -> str:
    """Puts a process's exit code, or minus the signal that ended it, into words."""
    if returncode >= 0:
        return f"it left with exit code {returncode}"
    if returncode == -signal.SIGKILL:
        return "it was killed by SIGKILL (out of memory?)"
    return f"it was killed by signal {-returncode} ({signal.strsignal(-returncode)})"


_server: ForkServer | None = None
_server_lock = threading.Lock()


def prepare() -> ForkServer:
    """Starts this process's fork server without waiting for it, unless it runs already.

    Until it is told what to preload, it imports only what every kernel needs.

    Raises:
        NbshipError: The system cannot fork.
    """
    global _server
    with _server_lock:
        if _server is None or not _server.alive:
            _server = ForkServer()
        return _server


def start(
    preload: Iterable[str],
    first: Iterable[str] = (),
    kernels: int = 0,
    environment: Mapping[str, str] | None = None,
) -> ForkServer:
    """Starts this process's fork server, as `prepare` does, and tells it what to import.

    One that has imported under other variables is replaced, if it has no kernels.

    Args:
        preload: Names of modules to import in it; those that cannot be imported are left out.
        first: Those that the first kernels need, which are forked as soon as these are imported.
        kernels: How many kernels those are.
        environment: Variables to set before; None if those of a running server will do.

    Raises:
        NbshipError: The system cannot fork.
    """
    server = prepare()
    if environment is not None and server.is_idle_under_other(environment):
        stop()
        server = prepare()
    modules = list(dict.fromkeys([*first, *preload]))
    server.preload(Preload(modules, kernels, len(set(first)), dict(environment or {})))
    return server


def stop() -> None:
    """Ends this process's fork server, if there is one, and all its kernels."""
    global _server
    with _server_lock:
        if _server is not None:
            _server.close()
            _server = None


def _forget() -> None:
    global _server, _server_lock
    _server, _server_lock = None, threading.Lock()


atexit.register(stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
