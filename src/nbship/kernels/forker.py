"""The process that warm kernels are forked from; `forkserver` starts it and speaks to it.

Run as `python -m nbship.kernels.forker SOCKET`. It imports what every kernel needs, then the modules
that the first line on the socket, a descriptor, lists, and serves the socket until the other side closes it;
requests that come early wait, but for the first ones, which need not all of the modules. A forked child
becomes an ordinary kernel by running `ipykernel_launcher`, as `python -m ipykernel_launcher` would.

It only imports, for a thread pool that has computed something does not survive a fork. It knows nothing of
notebooks, and uses nothing else of nbship; that little is not left for kernels to find imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from nbship.kernels.ends import MARK, Kernels, end_all, mark_of, note_ends, release

# What every kernel imports while it starts.
_KERNEL_MODULES = (
    "ipykernel.kernelapp",
    "ipykernel.debugger",
    "ipykernel_launcher",
    "IPython.core.completerlib",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "http.server",
    "psutil",
    "sqlite3",
    "tornado.platform.asyncio",
)
# What a kernel imports when it draws first.
_PLOTTING_MODULE = "matplotlib.backends.backend_agg"
# The first attaches itself to the running shell when it is imported, so that has to happen in the kernel.
_NOT_KEPT = {"matplotlib_inline", "nbship"}
_INLINE_BACKEND = "module://matplotlib_inline.backend_inline"
# For two to the power of this many processor cycles the threads that OpenBLAS starts while numpy and SciPy
# are imported wait for work before they sleep: under a millisecond, not 2^26 for tens of them at a core each.
_OPENBLAS_PATIENCE = "20"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SECONDS_TO_REPORT = 1.0

# The interpreter clears modules latest first: what the notebook imported, then this, then what was preloaded.
# Being part of a cycle that the frozen garbage collector does not see, it lasts until then.
_END_OF_LIBRARIES: Any = ModuleType("_nbship_end_of_libraries")


@dataclass(frozen=True)
class Preload:
    """What to import before kernels are forked.

    Attributes:
        modules: All of it, in order.
        kernels: How many kernels, the first ones, may be forked earlier.
        enough: How many of the modules, from the first on, those need.
        environment: Variables to set before, for what libraries read once.
    """

    modules: list[str]
    kernels: int = 0
    enough: int = 0
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ForkRequest:
    """A kernel to fork; the descriptors of its standard output and error travel beside it.

    Attributes:
        number: Identifies the request in the answer.
        command: Command line of the kernel, as a fresh process would have it.
        directory: Absolute working directory.
        environment: All environment variables.
    """

    number: int
    command: list[str]
    directory: str
    environment: dict[str, str]


@dataclass(frozen=True)
class ReleasedProcess:
    """Says that the end of a kernel has been noted, so that its process id may be used again."""

    released: int


def added_folders(environment: Mapping[str, str], server: Mapping[str, str]) -> list[str] | None:
    """Returns the folders that a kernel's PYTHONPATH has before the server's; None if it is no such path."""
    path, known = environment.get("PYTHONPATH", ""), server.get("PYTHONPATH", "")
    if known and path != known and not path.endswith(os.pathsep + known):
        return None
    return list(filter(None, path.removesuffix(known).split(os.pathsep)))


def main() -> None:
    """Imports, serves, and in a forked child becomes the kernel that was asked for."""
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        channel.set_inheritable(False)
        # The folder that this process happened to start in must not shadow a library.
        if not sys.flags.safe_path:
            del sys.path[0]
        # ipykernel watches the parent whose id it finds here while it is imported.
        os.environ["JPY_PARENT_PID"] = str(os.getpid())
        os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", _OPENBLAS_PATIENCE)
        before = dict(os.environ)
        # What the garbage collector never visits stays shared between all kernels.
        gc.disable()
        _import(_KERNEL_MODULES)
        preload = _read_preload(channel)
        os.environ.update(preload.environment)
        before |= preload.environment
        # What a kernel leaves behind comes to this process, when it has lost its parent, and not to init.
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        request = _serve(channel, preload)
    changed = {name: value for name, value in os.environ.items() if before.get(name) != value}
    _become_kernel(request, changed)


def _read_preload(channel: socket.socket) -> Preload:
    # Unbuffered, so that the requests behind the line, and the descriptors beside them, stay in the socket.
    with channel.makefile("rb", buffering=0) as lines:
        line = lines.readline()
    return Preload(**json.loads(line)) if line else Preload([])


def _import(modules: Iterable[str]) -> None:
    """Imports modules, silently."""
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(_CurrentStream("stdout", nowhere)),
        contextlib.redirect_stderr(_CurrentStream("stderr", nowhere)),
    ):
        for module in modules:
            # A library that is absent or broken is the notebook's to meet, in the cell that imports it.
            with contextlib.suppress(Exception, SystemExit):
                importlib.import_module(module)
        if "matplotlib.pyplot" in sys.modules:
            importlib.import_module(_PLOTTING_MODULE)
    for name in [name for name in sys.modules if name.partition(".")[0] in _NOT_KEPT]:
        del sys.modules[name]
    gc.freeze()


class _Exit:
    """Ends the process when it is deleted."""

    def __del__(self, leave: Callable[[int], None] = os._exit) -> None:
        leave(0)


class _CurrentStream:
    """Stands in for a standard stream while libraries are imported, for some keep what they find there.

    A logging handler or a default argument made then writes to what the stream is when it is used. In a
    kernel that is the notebook, as if the library had been imported there; during the imports it is nowhere.
    """

    def __init__(self, name: str, nowhere: TextIO) -> None:
        self._name = name
        self._nowhere = nowhere

    def __getattr__(self, attribute: str) -> Any:
        stream = getattr(sys, self._name)
        return getattr(self._nowhere if stream is self else stream, attribute)


def _serve(channel: socket.socket, preload: Preload) -> ForkRequest:
    """Imports what is left, forks a kernel per request, and reports the end of each.

    Ends the process when the channel is closed.

    Returns:
        In a forked child the request it was forked for.
    """
    kernels = Kernels()
    # A signal, so that the end of a kernel is noticed while this process imports.
    signal.signal(signal.SIGCHLD, lambda *_: note_ends(functools.partial(_tell, channel), kernels))
    signal.siginterrupt(signal.SIGCHLD, False)
    buffer, streams, requests = b"", list[int](), deque[ForkRequest]()
    _import(preload.modules[: preload.enough])
    left, early = deque(preload.modules[preload.enough :]), preload.kernels
    while True:
        # The first requests are on their way, and would have to wait for what is imported meanwhile.
        busy = requests or (left and early <= 0)
        readable, _, _ = select.select([channel], [], [], 0 if busy else None)
        if readable:
            data, descriptors = _receive(channel)
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            streams += descriptors
            for message in map(json.loads, lines):
                if "released" in message:
                    release(ReleasedProcess(**message).released, kernels)
                else:
                    requests.append(ForkRequest(**message))
        while requests and (early > 0 or not left):
            early -= 1
            request = requests.popleft()
            if _fork(channel, request, streams, kernels):
                return request
        if left and early <= 0:
            _import([left.popleft()])
    end_all(kernels)
    # Nobody is there to hear of it, and taking down the libraries would take a while.
    os._exit(0)


def _receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    try:
        data, descriptors, _, _ = socket.recv_fds(channel, 1 << 16, 2)
    except ConnectionResetError:
        return b"", []
    return data, descriptors


def _fork(channel: socket.socket, request: ForkRequest, streams: list[int], kernels: Kernels) -> bool:
    """Forks, with the first two of the streams. Returns whether this is the child."""
    # A kernel must be known before its end is noted, and a message be sent whole before the next.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of threads: numpy's, which end before a fork and come back after it.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    except OSError as error:
        _tell(channel, "failed", request.number, str(error))
    else:
        if pid == 0:
            _take_over(streams)
            return True
        kernels.running[pid] = mark_of(os.getpid(), request.number)
        _tell(channel, "forked", request.number, pid)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    for _ in range(2):
        os.close(streams.pop(0))
    return False


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def _tell(channel: socket.socket, kind: str, number: int, value: int | str | list[str]) -> None:
    # The other side may just have gone, which is noticed where the channel is read.
    with contextlib.suppress(BrokenPipeError):
        channel.sendall(json.dumps([kind, number, value]).encode() + b"\n")


def _take_over(streams: list[int]) -> None:
    """Gives a new child its own session and standard streams, and nothing else of the server's."""
    server = os.getppid()
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # As jupyter_client does it: standard input is a pipe that nobody writes to.
    ends = os.pipe()
    os.dup2(ends[0], 0)
    os.dup2(streams[0], 1)
    os.dup2(streams[1], 2)
    for descriptor in (*ends, *streams):
        os.close(descriptor)
    if os.getppid() != server:
        os._exit(1)


def _become_kernel(request: ForkRequest, set_by_libraries: dict[str, str]) -> None:
    """Runs the kernel with what a fresh process would have, until it ends."""
    os.chdir(request.directory)
    folders = added_folders(request.environment, os.environ) or []
    os.environ.clear()
    server = os.getppid()
    marks = {"JPY_PARENT_PID": str(server), MARK: mark_of(server, request.number)}
    os.environ.update(set_by_libraries | request.environment | marks)
    time.tzset()
    if "matplotlib" in sys.modules:
        backend = os.environ.get("MPLBACKEND") or _INLINE_BACKEND
        sys.modules["matplotlib"].rcParams["backend"] = backend
    # Two kernels must not draw the same numbers; the standard library's generator sees to itself.
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    first = [] if sys.flags.safe_path else [request.directory]
    sys.path[:] = [*first, *dict.fromkeys([*folders, *sys.path])]
    _, _, module, *arguments = request.command
    sys.argv = ["-m", *arguments]
    sys.orig_argv = request.command
    _END_OF_LIBRARIES.itself = _END_OF_LIBRARIES
    sys.modules[_END_OF_LIBRARIES.__name__] = _END_OF_LIBRARIES
    gc.freeze()
    gc.enable()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    # ipykernel 7 locks up when it closes its sockets while its control thread still reports the end.
    sys.modules["ipykernel.kernelapp"].IPKernelApp.instance().control_thread.join(_SECONDS_TO_REPORT)
    # Taking down the libraries would first copy most of the memory that is shared with the server, and take
    # longer than the rest of a short notebook. What the notebook left is finalized before this is deleted.
    _END_OF_LIBRARIES.exit = _Exit()


if __name__ == "__main__":
    main()
