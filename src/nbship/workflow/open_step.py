"""Puts the files that a step reads where its notebook looks for them, so that Run All works at once.

They come from a run. What a person has written there stays, and so does what a notebook writes there itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbship import files
from nbship.config import load_pipeline
from nbship.errors import NbshipError, Report, UsageError, suggestion
from nbship.files import content_hash
from nbship.graph import Reference
from nbship.notebook import Notebook, read_notebook
from nbship.record import Artifact, RunRecord, StepRecord, all_runs, find_run, run_folder
from nbship.workflow import data


@dataclass(frozen=True)
class OpenedStep:
    """A notebook that can be run as it stands.

    Attributes:
        notebook: The notebook.
        pipeline: The pipeline.
        run: The run that the files come from.
        filled: What was put in place, from the project's folder.
        there: What was in place already.
        parameters: Parameters that had another value in the run than the notebook says, with that value.
    """

    notebook: Path
    pipeline: str
    run: str
    filled: tuple[str, ...]
    there: tuple[str, ...]
    parameters: Mapping[str, Any]


def open_step(
    root: Path,
    step: str,
    run_id: str = "",
    pipeline: str = "",
    replace: bool = False,
    report: Report = lambda _: None,
) -> OpenedStep:
    """Fills the default paths of a step's inputs with what they were in a run.

    They are copies, so that all there is the user's. A file that some run made is
    replaced by that of this run, since it can be had again.

    Args:
        root: The project's folder.
        step: The step; one that failed will do.
        run_id: The run, or the beginning of its identifier; the newest that reached the step if empty.
        pipeline: Its pipeline; any if empty.
        replace: Whether a file that no run made may be replaced.
        report: Told in a line what is fetched.

    Raises:
        UsageError: No run reached such a step, or a file of one's own is in the way; nothing was written.
        NbshipError: A file of the run was changed or removed, or something cannot be written.
    """
    record, made, notebook = _reached(root, step, run_id, pipeline)
    if any(not _of_a_step(artifact) for artifact in made.inputs.values()):
        data.ensure(root, load_pipeline(root, record.pipeline), report)
    wanted = dict(_wanted(root, record, made, notebook))
    there = [target for target, (_, known) in wanted.items() if target.exists() and _hash(target) == known]
    missing = {target: source for target, (source, _) in wanted.items() if target not in there}
    in_the_way = [target for target in missing if target.exists()]
    if in_the_way and not replace:
        _check_replaceable(root, in_the_way)
    for target, source in missing.items():
        if target.is_dir():
            files.remove(target)
        files.copy(source, target)
    for variable in notebook.signature.outputs.values():
        (notebook.path.parent / str(variable.default)).parent.mkdir(parents=True, exist_ok=True)
    return OpenedStep(
        notebook=notebook.path,
        pipeline=record.pipeline,
        run=record.id,
        filled=tuple(_shown(root, target) for target in missing),
        there=tuple(_shown(root, target) for target in there),
        parameters={
            name: made.parameters[name]
            for name, variable in notebook.signature.parameters.items()
            if name in made.parameters and made.parameters[name] != variable.default
        },
    )


def _reached(root: Path, step: str, run_id: str, pipeline: str) -> tuple[RunRecord, StepRecord, Notebook]:
    """The run to take, the step in it, and its notebook as it is now."""
    records = [find_run(root, pipeline, run_id)[0]] if run_id else all_runs(root, pipeline)
    known: set[str] = set()
    for record in records:
        known |= record.steps.keys()
        made = record.steps.get(step)
        if made is None or not (root / made.source).is_file():
            continue
        notebook = read_notebook(root / made.source, made.source)
        if record.synthetic and run_id:
            raise UsageError(
                f"run {record.id} was on synthetic data", f"run it: nbship run {record.pipeline}"
            )
        # Outputs may be new in the notebook; an input that the run did not have cannot be filled.
        if not record.synthetic and notebook.signature.inputs.keys() <= made.inputs.keys():
            return record, made, notebook
    if step in known:
        raise UsageError(
            f"no run got as far as step '{step}' with all that its notebook takes now",
            f"run it: nbship run {pipeline or 'NAME'}",
        )
    where = f"run {run_id}" if run_id else f"run of {pipeline}" if pipeline else "run"
    raise UsageError(
        f"no {where} has a step '{step}'",
        suggestion(step, known) if known else f"run it first: nbship run {pipeline or 'NAME'}",
    )


def _wanted(
    root: Path, record: RunRecord, made: StepRecord, notebook: Notebook
) -> Iterator[tuple[Path, tuple[Path, str]]]:
    """Where each input is looked for, where it is, and its hash; without those that are in their place."""
    folder = run_folder(root, record.pipeline, record.id)
    for name, variable in notebook.signature.inputs.items():
        artifact = made.inputs[name]
        own = _of_a_step(artifact)
        source = (folder if own else root) / artifact.path
        target = notebook.path.parent / str(variable.default)
        if source.resolve() == target.resolve():
            continue
        if not source.exists() or (own and _hash(source) != artifact.hash):
            raise NbshipError(
                f"{source}: was {'changed' if source.exists() else 'removed'} after run {record.id}",
                f"run again: nbship run {record.pipeline}",
            )
        yield target, (source, artifact.hash if own else _hash(source))


def _of_a_step(artifact: Artifact) -> bool:
    return Reference.parse(artifact.origin)[0] is not None


def _check_replaceable(root: Path, targets: list[Path]) -> None:
    made = {
        artifact.hash
        for record in all_runs(root)
        for step in record.steps.values()
        for artifact in step.outputs.values()
    }
    own = [target for target in targets if _hash(target) not in made]
    if own:
        others = f" and {len(own) - 1} more" if len(own) > 1 else ""
        raise UsageError(
            f"{_shown(root, own[0])}{others}: is there already, and no run made it",
            "keep it elsewhere, or have it replaced: --replace (replace=True)",
        )


def _hash(path: Path) -> str:
    try:
        return content_hash(path)
    except OSError as error:
        raise files.disk_error(error, path) from None


def _shown(root: Path, path: Path) -> str:
    inside = path.resolve()
    return (
        inside.relative_to(root.resolve()).as_posix() if inside.is_relative_to(root.resolve()) else str(path)
    )
