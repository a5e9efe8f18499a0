"""Runs one step notebook with papermill and checks what it left behind.

Used by the local engine and, inside the container, by every step on Kubeflow. Not for deciding whether a step
must run.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbship.errors import NbshipError
from nbship.notebook import Notebook
from nbship.values import ValueTypeError, check_value

if TYPE_CHECKING:
    from nbformat import NotebookNode

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_TRACEBACK_LINES = 30
_RESULTS_CELL = """\
# Added by nbship: hands the step's results on.
import json, pathlib
pathlib.Path({path!r}).write_text(json.dumps({{{items}}}, default=lambda value: value.item()))"""


class StepError(NbshipError):
    """A notebook that did not run to its end, or did not write what it declares."""


def execute(
    notebook: Notebook,
    values: Mapping[str, Any],
    executed: Path,
    *,
    kernel: str,
    folder: Path,
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
        timeout: Seconds that one cell may take.
        on_cell: Called with the index of each code cell that starts, from 1, and their number.
        on_start: Called with the kernel's process, which leads a process group of its own.

    Returns:
        Value by name of every scalar result.

    Raises:
        StepError: A cell failed or took too long, the kernel died, or a result is not of its declared type.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    # Papermill tells its progress to the log; ours is told by `on_cell`.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    # Kernels are given absolute paths, for the folder they run in is not the caller's.
    executed, folder = executed.absolute(), folder.absolute()
    executed.parent.mkdir(parents=True, exist_ok=True)
    handover = executed.with_suffix(".results.json")
    try:
        papermill.execute_notebook(
            _prepared(notebook, handover),
            executed,
            parameters=dict(values),
            engine_name="nbship",
            kernel_name=kernel,
            progress_bar=False,
            execution_timeout=timeout,
            # The kernel's working directory; papermill's own `cwd` would change this whole process's.
            resources={"metadata": {"path": str(folder)}},
            on_cell=on_cell,
            on_start=on_start,
        )
        return _results(notebook, handover)
    except PapermillExecutionError as error:
        raise _cell_error(notebook, error, executed) from None
    except CellTimeoutError:
        raise StepError(
            f"{notebook.path.name}: a cell took longer than {timeout:g} s", f"the notebook so far: {executed}"
        ) from None
    except DeadKernelError as error:
        raise StepError(
            f"{notebook.path.name}: {_ANSI.sub('', str(error))}", f"the notebook so far: {executed}"
        ) from None
    finally:
        handover.unlink(missing_ok=True)


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

    node = nbformat.read(notebook.path, as_version=4)
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


def _cell_error(notebook: Notebook, error: Any, executed: Path) -> StepError:
    """Papermill counts the cells it injected; a person counts the cells of the source."""
    traceback = _ANSI.sub("", "\n".join(error.traceback)).splitlines()
    if len(traceback) > _TRACEBACK_LINES:
        traceback = ["…", *traceback[-_TRACEBACK_LINES:]]
    return StepError(
        f"{notebook.path.name}: {error.ename}: {_ANSI.sub('', error.evalue).strip() or 'no message'}",
        f"the notebook up to the failing cell: {executed}",
        details="\n".join(
            ["failing cell:", *(f"    {line}" for line in error.source.splitlines()), *traceback]
        ),
    )
