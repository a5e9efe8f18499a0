"""Warm kernels for Jupyter, which start in milliseconds because they are forked from a prepared process.

A provisioner is jupyter_client's extension point for how a kernel's process comes to be, so papermill,
nbclient and JupyterLab run unchanged, on a real ipykernel. Not here: forking itself (`forkserver`), running
notebooks (`kernel_engine`).
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from time import monotonic
from typing import Any

import zmq.asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from jupyter_core.paths import jupyter_path
from traitlets import List, Type, Unicode

from nbship.kernels.ends import kill_group
from nbship.kernels.forker import added_folders
from nbship.kernels.forkserver import KERNEL_NAME, ForkedProcess, describe_end, start, stop

__all__ = ["KERNEL_NAME", "Kernel", "PromptKernelManager", "WarmKernelProvisioner", "start", "stop"]

# What Python, the C library or a numerical library reads once, when it is loaded.
_READ_ONCE = re.compile(
    r"PYTHON|LD_|DYLD_|LC_|LANG|HOME$|XDG_|MATPLOTLIBRC|MPL(?!BACKEND)|OMP_|KMP_|MKL_|BLIS_|OPENBLAS_|GOTO_"
    r"|VECLIB_|NUMEXPR_|NUMBA_|POLARS_|RAYON_|NPY_|NUMPY_|SCIPY_|SKLEARN_|PANDAS_|JOBLIB_|LOKY_|MALLOC_|GLIBC_"
)
_LAUNCHER = [sys.executable, "-m", "ipykernel_launcher"]
_MILLISECONDS_TO_RECONNECT = 5
_SECONDS_TO_END = 0.5
_OPTIONS = {"env", "cwd", "stdout", "stderr", "independent", "kernel_id"}


class WarmKernelProvisioner(LocalProvisioner):  # type: ignore[misc]
    """Forks kernels from this process's fork server, which it starts if need be.

    A kernel that a fork would not make the same as a fresh process is started as one (`_can_fork`).
    """

    preload = List(Unicode(), help="Modules that the fork server imports.").tag(config=True)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Starts the kernel process, forked where possible."""
        server = start(self.preload)
        directory = Path(kwargs.get("cwd") or ".").resolve(strict=True)
        streams = [_descriptor(kwargs.get("stdout"), 1), _descriptor(kwargs.get("stderr"), 2)]
        if min(streams) < 0 or not _can_fork(cmd, kwargs, directory, server.environment):
            return await super().launch_kernel(cmd, **kwargs)
        forked = server.fork(cmd, str(directory), kwargs["env"], streams)
        self.process = await asyncio.shield(asyncio.wrap_future(forked))
        self.pid = self.pgid = self.process.pid
        self.cwd = directory
        return self.connection_info

    async def wait(self) -> int | None:
        """Waits for the end of the kernel process."""
        if isinstance(self.process, ForkedProcess):
            await asyncio.shield(asyncio.wrap_future(self.process.ended))
        returncode: int | None = await super().wait()
        return returncode

    async def send_signal(self, signum: int) -> None:
        """Sends a signal to the kernel's process group."""
        # A manager interrupts a kernel before it asks for its end. A kernel that is just leaving its last
        # request may get stuck by that, so only one that does not end by itself is interrupted, below.
        if signum == signal.SIGINT and isinstance(self.process, ForkedProcess) and self.parent.shutting_down:
            return
        await self._signal(signum)

    async def _signal(self, signum: int) -> None:
        if isinstance(self.process, ForkedProcess):
            self.process.send_group_signal(signum)
        else:
            await super().send_signal(signum)

    async def shutdown_requested(self, restart: bool = False) -> None:  # noqa: ARG002
        """Waits for the end of the kernel, which its manager would look for ten times a second."""
        if isinstance(self.process, ForkedProcess):
            ended = asyncio.shield(asyncio.wrap_future(self.process.ended))
            done, _ = await asyncio.wait([ended], timeout=_SECONDS_TO_END)
            if not done:
                await self._signal(signal.SIGINT)
                await asyncio.wait([ended], timeout=_SECONDS_TO_END)


class PromptKernelClient(AsyncKernelClient):  # type: ignore[misc]
    """A client that notices at once that its kernel is ready."""

    def _context_default(self) -> zmq.asyncio.Context:
        self._created_context = True
        return _impatient_context()

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Waits until the kernel answers on all channels; its own method listens .2 s longer, in case.

        Args:
            timeout: Seconds to wait.

        Raises:
            RuntimeError: The kernel died, or did not answer in time.
        """
        deadline = monotonic() + (timeout or float("inf"))
        while not await self._answers(self.kernel_info()):
            if not await self.is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            if monotonic() > deadline:
                raise RuntimeError(f"Kernel didn't respond in {timeout} seconds")

    async def _answers(self, request: str) -> bool:
        try:
            reply = await self.get_shell_msg(timeout=1)
            # The idle status comes last; it is not heard as long as the channel is not connected.
            while not _says_idle(await self.get_iopub_msg(timeout=0.2), request):
                pass
        except Empty:
            return False
        self._handle_kernel_info_reply(reply)
        return True


class PromptKernelManager(AsyncKernelManager):  # type: ignore[misc]
    """A manager whose clients are prompt."""

    client_factory = Type(klass=AsyncKernelClient, default_value=PromptKernelClient)

    def _context_default(self) -> zmq.asyncio.Context:
        self._created_context = True
        return _impatient_context()

    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        # Where its own default looks as well; but that imports IPython to ask for the last folder.
        ipython = Path(os.environ.get("IPYTHONDIR") or "~/.ipython").expanduser()
        return KernelSpecManager(
            parent=self, kernel_dirs=[*jupyter_path("kernels"), str(ipython / "kernels")]
        )

    @property
    def ipykernel(self) -> bool:
        """Whether nbclient may pass ipykernel's options, such as to keep the history in memory."""
        return self.kernel_name == KERNEL_NAME or bool(super().ipykernel)

    @property
    def kernel(self) -> Kernel:
        """The kernel that runs."""
        return Kernel(self.provisioner.process)

    def describe_end(self) -> str:
        """Says how the kernel process ended."""
        return describe_end(self.provisioner.process.poll())


@dataclass(frozen=True)
class Kernel:
    """A kernel's process, which leads a process group of its own."""

    process: ForkedProcess | subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def left(self) -> list[str]:
        """Command lines of processes that outlived the kernel and were ended; of warm kernels that ended."""
        return self.process.left if isinstance(self.process, ForkedProcess) else []

    def kill(self) -> None:
        """Ends it with all in its group, unless it has ended."""
        if isinstance(self.process, ForkedProcess):
            self.process.send_group_signal(signal.SIGKILL)
        elif self.process.poll() is None:
            kill_group(self.process.pid)


def _says_idle(message: Mapping[str, Any], request: str) -> bool:
    idle: bool = message["content"].get("execution_state") == "idle"
    return idle and bool(message["parent_header"].get("msg_id") == request)


def _impatient_context() -> zmq.asyncio.Context:
    # A client that connects before its kernel listens tries again after ZeroMQ's .1 s otherwise.
    context = zmq.asyncio.Context()
    context.setsockopt(zmq.RECONNECT_IVL, _MILLISECONDS_TO_RECONNECT)
    return context


def _can_fork(
    command: list[str], options: Mapping[str, Any], directory: Path, server_environment: Mapping[str, str]
) -> bool:
    """Whether a fork is the same as a fresh process would be.

    It is not with another command line, with options that only a new process has, or where a preloaded
    library would have found other settings: variables such as OMP_NUM_THREADS, a matplotlibrc in the folder.
    """
    return (
        command[:3] == _LAUNCHER
        and options.keys() <= _OPTIONS
        and not options.get("independent")
        and _read_once(options["env"]) == _read_once(server_environment)
        and added_folders(options["env"], server_environment) is not None
        and not (directory / "matplotlibrc").exists()
    )


def _read_once(environment: Mapping[str, str]) -> dict[str, str]:
    names = (name for name in environment if _READ_ONCE.match(name) and name != "PYTHONPATH")
    return {name: environment[name] for name in names}


def _descriptor(stream: Any, default: int) -> int:
    # Negative for subprocess's PIPE and the like.
    if stream is None:
        return default
    return stream if isinstance(stream, int) else int(stream.fileno())
