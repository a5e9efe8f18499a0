"""Runs one step notebook with papermill and checks what it left behind.

Used by the local engine and, inside the container, by every step on Kubeflow. Not for deciding whether a step
must run.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nbship.errors import NbshipError
from nbship.files import disk_error
from nbship.local.environment import kernel_environment
from nbship.notebook import Notebook
from nbship.values import ValueTypeError, check_value

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from papermill.exceptions import PapermillExecutionError

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_TRACEBACK_LINES = 30
_LOG_LINES = 10
_ADDED_TAGS = {"injected-parameters", "nbship-results"}
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
    timeout: float | None = None,
    on_cell: Callable[[int, int], None] | None = None,
    on_start: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Executes a notebook with values injected after its parameters cell; the source is only read.

    Args:
        notebook: The notebook.
        values: Value by variable: paths of artifacts as text, and parameters.
        executed: Where the executed copy goes; it is there after a failure as well.
        kernel: Name of the kernel specification.
        folder: Working directory of the kernel.
        project: The project, whose modules it can import.
        timeout: Seconds that one cell may take.
        on_cell: Called with the index of each code cell that starts, from 1, and their number.
        on_start: Called with the kernel's process, which leads a process group of its own.

    Returns:
        Value by name of every scalar result.

    Raises:
        StepError: A cell failed or took too long, the kernel died, or a result is not of its declared type.
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
        with _told(notebook, node, executed, timeout, log), log.open("wb") as stream:
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
                kernel_options={"env": environment, "stdout": stream, "stderr": stream},
                on_cell=on_cell,
                on_start=on_start,
            )
        return _results(notebook, handover)


def check_outputs(notebook: Notebook, paths: Mapping[str, Path]) -> dict[str, Any]:
    """Checks that every declared output is there and of its kind.

    Args:
        notebook: The notebook that ran.
        paths: Where each output should be.

    Returns:
        The metrics of all its `Output[Metrics]` files together.

    Raises:
        StepError: An output is missing, or a metrics file is not a JSON object of numbers and texts.
    """
    metrics: dict[str, Any] = {}
    for name, variable in notebook.signature.outputs.items():
        path = paths[name]
        if not path.exists():
            raise StepError(
                f"{notebook.path.name}: ran to its end but did not write its output '{name}'",
                f"write the file to the path in the variable {name}",
            )
        if variable.type == "Metrics":
            metrics.update(_read_metrics(notebook, name, path))
    return metrics


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
            _RESULTS_CELL.format(path=str(handover), items=items), id="nbship-results"
        )
        cell.metadata["tags"] = ["nbship-results"]
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


def _read_metrics(notebook: Notebook, name: str, path: Path) -> dict[str, Any]:
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        metrics = None
    plain = isinstance(metrics, dict) and all(
        isinstance(v, int | float | str | bool) for v in metrics.values()
    )
    if not plain:
        raise StepError(
            f"{notebook.path.name}: its output '{name}' is no flat JSON object of numbers and texts",
            'write something like {"rmse": 2.5}',
        )
    return dict(metrics)


@contextmanager
def _told(
    notebook: Notebook, node: NotebookNode, executed: Path, timeout: float | None, log: Path
) -> Iterator[None]:
    """Says what happened, and in which cell of the source it was that papermill stopped."""
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    hint = f"the notebook so far: {executed}"
    try:
        yield
    except PapermillExecutionError as error:
        where = _stopped_at(notebook, node, executed)
        raise StepError(f"{where}: {_in_one_line(error)}", hint, _cell_and_traceback(error)) from None
    except CellTimeoutError:
        where = _stopped_at(notebook, node, executed)
        raise StepError(f"{where}: took longer than {timeout:g} s", hint) from None
    except DeadKernelError as error:
        where = _stopped_at(notebook, node, executed)
        raise StepError(f"{where}: {_ANSI.sub('', str(error))}", hint, _end_of(log)) from None
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
    if _ADDED_TAGS.intersection(begun[-1].metadata.get("tags", [])):
        return f"{name}, cell that nbship added"
    numbers = {cell.id: number for number, cell in enumerate(node.cells, start=1)}
    return f"{name}, cell {numbers[begun[-1].id]}"


def _in_one_line(error: PapermillExecutionError) -> str:
    message = _ANSI.sub("", error.evalue).strip().partition("\n")[0]
    return f"{error.ename}: {message}" if message else str(error.ename)


def _cell_and_traceback(error: PapermillExecutionError) -> str:
    traceback = _ANSI.sub("", "\n".join(error.traceback)).splitlines()
    if len(traceback) > _TRACEBACK_LINES:
        traceback = ["…", *traceback[-_TRACEBACK_LINES:]]
    return "\n".join(["failing cell:", *(f"    {line}" for line in error.source.splitlines()), *traceback])


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES:])
