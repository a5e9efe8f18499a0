"""Makes the model of a run the champion: its package in `models/NAME/`, tracked by DVC, registered with GTO.

Every part is idempotent, so that publishing again goes on where it was cut off. How it gets to others is the
business of `push`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nbship import files, package
from nbship.config import Pipeline, Publish
from nbship.errors import NbshipError, RejectedError, Report, UsageError, suggestion
from nbship.package import Origin, Package
from nbship.package.sample import SAMPLE
from nbship.package.trained import TRAINED_ROWS
from nbship.record import Artifact, RunRecord, State, all_runs, find_run
from nbship.versions import dvc, git, registry
from nbship.workflow.mirror import mirror
from nbship.workflow.push import Destination, Registration, check, find_destination, next_version
from nbship.workflow.push import push as push_champion


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
        pushed: Whether the DVC remote, the model store and Git's remote have it.
        remote: The user's default DVC remote; empty if none is set.
        files: What Git must hold, from the project's folder.
        branch: The branch that it was pushed to, such as `origin/main`; empty if it was not.
        followed: Whether the branch here has the pushed commit.
        stored: The address of its copy in the model store; empty if there is none.
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
    branch: str = ""
    followed: bool = True
    stored: str = ""

    @property
    def next_commands(self) -> list[str]:
        """What to type next, in order."""
        commands = []
        if not self.committed and not self.pushed:
            commands += [
                f"git add {shlex.join(self.files)}",
                f"git commit -m 'Publish {self.name} {self.version}' -- {shlex.join(self.files)}",
                f"nbship publish {self.name}",
            ]
        if self.remote and not self.pushed and (self.placed or self.registered):
            commands.append("dvc push")
        if not self.followed:
            commands.append(f"git pull --rebase --autostash {self.branch.replace('/', ' ', 1)}")
        return commands


def publish(
    root: Path,
    pipeline: Pipeline,
    run_id: str = "",
    commit: bool = False,
    push: bool = False,
    report: Report = lambda _: None,
    branch: str = "",
) -> Published:
    """Publishes the model of a run that passed the gate.

    Args:
        root: The project's folder, in a Git repository.
        pipeline: Its `publish` says what the package is made of.
        run_id: The run, or the beginning of its identifier; the newest if empty.
        commit: Make the Git commit of the champion's files, and of nothing else.
        push: Commit it, and push it to the user's default DVC remote, the model store and Git's remote.
        report: Told in a line what is being waited for.
        branch: Of Git's remote; the one checked out if empty, or what CI builds, or the default one.

    Raises:
        RejectedError: The gate rejected the run's model.
        NbshipError: The run is not finished or its files were changed; the champion has changed since the run
            was judged; Git, DVC or the disk failed. The old champion is whole.
    """
    settings = pipeline.publish
    if settings is None:
        raise UsageError(f"pipelines/{pipeline.name}.yaml: has no publish", "add publish: {target: …}")
    git.require_repository(root)
    if commit or push:
        git.require_no_operation(root)
        git.identity(root)
    name = pipeline.name
    destination = find_destination(root, settings, branch) if push else None
    with registry.exclusive(root, name, report):
        registry.recover(root, name)
        record, folder = _finished_run(root, name, run_id)
        placed = _place(root, pipeline, settings, record, folder, destination, report)
        description = package.read_package(registry.model_folder(root, name))
        if destination:
            registration = push_champion(root, destination, description, _message(description), report)
        else:
            registration = _register(root, description, commit)
    mirror(root, pipeline, report)
    versioned = registry.versioned_files(root, name)
    return Published(
        name=name,
        run=description.origin.run,
        version=registration.version,
        placed=placed,
        committed=git.committed(root, versioned),
        registered=registration.new,
        pushed=destination is not None,
        remote=dvc.default_remote(root),
        files=tuple(path.relative_to(root).as_posix() for path in versioned),
        branch=str(destination.upstream) if destination else "",
        followed=registration.followed,
        stored=registration.stored,
    )


def _message(description: Package) -> str:
    return f"{summary(description)} (run {description.origin.run})"


def summary(description: Package) -> str:
    """Returns a model's metrics in a few words: those that its gate looks at, else the first measured."""
    checks = description.verdict.checks if description.verdict else ()
    numbers = [(check.metric, check.value) for check in checks] or list(description.metrics.items())[:4]
    return ", ".join(f"{metric} {value:.4g}" for metric, value in numbers) or "no metrics"


def _finished_run(root: Path, name: str, run_id: str) -> tuple[RunRecord, Path]:
    record, folder = find_run(root, name, run_id)
    if record.state is State.DONE and not record.synthetic:
        return record, folder
    if record.synthetic:
        problem = f"run {record.id} is not on real data: a sample stands in for {', '.join(record.synthetic)}"
    else:
        problem = f"run {record.id} is not finished: it is {record.state}"
    earlier = next((run.id for run in all_runs(root, name) if _passed(run)), None)
    raise NbshipError(
        problem,
        f"publish the last one that passed: nbship publish {name} --run {earlier}"
        if earlier
        else f"run it: nbship run {name}",
    )


def _passed(record: RunRecord) -> bool:
    judged = record.verdict is not None and record.verdict.passed
    return record.state is State.DONE and judged and not record.synthetic


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
    root: Path,
    pipeline: Pipeline,
    settings: Publish,
    record: RunRecord,
    folder: Path,
    destination: Destination | None,
    report: Report,
) -> bool:
    """Puts a run's model in place, or new words about it if it is the champion; returns whether it did."""
    name = pipeline.name
    model = _artifact(record, folder, settings.model, "publish.model")
    champion = registry.champion(root, name, report)
    current = files.content_hash(champion) if champion else ""
    described = package.find_package(registry.model_folder(root, name))
    if described and current == model.hash:
        return _reword(root, pipeline, settings, described)
    _check_verdict(pipeline, record)
    if record.champion != current:
        raise NbshipError(
            f"the champion has changed since run {record.id} was judged against it",
            f"judge against the new one: nbship run {name}",
        )
    _artifact(record, folder, settings.reference, "publish.reference")  # before anything is written
    if destination:
        check(root, destination, name, model.hash)
    with registry.staged(root, name) as staging:
        package_run(staging, pipeline, settings, record, folder)
        staged = staging / package.MODEL
        beside = [name for name in (TRAINED_ROWS, package.COMPILED, SAMPLE) if (staging / name).exists()]
        tracked = {name: dvc.store(root, staging / name) for name in beside}
        tracking = dvc.tracking_text(staged, dvc.store(root, staged), **tracked)
        files.write_text(dvc.tracking_file(staged), tracking)
    return True


def _reword(root: Path, pipeline: Pipeline, settings: Publish, champion: Package) -> bool:
    renewed = package.reworded(champion, settings.columns, pipeline.description)
    if renewed == champion:
        return False
    with registry.staged(root, pipeline.name) as staging:
        package.write_description(staging, renewed)
    return True


def package_run(
    target: Path, pipeline: Pipeline, settings: Publish, record: RunRecord, folder: Path
) -> Package:
    """Writes the package of a run's model into a folder, whatever the gate said of it.

    Args:
        target: The folder to write to.
        pipeline: The run's pipeline.
        settings: What the package is made of.
        record: The run.
        folder: The run's folder.

    Raises:
        NbshipError: The run has no such outputs or they were changed; the model cannot be packaged.
    """
    model = _artifact(record, folder, settings.model, "publish.model")
    reference = _artifact(record, folder, settings.reference, "publish.reference")
    return package.build(
        target,
        name=pipeline.name,
        model=folder / model.path,
        reference=folder / reference.path,
        target=settings.target,
        origin=_origin(pipeline, record),
        metrics=record.metrics,
        verdict=record.verdict,
        columns=settings.columns,
        description=pipeline.description,
        held_out=_held_out(pipeline, record, folder),
        sample=settings.reference_sample,
        private=pipeline.monitor.hidden,
    )


def _held_out(pipeline: Pipeline, record: RunRecord, folder: Path) -> list[Path]:
    """Returns the tables that the judging step read of other steps."""
    judge = record.steps.get(pipeline.gate.step) if pipeline.gate else None
    read = judge.inputs.values() if judge else ()
    made = {
        f"{step.name}.{name}": folder / artifact.path
        for step in record.steps.values()
        for name, artifact in step.outputs.items()
    }
    return [made[each.origin] for each in read if each.type == "Dataset" and each.origin in made]


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
        synthetic=record.synthetic,
    )


def _register(root: Path, description: Package, commit: bool) -> Registration:
    """Commits the champion if asked to, and registers it once Git holds it."""
    name = description.name
    versioned = registry.versioned_files(root, name)
    known = registry.versions(root, name)
    committed = git.committed(root, versioned)
    if committed and known and known[0].active and _is_version(root, known[0], versioned):
        return Registration(known[0].version, new=False)
    latest = known[0] if known else None
    before = git.read_at(root, latest.commit, versioned[1]) if latest else None
    version = next_version(description, latest.version if latest else "", before)
    message = _message(description)
    if not committed:
        if not commit:
            return Registration(version, new=False)
        git.commit(root, versioned, f"Publish {name} {version}\n\n{message}")
    registry.register(root, name, version, git.last_change(root, versioned), message)
    return Registration(version, new=True)


def _is_version(root: Path, version: registry.Version, versioned: Sequence[Path]) -> bool:
    return all(git.read_at(root, version.commit, f) == f.read_text(encoding="utf-8") for f in versioned)
