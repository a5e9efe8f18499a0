"""Runs one step notebook with papermill and says how it failed.

Used by the local engine and, inside the container, by every step on Kubeflow. Not for deciding whether a step
must run, nor for the files that it reads and writes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nbship.errors import NbshipError
from nbship.files import disk_error
from nbship.local.environment import kernel_environment
from nbship.notebook import ADDED_TAGS, ANSI, RESULTS_TAG, Notebook
from nbship.values import ValueTypeError, check_value

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from papermill.exceptions import PapermillExecutionError

    from nbship.kernels.provisioner import Kernel

_TRACEBACK_LINES = 30
_LOG_LINES = 10
# What is no plain value is handed on in a form that no result may have, so that it can be named in the error.
_RESULTS_CELL = """\
# Added by nbship: hands the step's results on.
import json, pathlib
pathlib.Path({path!r}).write_text(json.dumps({{{items}}}, default=lambda value: (
    value.item() if hasattr(value, "item") else {{type(value).__name__: repr(value)}}
)))"""


class StepError(NbshipError):
    """A notebook that did not run to its end, or did not write what it declares."""


def execute(
    notebook: Notebook,
    values: Mapping[str, Any],
    executed: Path,
    *,
    kernel: str,
    folder: Path,
    project: Path | None = None,
    variables: Mapping[str, str] = MappingProxyType({}),
    timeout: float | None = None,
    on_cell: Callable[[int, int], None] | None = None,
    on_line: Callable[[str], None] | None = None,
    on_start: Callable[[Kernel], None] | None = None,
) -> dict[str, Any]:
    """Executes a notebook with values injected after its parameters cell; the source is only read.

    Args:
        notebook: The notebook.
        values: Value by variable: paths of artifacts as text, and parameters.
        executed: Where the executed copy goes; it is there after a failure as well.
        kernel: Name of the kernel specification.
        folder: Working directory of the kernel.
        project: The project, whose modules it can import.
        variables: Environment variables of the kernel beside this process's.
        timeout: Seconds that one cell may take.
        on_cell: Called with the index of each code cell that starts, from 1, and their number.
        on_line: Called with the last line that the running cell has printed, a few times a second.
        on_start: Called with the kernel once it is ready.

    Returns:
        Value by name of every scalar result.

    Raises:
        StepError: A cell failed, left or took too long, the kernel died, or a result is not of its declared
            type.
        NbshipError: The disk is full or the executed copy cannot be written.
    """
    import papermill

    # Papermill tells its progress and failures to the log; ours are told by `on_cell` and by errors.
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    # Kernels are given absolute paths, for the folder they run in is not the caller's.
    executed, folder = executed.absolute(), folder.absolute()
    environment = kernel_environment(project, folder)
    with TemporaryDirectory(prefix="nbship-") as temporary:
        handover, log = Path(temporary, "results.json"), Path(temporary, "kernel.log")
        node = _prepared(notebook, handover)
        with _failures_explained(notebook, node, executed, timeout, log), log.open("wb") as stream:
            executed.parent.mkdir(parents=True, exist_ok=True)
            papermill.execute_notebook(
                node,
                # Papermill fills in what is in braces.
                str(executed).replace("{", "{{").replace("}", "}}"),
                parameters=dict(values),
                engine_name="nbship",
                kernel_name=kernel,
                language="python",
                progress_bar=False,
                # In this form a part of a second counts as well.
                timeout_func=lambda _: timeout,
                # The kernel's working directory; papermill's own `cwd` would change this whole process's.
                resources={"metadata": {"path": str(folder)}},
                # A kernel's own output is not the caller's; what cells print is in the notebook.
                kernel_options={"env": {**environment, **variables}, "stdout": stream, "stderr": stream},
                on_cell=on_cell,
                on_line=on_line,
                on_start=on_start,
            )
        return _results(notebook, handover)


def explained(error: Exception, place: Path) -> NbshipError:
    """Returns an error that a person can act on for any error.

    Args:
        error: What was raised.
        place: Where, if the error does not say it.
    """
    if isinstance(error, NbshipError):
        return error
    if isinstance(error, OSError):
        return disk_error(error, Path(error.filename or place))
    return NbshipError(f"{type(error).__name__}: {error}", "see where it comes from: nbship --debug run …")


def _prepared(notebook: Notebook, handover: Path) -> NotebookNode:
    """The notebook without old outputs, with a last cell that hands its results on."""
    import nbformat

    node = nbformat.v4.upgrade(nbformat.read(notebook.path, as_version=4))
    sources = [cell.source for cell in node.cells if cell.cell_type == "code"]
    if sorted(sources) != sorted([notebook.parameters_source, *notebook.code]):
        raise StepError(f"{notebook.path.name}: was changed after it had been read", "run again")
    for cell in node.cells:
        cell.metadata.setdefault("tags", [])
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    if notebook.signature.results:
        items = ", ".join(f"{name!r}: {name}" for name in notebook.signature.results)
        cell = nbformat.v4.new_code_cell(
            _RESULTS_CELL.format(path=str(handover), items=items), id=RESULTS_TAG
        )
        cell.metadata["tags"] = [RESULTS_TAG]
        node.cells.append(cell)
    return node


def _results(notebook: Notebook, handover: Path) -> dict[str, Any]:
    if not notebook.signature.results:
        return {}
    if not handover.exists():
        raise StepError(
            f"{notebook.path.name}: left before its last cell, so its results are missing",
            "let it run to its end, without sys.exit()",
        )
    values = json.loads(handover.read_text(encoding="utf-8"))
    for name, variable in notebook.signature.results.items():
        try:
            values[name] = check_value(variable.type, values[name])
        except ValueTypeError as error:
            raise StepError(
                f"{notebook.path.name}: result '{name}' {error}", f"it is declared {variable.declaration}"
            ) from None
    return dict(values)


@contextmanager
def _failures_explained(
    notebook: Notebook, node: NotebookNode, executed: Path, timeout: float | None, log: Path
) -> Iterator[None]:
    """Says what happened, and in which cell of the source it was that papermill stopped."""
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from nbship.kernels.engine import LeftEarlyError

    hint = f"the notebook so far: {executed}"
    try:
        yield
    except LeftEarlyError:
        where = _stopped_at(notebook, node, executed)
        raise StepError(
            f"{where}: exit was called, and the cells after it did not run",
            "remove it; to end a step early and count it as done: sys.exit(0)",
        ) from None
    except PapermillExecutionError as error:
        where = _stopped_at(notebook, node, executed)
        raise StepError(f"{where}: {_in_one_line(error)}", hint, _cell_and_traceback(error)) from None
    except CellTimeoutError:
        where = _stopped_at(notebook, node, executed)
        raise StepError(f"{where}: took longer than {timeout:g} s", hint) from None
    except DeadKernelError as error:
        where = _stopped_at(notebook, node, executed)
        raise StepError(f"{where}: {ANSI.sub('', str(error))}", hint, _end_of(log)) from None
    except (NoSuchKernel, RuntimeError) as error:
        raise StepError(
            f"{notebook.path.name}: its kernel did not start: {error}", "try --kernel standard", _end_of(log)
        ) from error
    except OSError as error:
        raise disk_error(error, Path(error.filename or executed)) from error


def _stopped_at(notebook: Notebook, node: NotebookNode, executed: Path) -> str:
    """The cell that was begun last, as a person counts: without the cells that were added."""
    import nbformat

    name = notebook.path.name
    try:
        cells = nbformat.read(executed, as_version=4).cells
    except (OSError, ValueError):
        return name
    begun = [cell for cell in cells if cell.metadata.get("papermill", {}).get("start_time")]
    if not begun:
        return name
    if ADDED_TAGS.intersection(begun[-1].metadata.get("tags", [])):
        return f"{name}, cell that nbship added"
    numbers = {cell.id: number for number, cell in enumerate(node.cells, start=1)}
    return f"{name}, cell {numbers[begun[-1].id]}"


def _in_one_line(error: PapermillExecutionError) -> str:
    message = ANSI.sub("", error.evalue).strip().partition("\n")[0]
    return f"{error.ename}: {message}" if message else str(error.ename)


def _cell_and_traceback(error: PapermillExecutionError) -> str:
    traceback = ANSI.sub("", "\n".join(error.traceback)).splitlines()
    if len(traceback) > _TRACEBACK_LINES:
        traceback = ["…", *traceback[-_TRACEBACK_LINES:]]
    return "\n".join(["failing cell:", *(f"    {line}" for line in error.source.splitlines()), *traceback])


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES:])
