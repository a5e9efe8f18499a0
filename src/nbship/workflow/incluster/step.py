"""What a step does on Kubeflow: run the notebook that its component carries.

Called by the functions of `nbship.kubeflow.component`, in a container or under `kfp.local`. Artifacts are
KFP's; what happens in between is what happens on this machine.
"""

from __future__ import annotations

import base64
import bz2
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from nbship.errors import NbshipError
from nbship.files import disk_error, write_bytes, write_text
from nbship.kubeflow.escaping import received
from nbship.local.artifacts import Contents, Input, check_outputs, unaltered
from nbship.local.execute import StepError, execute
from nbship.notebook import Notebook, read_notebook
from nbship.threads import available_cpus, limits
from nbship.values import check_value
from nbship.workflow.incluster import failed

_KERNEL = "python3"


class KfpArtifact(Protocol):
    """What is used of KFP's artifacts."""

    path: str
    uri: str
    metadata: dict[str, Any]


def run_step(
    arguments: Mapping[str, Any],
    executed_notebook: KfpArtifact,
    *,
    path: str,
    notebook: str,
    timeout: float | None = None,
    champion: str = "",
    variables: str = "{}",
    files: str = "{}",
) -> None:
    """Runs a notebook as a step, and ends the process when it fails.

    Args:
        arguments: By variable of the parameters cell: an artifact, a parameter's value, or the file that
            takes a scalar result.
        executed_notebook: Receives the executed notebook as HTML, also when a cell failed.
        path: The notebook's file in the project; its name appears in errors.
        notebook: The notebook's JSON; or as JSON text, base64 of its bzip2.
        timeout: Seconds that one cell may take.
        champion: The input that is the champion; where that is empty there is none, and all outputs are.
        variables: JSON of the environment variables that the step has beside its container's.
        files: JSON of the project's modules and files that the notebook uses, by path in the project: the
            lines of a text, or bytes as base64 of bzip2.
    """
    if champion and not Path(arguments[champion].path).stat().st_size:
        _leave_empty([*arguments.values(), executed_notebook])
        return
    with failures_end_the_process(), tempfile.TemporaryDirectory(prefix="nbship-") as folder:
        project, work = Path(folder, "project"), Path(folder, "work")
        packed = json.loads(notebook)
        whole = packed if isinstance(packed, str) else [notebook]
        for name, content in {path: whole, **json.loads(files)}.items():
            write_bytes(project / name, _unpacked(content))
        os.environ.update(json.loads(variables))
        source = read_notebook(project / path, path)
        _run(source, arguments, executed_notebook, timeout, project, work)


@contextmanager
def failures_end_the_process() -> Iterator[None]:
    """Tells a failure that a person can act on in the log, without the traceback of KFP's executor."""
    try:
        yield
    except NbshipError as error:
        lines = filter(
            None, [f"error: {error.message}", error.details, error.hint and f"hint:  {error.hint}"]
        )
        sys.stderr.write("\n".join(lines) + "\n")
        raise SystemExit(error.exit_code) from None


def _unpacked(content: list[str] | str) -> bytes:
    if isinstance(content, list):
        return "".join(content).encode("utf-8")
    return bz2.decompress(base64.b64decode(content))


def _leave_empty(artifacts: Iterable[Any]) -> None:
    """Writes the artifacts that are not there yet, which are the outputs."""
    sys.stdout.write("there is no champion yet\n")
    for path in (Path(artifact.path) for artifact in artifacts if hasattr(artifact, "path")):
        if not path.exists():
            write_bytes(path, b"")


def _run(
    notebook: Notebook,
    arguments: Mapping[str, Any],
    html: KfpArtifact,
    timeout: float | None,
    project: Path,
    folder: Path,
) -> None:
    from nbship.local.html import export_html

    signature = notebook.signature
    paths = {name: _own_path(folder, name, variable.default) for name, variable in signature.outputs.items()}
    values = {
        **{
            name: check_value(v.type, received(_as_written(arguments[name])))
            for name, v in signature.parameters.items()
        },
        **{name: _linked(folder, name, v.default, arguments[name]) for name, v in signature.inputs.items()},
        **{name: str(output) for name, output in paths.items()},
    }
    executed = folder / "executed" / notebook.path.name
    contents, cpus = Contents(), available_cpus()
    inputs = {name: _input(Path(values[name]), arguments[name].path, contents) for name in signature.inputs}
    try:
        with unaltered(notebook, inputs, contents):
            results = execute(
                notebook,
                values,
                executed,
                kernel=_KERNEL,
                folder=notebook.path.parent,
                project=project,
                variables=limits(cpus, cpus, os.environ),
                timeout=timeout,
                on_cell=_tell_progress,
            )
            check_outputs(notebook, paths)
    except NbshipError as error:
        _keep(error, executed, html.uri)
        raise
    finally:
        if executed.exists():
            export_html(executed, Path(html.path))
    for name, output in paths.items():
        _log_metrics(notebook, name, output, arguments[name])
        shutil.move(output, arguments[name].path)
    for name, result in results.items():
        text = result if isinstance(result, str) else json.dumps(result)
        write_text(Path(arguments[name]), text)


def _keep(error: NbshipError, executed: Path, uri: str) -> None:
    """Keeps the notebook of a step that failed, and says where it is: nothing in this container stays."""
    if not executed.exists():
        return
    command = failed.command(uri)
    if command:
        failed.tell(executed)
    place = f"the notebook so far: {command or uri}"
    if not error.hint or str(executed) in error.hint:
        error.hint = place
    else:
        error.details = "\n".join(filter(None, [error.details, place]))


def _input(path: Path, place: str, contents: Contents) -> Input:
    try:
        return Input(path, contents.hash(path), place, "other steps may read it too")
    except OSError as error:
        raise disk_error(error, Path(place)) from None


def _own_path(folder: Path, name: str, default: str) -> Path:
    """A file with the ending that the notebook expects; KFP's paths have none, and savers tend to add one."""
    path = folder / "artifacts" / name / (Path(default).name or name)
    path.parent.mkdir(parents=True)
    return path


def _linked(folder: Path, name: str, default: str, artifact: KfpArtifact) -> str:
    link = _own_path(folder, name, default)
    link.symlink_to(Path(artifact.path).absolute())
    return str(link)


def _as_written(value: Any) -> Any:
    """JSON's numbers have one type for KFP, so a whole number may arrive as a float."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_as_written(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_written(item) for key, item in value.items()}
    return value


def _log_metrics(notebook: Notebook, name: str, path: Path, artifact: Any) -> None:
    """Shows what is in a metrics file on KFP's page as well.

    A `Metrics` file is a flat JSON object. A `ClassificationMetrics` file is one with `confusion_matrix`
    (`categories`, `matrix`), `roc_curve` (`fpr`, `tpr`, `threshold`), or both.

    Raises:
        StepError: A classification metrics file is not of this form.
    """
    kind = notebook.signature.outputs[name].type
    if kind == "Metrics":
        for metric, value in json.loads(path.read_text(encoding="utf-8")).items():
            # KFP's own file is strict JSON, which has no NaN and no infinity.
            finite = not isinstance(value, float) or math.isfinite(value)
            artifact.log_metric(metric, value if finite else str(value))
    elif kind == "ClassificationMetrics":
        loggers = {
            "confusion_matrix": artifact.log_confusion_matrix,
            "roc_curve": lambda **curve: artifact.log_roc_curve(**_finite_thresholds(curve)),
        }
        try:
            for key, value in json.loads(path.read_text(encoding="utf-8")).items():
                loggers[key](**value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StepError(
                f"{notebook.path.name}: its output '{name}' is not a classification metrics file: {error}",
                'write {"confusion_matrix": {"categories": …, "matrix": …}} or {"roc_curve": {"fpr": …, …}}',
            ) from None


def _finite_thresholds(curve: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """scikit-learn's first threshold is infinite, "above every score"; KFP wants a number."""
    above = 1.0 + max((t for t in curve["threshold"] if math.isfinite(t)), default=0.0)
    return {**curve, "threshold": [t if math.isfinite(t) else above for t in curve["threshold"]]}


def _tell_progress(cell: int, cells: int) -> None:
    sys.stdout.write(f"cell {cell} of {cells}\n")
    sys.stdout.flush()
