"""The papermill engine `nbship`: runs a notebook on any kernel, without idle waiting.

Cells are executed by nbclient as ever. The engine changes how soon a started kernel is noticed and how often
the executed notebook is saved, tells its caller which cell runs and what it prints, and says why a kernel
died.

papermill loads this module, through the entry point `papermill.engine`, while it is being imported itself, so
import papermill rather than this.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager
from papermill.log import logger

from nbship.kernels.provisioner import Kernel, PromptKernelManager

_SECONDS_BETWEEN_SAVES = 1.0
_SECONDS_BETWEEN_LINES = 0.2
# Of what a cell has printed, as much as a line can be found in.
_KEPT = 2000
_LONGEST_LINE = 200
_DRAWN_OVER = re.compile(r"[^\n]*\r(?=[^\n])")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LONGEST_SOCKET_PATH = 103


class LeftEarlyError(Exception):
    """A cell called `exit` or `quit`, which do not stop it, and others come after it."""


class NotebookEngine(NBClientEngine):  # type: ignore[misc]
    """Executes a notebook; see `execute_notebook` for what it takes beside papermill's own options."""

    @classmethod
    def execute_notebook(
        cls,
        nb: NotebookNode,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: bool = False,
        log_output: bool = False,
        autosave_cell_every: int = 30,
        **options: Any,
    ) -> NotebookNode:
        """Executes a notebook that papermill has parameterized.

        Args:
            nb: The notebook; changed in place.
            kernel_name: Name of an installed kernelspec.
            output_path: File to save the executed notebook to, at most once a second and at the end.
            progress_bar: Whether papermill draws its progress bar.
            log_output: Whether papermill logs the cells' outputs.
            autosave_cell_every: Seconds between saves while a cell runs.
            **options: Those of `execute_managed_notebook`, and nbclient's traits.

        Returns:
            The executed notebook, up to the first cell that failed.

        Raises:
            DeadKernelError: The kernel died; the message says how.
        """
        manager = _SparingExecutionManager(
            nb,
            output_path,
            log_output=log_output,
            progress_bar=progress_bar,
            autosave_cell_every=autosave_cell_every,
        )
        manager.notebook_start()
        try:
            cls.execute_managed_notebook(manager, kernel_name, log_output=log_output, **options)
        finally:
            manager.cleanup_pbar()
            manager.notebook_complete()
        executed: NotebookNode = manager.nb
        return executed

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        *,
        on_cell: Callable[[int, int], None] | None = None,
        on_line: Callable[[str], None] | None = None,
        on_start: Callable[[Kernel], None] | None = None,
        kernel_options: Mapping[str, Any] | None = None,
        start_timeout: int = 60,
        execution_timeout: int | None = None,
        **traits: Any,
    ) -> NotebookNode:
        """Starts a kernel, executes all cells, and ends the kernel.

        Args:
            nb_man: papermill's record of the execution.
            kernel_name: Name of an installed kernelspec.
            on_cell: Called with n and m when the n-th of m code cells starts.
            on_line: Called with the last line that the running cell has printed, a few times a second.
            on_start: Called with the kernel once it is ready.
            kernel_options: What jupyter_client's `start_kernel` takes: cwd, env, stdout, stderr.
            start_timeout: Seconds to wait for the kernel.
            execution_timeout: Seconds that a cell may take; None for as long as it likes.
            **traits: nbclient's.

        Returns:
            The executed notebook.

        Raises:
            DeadKernelError: The kernel died; the message says how.
            LeftEarlyError: A cell asked its kernel to end, and others come after it.
        """
        traits.pop("input_path", None)
        with TemporaryDirectory(prefix="nbship-") as directory:
            kernel = PromptKernelManager(kernel_name=kernel_name, **_private_connection(directory))
            if on_start is not None:
                traits["on_notebook_start"] = lambda **_: on_start(kernel.kernel)
            if on_cell is not None:
                traits["on_cell_execute"] = _cell_counter(nb_man.nb, on_cell)
            traits["on_cell_executed"] = _exit_watch(nb_man.nb)
            client = _TellingClient(
                nb_man,
                tell=on_line,
                km=kernel,
                kernel_name=kernel_name,
                startup_timeout=start_timeout,
                timeout=execution_timeout,
                log=logger,
                **traits,
            )
            try:
                executed: NotebookNode = client.execute(cleanup_kc=True, **(kernel_options or {}))
            except DeadKernelError as error:
                raise DeadKernelError(f"the kernel died: {kernel.describe_end()}") from error
        return executed


class _TellingClient(PapermillNotebookClient):  # type: ignore[misc]
    """Tells what cells print while they run, and keeps of it what a terminal would show in the end.

    nbclient can do the latter (`coalesce_streams`), but puts what is printed after a plot before it.
    """

    def __init__(self, *arguments: Any, tell: Callable[[str], None] | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._tell = tell
        self._printed = ""
        self._due = False

    def process_message(self, msg: dict[str, Any], *arguments: Any, **options: Any) -> NotebookNode | None:
        if self._tell is not None and msg["msg_type"] == "stream":
            self._printed = (self._printed + msg["content"]["text"])[-_KEPT:]
            if not self._due:
                # A little later, so that the last of many lines is told, and not the first.
                self._due = True
                asyncio.get_running_loop().call_later(_SECONDS_BETWEEN_LINES, self._tell_line, self._tell)
        output: NotebookNode | None = super().process_message(msg, *arguments, **options)
        return output

    def output(self, outs: list[NotebookNode], *arguments: Any, **options: Any) -> NotebookNode | None:
        new: NotebookNode | None = super().output(outs, *arguments, **options)
        if new is not None and new.output_type == "stream":
            before = outs[-2] if len(outs) > 1 else None
            goes_on = before is not None and before.output_type == "stream" and before.name == new.name
            if before is not None and goes_on:
                outs.pop()
                begun, newline, line = before.text.rpartition("\n")
                before.text = begun + newline + without_drawn_over(line + new.text)
            else:
                new.text = without_drawn_over(new.text)
        return new

    def _tell_line(self, tell: Callable[[str], None]) -> None:
        self._due = False
        if line := last_line(self._printed):
            tell(line)


def without_drawn_over(printed: str) -> str:
    """Returns what is printed without what a carriage return begins again."""
    return _DRAWN_OVER.sub("", printed.replace("\r\n", "\n")) if "\r" in printed else printed


def last_line(printed: str) -> str:
    """Returns the last line with anything in it as a terminal would show it: without what was drawn over."""
    lines = _ANSI.sub("", printed).replace("\r\n", "\n").splitlines()
    return next((line.strip()[:_LONGEST_LINE] for line in reversed(lines) if line.strip()), "")


class _SparingExecutionManager(NotebookExecutionManager):  # type: ignore[misc]
    """Saves at most once a second: papermill saves, and validates, twice per cell."""

    _next_save = 0.0

    def save(self, **kwargs: Any) -> None:
        if monotonic() >= self._next_save:
            super().save(**kwargs)
            self._next_save = monotonic() + _SECONDS_BETWEEN_SAVES

    def notebook_complete(self, **kwargs: Any) -> None:
        self._next_save = 0.0
        super().notebook_complete(**kwargs)


def _private_connection(directory: str) -> dict[str, str]:
    """Traits that make a kernel manager connect through sockets in a folder, if its path is not too long.

    No other user can connect to those, and no other process take them as it can a port number.
    """
    file = Path(directory) / "kernel.json"
    if sys.platform == "win32" or len(os.fsencode(file)) > _LONGEST_SOCKET_PATH - len("-ipc-5"):
        return {"connection_file": str(file)}
    return {"connection_file": str(file), "transport": "ipc"}


def _cell_counter(notebook: NotebookNode, on_cell: Callable[[int, int], None]) -> Callable[..., None]:
    code_cells = _code_cells(notebook)

    def on_cell_execute(cell_index: int, **_: Any) -> None:
        on_cell(code_cells.index(cell_index) + 1, len(code_cells))

    return on_cell_execute


def _exit_watch(notebook: NotebookNode) -> Callable[..., None]:
    """Notices `exit` and `quit`: a kernel only hands such a wish on, and runs cells until it ends."""
    last = max(_code_cells(notebook), default=0)

    def on_cell_executed(cell_index: int, execute_reply: Mapping[str, Any], **_: Any) -> None:
        payload = execute_reply["content"].get("payload", [])
        if cell_index < last and any(each.get("source") == "ask_exit" for each in payload):
            raise LeftEarlyError

    return on_cell_executed


def _code_cells(notebook: NotebookNode) -> list[int]:
    cells = enumerate(notebook.cells)
    return [index for index, cell in cells if cell.cell_type == "code" and cell.source.strip()]
