"""Brings an MLflow server up to date with what Git and the runs here hold: runs, sweeps, versions, aliases.

`sync` may be called at any time and any number of times: it sends what is not there. So what a server that
was away has missed comes with the next call, and nothing needs to be kept for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from filelock import FileLock

from nbship.config import Pipeline
from nbship.errors import NbshipError, Report, UsageError
from nbship.export import mlflow
from nbship.export.mlflow import EndState, MlflowRun, MlflowServer
from nbship.gate import Verdict
from nbship.package import Package
from nbship.pages.sweep_page import SweepRecord, all_sweeps
from nbship.record import PAGE, RunRecord, State, StepFiles, all_runs, run_folder
from nbship.versions import registry, stages
from nbship.workflow.models import list_models
from nbship.workflow.packages import find_package
from nbship.workflow.runs import data_hashes

CHAMPION = "champion"
_ENDS: Mapping[State, EndState] = {
    State.DONE: "FINISHED",
    State.FAILED: "FAILED",
    State.INTERRUPTED: "KILLED",
}


@dataclass(frozen=True)
class Mirrored:
    """What was sent.

    Attributes:
        address: Of the server.
        runs: Identifiers of the runs.
        versions: Of the model.
        aliases: Those that changed.
        missing: Versions whose package neither DVC nor a model store has.
    """

    address: str
    runs: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def mirror(root: Path, pipeline: Pipeline, report: Report = lambda _: None) -> None:
    """Does what `sync` does where a server is named; what goes wrong is told, and is in nobody's way."""
    if not pipeline.mlflow.tracking_uri:
        return
    try:
        sync(root, pipeline, report)
    except NbshipError as error:
        report(f"not copied to MLflow: {error.message}; later: nbship mlflow sync {pipeline.name}")


def sync(root: Path, pipeline: Pipeline, report: Report = lambda _: None) -> Mirrored:
    """Sends what the server does not have.

    Args:
        root: The project's folder.
        pipeline: Its `mlflow` names the server.
        report: Told in a line what is sent.

    Raises:
        UsageError: No server is named.
        NbshipError: It cannot be reached, or refuses. What it has is whole or is sent again.
    """
    settings, name = pipeline.mlflow, pipeline.name
    if not settings.tracking_uri:
        raise UsageError(
            f"{name}: no MLflow server is named", "in nbship.yaml: mlflow: {tracking_uri: https://…}"
        )
    lock = root / ".nbship" / f"mlflow-{name}.lock"
    lock.parent.mkdir(exist_ok=True)
    tracking, registry_uri = settings.tracking_uri, settings.registry or ""
    with FileLock(lock), mlflow.connect(tracking, registry_uri, settings.experiment or name) as server:
        known = mlflow.known_runs(server)
        ended = (record for record in all_runs(root, name) if record.state in _ENDS)
        sent = []
        for run in sorted(chain(map(_run(root), ended), _sweeps(root, name)), key=lambda run: run.started):
            if run.id not in known:
                report(f"run {run.id} to {server.address}")
                known[run.id] = mlflow.log_run(server, run)
                sent.append(run.id)
        versions, missing, aliases = _sync_versions(root, pipeline, server, known, report)
    return Mirrored(server.address, tuple(sent), versions, aliases, missing)


def _sync_versions(
    root: Path, pipeline: Pipeline, server: MlflowServer, runs: dict[str, str], report: Report
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Returns the versions that were sent, those that could not be, and the aliases that changed."""
    name = pipeline.name
    if not registry.versioned_files(root, name)[0].exists():
        return (), (), ()
    (model,) = list_models(root, name)
    known = mlflow.known_versions(server, name)
    sent, missing = [], []
    for version in reversed(model.versions):
        if version.version in known or not version.active:
            continue
        with find_package(root, pipeline, version, report) as found:
            if found is None:
                missing.append(version.version)
                continue
            package, run = found.description, found.description.origin.run
            if run not in runs:  # it ran elsewhere, such as on Kubeflow
                runs[run] = mlflow.log_run(server, _run_of(package))
            report(f"{name} {version.version} to {server.address}")
            known[version.version] = mlflow.register(
                server, package, found.folder, version.version, runs[run], found.stored
            )
            sent.append(version.version)
    wanted = {CHAMPION: model.champion} | {each.stage: "" for each in stages.history(root, name)}
    wanted |= {stage: version.version for version in model.versions for stage in version.stages}
    numbers = {alias: known.get(version, "") for alias, version in wanted.items()}
    aliases = mlflow.set_aliases(server, name, numbers) if known else ()
    return tuple(sent), tuple(missing), aliases


def _run(root: Path) -> Any:
    def made(record: RunRecord) -> MlflowRun:
        folder = run_folder(root, record.pipeline, record.id)
        steps = record.steps.values()
        files = [PAGE, *(file for step in steps for file in _notebooks(step.name))]
        series = {
            f"{step.name}.{name}": value
            for step in steps
            for name, value in step.metrics.items()
            if isinstance(value, list) and value and all(isinstance(number, int | float) for number in value)
        }
        return MlflowRun(
            id=record.id,
            started=record.started,
            seconds=record.seconds,
            state=_ENDS[record.state],
            parameters={f"{step.name}.{name}": v for step in steps for name, v in step.parameters.items()},
            metrics={**record.metrics, **series},
            tags={
                **_tags(record.pipeline, record.environment.revision, record.environment.dirty),
                **{f"nbship.data.{name}": digest for name, digest in data_hashes(record).items()},
                **_judged(record.verdict),
                **({"nbship.synthetic": ", ".join(record.synthetic)} if record.synthetic else {}),
                **({"nbship.error": record.error} if record.error else {}),
            },
            files={file: folder / file for file in files if (folder / file).is_file()},
        )

    return made


def _notebooks(step: str) -> tuple[str, str]:
    files = StepFiles(step)
    return files.notebook, files.html


def _sweeps(root: Path, name: str) -> Iterator[MlflowRun]:
    """A sweep, and each combination as a run within it."""
    for sweep in all_sweeps(root, name):
        if sweep.state not in _ENDS:
            continue
        best = sweep.best
        yield MlflowRun(
            id=sweep.id,
            started=sweep.started,
            seconds=sweep.seconds,
            state=_ENDS[sweep.state],
            parameters=best.parameters if best else {},
            metrics={sweep.metric: best.value} if best and best.value is not None else {},
            tags={"nbship.pipeline": name, "nbship.sweep": sweep.metric},
        )
        yield from (_trial(sweep, number) for number in range(len(sweep.trials)))


def _trial(sweep: SweepRecord, number: int) -> MlflowRun:
    trial = sweep.trials[number]
    return MlflowRun(
        id=f"{sweep.id}/{trial.step}",
        started=sweep.started,
        seconds=trial.seconds,
        state=_ENDS.get(trial.state, "FINISHED"),
        parameters=trial.parameters,
        metrics={sweep.metric: trial.value} if trial.value is not None else {},
        tags={"nbship.pipeline": sweep.pipeline},
        parent=sweep.id,
    )


def _run_of(package: Package) -> MlflowRun:
    """A run that only its model tells of."""
    origin = package.origin
    return MlflowRun(
        id=origin.run,
        started=origin.started,
        seconds=0.0,
        state="FINISHED",
        metrics=package.metrics,
        tags={
            **_tags(package.name, origin.revision, origin.dirty),
            **{f"nbship.data.{name}": digest for name, digest in origin.data.items()},
            **_judged(package.verdict),
        },
    )


def _tags(pipeline: str, revision: str, dirty: bool) -> dict[str, str]:
    tags = {"nbship.pipeline": pipeline}
    if revision:
        tags |= {"mlflow.source.git.commit": revision, "nbship.dirty": str(dirty).lower()}
    return tags


def _judged(verdict: Verdict | None) -> dict[str, str]:
    if verdict is None:
        return {}
    word = "passed" if verdict.passed else "rejected"
    return {"nbship.verdict": word, "nbship.reasons": "; ".join(verdict.reasons)}
