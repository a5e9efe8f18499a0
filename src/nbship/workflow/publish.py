"""Makes the model of a run the champion: its package in `models/NAME/`, tracked by DVC, registered with GTO.

Every part is idempotent, so that publishing again goes on where it was cut off. Git's side is not pushed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nbship import files
from nbship.config import Pipeline, Publish
from nbship.errors import NbshipError, RejectedError, UsageError, suggestion
from nbship.local.record import Artifact, RunRecord, State, all_runs, find_run
from nbship.serving import package
from nbship.serving.package import Origin, Package
from nbship.versions import dvc, git, registry

Report = Callable[[str], None]


@dataclass(frozen=True)
class Published:
    """What publishing did, and what is left to do.

    Attributes:
        name: The model.
        run: The run that made it.
        version: Its version; the one it will get, if it is not registered yet.
        placed: Whether this call put it in place; False if it was the champion already.
        committed: Whether Git holds it.
        registered: Whether this call registered it.
        pushed: Whether this call pushed it to the DVC remote.
        remote: The user's default DVC remote; empty if none is set.
        files: What Git must hold, from the project's folder.
    """

    name: str
    run: str
    version: str
    placed: bool
    committed: bool
    registered: bool
    pushed: bool
    remote: str
    files: tuple[str, ...]

    @property
    def next_commands(self) -> list[str]:
        """What to type next, in order."""
        commands = []
        if not self.committed:
            commands += [
                f"git add {shlex.join(self.files)}",
                f"git commit -m 'Publish {self.name} {self.version}' -- {shlex.join(self.files)}",
                f"nbship publish {self.name}",
            ]
        if self.remote and not self.pushed and (self.placed or self.registered):
            commands.append("dvc push")
        return commands


def publish(
    root: Path,
    pipeline: Pipeline,
    run_id: str = "",
    commit: bool = False,
    push: bool = False,
    report: Report = lambda _: None,
) -> Published:
    """Publishes the model of a run that passed the gate.

    Args:
        root: The project's folder, in a Git repository.
        pipeline: Its `publish` says what the package is made of.
        run_id: The run, or the beginning of its identifier; the newest if empty.
        commit: Make the Git commit of the champion's files, and of nothing else.
        push: Push the model to the user's default DVC remote.
        report: Told in a line what is being waited for.

    Raises:
        RejectedError: The gate rejected the run's model.
        NbshipError: The run is not finished or its files were changed; the champion has changed since the run
            was judged; Git, DVC or the disk failed. The old champion is whole.
    """
    settings = pipeline.publish
    if settings is None:
        raise UsageError(f"pipelines/{pipeline.name}.yaml: has no publish", "add publish: {target: …}")
    git.require_repository(root)
    git.identity(root)
    name = pipeline.name
    with registry.exclusive(root, name, report):
        registry.recover(root, name)
        record, folder = _finished_run(root, name, run_id)
        placed = _place(root, pipeline, settings, record, folder, report)
        description = package.read_package(registry.model_folder(root, name))
        version, registered = _register(root, description, commit)
        if push:
            dvc.push(root, registry.model_folder(root, name) / package.MODEL)
    versioned = registry.versioned_files(root, name)
    return Published(
        name=name,
        run=description.origin.run,
        version=version,
        placed=placed,
        committed=git.committed(root, versioned),
        registered=registered,
        pushed=push,
        remote=dvc.default_remote(root),
        files=tuple(path.relative_to(root).as_posix() for path in versioned),
    )


def summary(description: Package) -> str:
    """Returns a model's metrics in a few words: those that its gate looks at, else the first measured."""
    checks = description.verdict.checks if description.verdict else ()
    numbers = [(check.metric, check.value) for check in checks] or list(description.metrics.items())[:4]
    return ", ".join(f"{metric} {value:.4g}" for metric, value in numbers) or "no metrics"


def _finished_run(root: Path, name: str, run_id: str) -> tuple[RunRecord, Path]:
    record, folder = find_run(root, name, run_id)
    if record.state is State.DONE:
        return record, folder
    passed = (r.id for r in all_runs(root, name) if r.state is State.DONE and r.verdict and r.verdict.passed)
    earlier = next(passed, None)
    raise NbshipError(
        f"run {record.id} is not finished: it is {record.state}",
        f"publish the last one that passed: nbship publish {name} --run {earlier}"
        if earlier
        else f"run it: nbship run {name}",
    )


def _artifact(record: RunRecord, folder: Path, reference: str, key: str) -> Artifact:
    """Finds an output of a run, and checks that it is as the run left it."""
    outputs = {f"{s.name}.{o}": a for s in record.steps.values() for o, a in s.outputs.items()}
    if reference not in outputs:
        raise UsageError(
            f"{key}: run {record.id} has no output '{reference}'", suggestion(reference, outputs)
        )
    artifact = outputs[reference]
    try:
        intact = files.content_hash(folder / artifact.path) == artifact.hash
    except OSError:
        intact = False
    if not intact:
        raise NbshipError(
            f"run {record.id}: {artifact.path} is not as the run left it",
            f"run again: nbship run {record.pipeline}",
        )
    return artifact


def _place(
    root: Path, pipeline: Pipeline, settings: Publish, record: RunRecord, folder: Path, report: Report
) -> bool:
    """Puts the model of a run in place, unless it is the champion already; returns whether it did."""
    name = pipeline.name
    model = _artifact(record, folder, settings.model, "publish.model")
    champion = registry.champion(root, name, report)
    current = files.content_hash(champion) if champion else ""
    if current == model.hash and _is_described(registry.model_folder(root, name)):
        return False
    _check_verdict(pipeline, record)
    if record.champion != current:
        raise NbshipError(
            f"the champion has changed since run {record.id} was judged against it",
            f"judge against the new one: nbship run {name}",
        )
    reference = _artifact(record, folder, settings.reference, "publish.reference")
    with registry.staged(root, name) as staging:
        package.build(
            staging,
            name=name,
            model=folder / model.path,
            reference=folder / reference.path,
            target=settings.target,
            origin=_origin(pipeline, record),
            metrics=record.metrics,
            verdict=record.verdict,
        )
        staged = staging / package.MODEL
        tracking = dvc.tracking_text(staged, dvc.store(root, staged))
        files.write_text(dvc.tracking_file(staged), tracking)
    return True


def _is_described(folder: Path) -> bool:
    try:
        package.read_package(folder)
    except NbshipError:
        return False
    return True


def _check_verdict(pipeline: Pipeline, record: RunRecord) -> None:
    if record.verdict is None and pipeline.gate is not None:
        raise NbshipError(
            f"run {record.id} was not judged by the gate", f"run all of it: nbship run {pipeline.name}"
        )
    if record.verdict is not None and not record.verdict.passed:
        raise RejectedError(
            f"run {record.id} was rejected by the gate: {'; '.join(record.verdict.reasons)}",
            "the champion stays; improve the model and run again",
        )


def _origin(pipeline: Pipeline, record: RunRecord) -> Origin:
    data = {
        artifact.origin: artifact.hash
        for step in record.steps.values()
        for artifact in step.inputs.values()
        if artifact.origin in pipeline.data
    }
    return Origin(
        run=record.id,
        started=record.started,
        revision=record.environment.revision,
        dirty=record.environment.dirty,
        data=data,
    )


def _register(root: Path, description: Package, commit: bool) -> tuple[str, bool]:
    """Commits the champion if asked to, and registers it once Git holds it; returns its version."""
    name = description.name
    versioned = registry.versioned_files(root, name)
    known = registry.versions(root, name)
    committed = git.committed(root, versioned)
    if committed and known and known[0].active and _same_model(root, known[0], versioned[0]):
        return known[0].version, False
    version = _next_version(root, description, known)
    message = f"{summary(description)} (run {description.origin.run})"
    if not committed:
        if not commit:
            return version, False
        git.commit(root, versioned, f"Publish {name} {version}\n\n{message}")
    registry.register(root, name, version, git.last_change(root, versioned), message)
    return version, True


def _same_model(root: Path, version: registry.Version, tracking: Path) -> bool:
    return git.read_at(root, version.commit, tracking) == tracking.read_text(encoding="utf-8")


def _next_version(root: Path, description: Package, known: list[registry.Version]) -> str:
    """A client must change, and so the major version, when the model takes or gives something else."""
    if not known:
        return registry.next_version("", breaking=False)
    path = registry.model_folder(root, description.name) / package.DESCRIPTION
    text = git.read_at(root, known[0].commit, path)
    before = package.parse_package(text, f"{known[0].version}:{path.name}") if text else None
    breaking = before is None or _interface(before) != _interface(description)
    return registry.next_version(known[0].version, breaking)


def _interface(description: Package) -> Mapping[str, object]:
    output = description.output
    types = {column.name: column.type for column in description.inputs}
    return {"inputs": types, "kind": output.kind, "target": output.target, "classes": output.classes}
