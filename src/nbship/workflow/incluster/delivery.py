"""What the steps after the notebooks do on Kubeflow: judge, publish, deploy, tell.

Called by the functions of `nbship.kubeflow.delivery`, each in its own container. What they share travels
as KFP's artifacts and parameters; the work is done by the functions that the command line calls too.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from nbship import files
from nbship import record as records
from nbship.config import Gate
from nbship.errors import NbshipError
from nbship.graph import CHAMPION, Reference
from nbship.kubeflow.delivery import PASS, REJECT
from nbship.kubeflow.server import Server
from nbship.package import DESCRIPTION, parse_package
from nbship.pages.formatting import comparison_notes
from nbship.record import RunRecord, State, StepRecord
from nbship.versions.clone import find_commit
from nbship.workflow import judging
from nbship.workflow.incluster import result
from nbship.workflow.incluster.inputs import cloned, log
from nbship.workflow.incluster.step import KfpArtifact, failures_end_the_process
from nbship.workflow.judging import Evidence

if TYPE_CHECKING:
    from nbship.workflow.note import RemoteOutcome

# What Kubeflow's driver says of tasks that went well depends on its version: SUCCEEDED, COMPLETE, or RUNNING,
# the state that their record of metadata keeps.
_FAILURES = ("FAILED", "CANCELED", "CANCELING")


class FinalStatus(Protocol):
    """What is used of KFP's `PipelineTaskFinalStatus`."""

    state: str


def decide(
    run: KfpArtifact,
    metrics: Any,
    *,
    pipeline: str,
    commit: str,
    hashes: Mapping[str, str],
    measured: Mapping[str, KfpArtifact],
    results: Mapping[str, Any],
    losses: KfpArtifact | None = None,
    champion_losses: KfpArtifact | None = None,
    evidence: Mapping[str, KfpArtifact] = MappingProxyType({}),
    names: Mapping[str, str] = MappingProxyType({}),
    target: str = "",
    gate: str = "",
) -> str:
    """Puts together what a run measured, and judges its model as `nbship run` does.

    Args:
        run: Receives the run's record, as JSON.
        metrics: Receives the numbers, for KFP's page.
        pipeline: The pipeline's name.
        commit: The commit that ran.
        hashes: SHA-256 of the data files and of the `champion`, which is empty where there is none.
        measured: By `step.output`: metrics files.
        results: By `step.output`: scalar results.
        losses: The candidate's losses, where there is a gate.
        champion_losses: The champion's; an empty file where there is no champion.
        evidence: What else the gate reads, by the names of `judging.Evidence`; empty files for what there is
            not.
        names: The file names of tables among it, for KFP's paths have no ending.
        target: The column that the model predicts.
        gate: The gate's settings, as JSON; without them, every model passes.

    Returns:
        `pass` or `reject`.
    """
    with failures_end_the_process(), tempfile.TemporaryDirectory(prefix="nbship-") as folder:
        settings = Gate.model_validate_json(gate) if gate else None
        record = _record(pipeline, commit, hashes, measured, results)
        record.gate = settings
        for name, value in record.metrics.items():
            metrics.log_metric(name, value if abs(value) < float("inf") else str(value))
        if settings and losses and champion_losses:
            known = {"champion_losses": champion_losses, **evidence}
            there = {name: path for name, artifact in known.items() if (path := _filled(artifact))}
            for name in names.keys() & there.keys():
                there[name] = _named(Path(folder, name, names[name]), there[name])
            described = there.get("champion_description")
            shown = Evidence(
                losses=Path(losses.path),
                champion_losses=there.get("champion_losses"),
                refits=there.get("refits"),
                held_out=there.get("held_out"),
                reference=there.get("reference"),
                target=target,
                champion_rows=there.get("champion_rows"),
                champion=parse_package(described.read_text("utf-8"), DESCRIPTION) if described else None,
            )
            record.verdict = judging.decide(settings, record.metrics, shown)
            metrics.log_metric("verdict", "passed" if record.verdict.passed else "rejected")
            outcome = "passed" if record.verdict.passed else "rejected"
            log("\n".join((outcome, *record.verdict.reasons, *comparison_notes(record.verdict))))
        files.write_text(Path(run.path), record.model_dump_json(indent=2))
        judged = settings.step if settings else ""
        result.tell(result.Result(verdict=record.verdict, metrics=record.metrics, step=judged))
        rejected = record.verdict is not None and not record.verdict.passed
        return REJECT if rejected else PASS


def publish(
    version: str,
    run: KfpArtifact,
    outputs: Mapping[str, KfpArtifact],
    *,
    names: Mapping[str, str],
    pipeline: str,
    repository: str,
    branch: str,
    host: str,
    job: str,
) -> None:
    """Publishes the model of a run that passed, from a fresh clone of the branch; and tells GitLab.

    Args:
        version: The file that takes the model's version.
        run: The run's record, of `decide`.
        outputs: By `step.output`: the model and the rows that it was trained on.
        names: By `step.output`: the file name that the notebook gives it.
        pipeline: The pipeline's name.
        repository: Address of the repository.
        branch: The branch that gets the model; the default one if empty.
        host: The Kubeflow server; empty if the pipeline file names none.
        job: The run's identifier there.
    """
    from nbship.workflow.publish import publish as publish_model

    with failures_end_the_process(), cloned(pipeline, repository, branch) as (root, settings, _):
        record = _read_record(run)
        folder = records.run_folder(root, pipeline, record.id)
        for reference, artifact in outputs.items():
            _take_in(record, folder, reference, artifact, names[reference])
        records.save(record, folder)
        published = publish_model(root, settings, record.id, push=True, report=log, branch=branch)
        files.write_text(Path(version), published.version)
        log(f"published {pipeline} {published.version} on {published.branch}")
        result.tell(result.Result(version=published.version))
        _tell_verdict(record, repository, published.version, _link(host, job))


def deploy(*, pipeline: str, repository: str, branch: str, stage: str, version: str) -> None:
    """Deploys the version that was just published; the arguments are those of `publish`."""
    from nbship.workflow.deploy import deploy as deploy_model

    with failures_end_the_process(), cloned(pipeline, repository, branch) as (root, settings, _):
        deploy_model(root, settings, stage, version, log)


def report(run: KfpArtifact, *, repository: str, host: str, job: str) -> None:
    """Tells GitLab what the gate said, where nothing is published.

    Args:
        run: The run's record, of `decide`.
        repository: Address of the repository.
        host: The Kubeflow server; empty if the pipeline file names none.
        job: The run's identifier there.
    """
    with failures_end_the_process():
        _tell_verdict(_read_record(run), repository, "", _link(host, job))


def report_end(
    status: FinalStatus, *, pipeline: str, repository: str, revision: str, host: str, job: str, judged: bool
) -> None:
    """Tells GitLab how a run ended, where `report` could not: it failed, or has nothing that was judged.

    Args:
        status: The final status of all other steps together.
        pipeline: The pipeline's name.
        repository: Address of the repository.
        revision: The run's parameter.
        host: The Kubeflow server; empty if the pipeline file names none.
        job: The run's identifier there.
        judged: Whether `report` tells of those that did not fail.
    """
    from nbship.workflow.note import RemoteOutcome

    state: Literal["succeeded", "failed"] = "failed" if status.state in _FAILURES else "succeeded"
    log(state)
    if state == "succeeded" and judged:
        return
    with failures_end_the_process(), tempfile.TemporaryDirectory(prefix="nbship-") as folder:
        commit = find_commit(repository, revision, Path(folder))
        _tell(RemoteOutcome(pipeline, repository, commit, state, None, {}, "", _link(host, job)))


def _link(host: str, job: str) -> str:
    """The address of the run's page; empty where the server's is not known."""
    return Server(host.rstrip("/")).run_link(job) if host else ""


def _named(link: Path, path: Path) -> Path:
    link.parent.mkdir(parents=True)
    link.symlink_to(path.absolute())
    return link


def _filled(artifact: KfpArtifact) -> Path | None:
    path = Path(artifact.path)
    return path if path.stat().st_size else None


def _tell_verdict(record: RunRecord, repository: str, version: str, link: str) -> None:
    from nbship.workflow.note import RemoteOutcome

    rejected = record.verdict is not None and not record.verdict.passed
    state: Literal["succeeded", "rejected"] = "rejected" if rejected else "succeeded"
    revision = record.environment.revision
    told = RemoteOutcome(
        record.pipeline, repository, revision, state, record.verdict, record.metrics, version, link
    )
    _tell(told)


def _tell(outcome: RemoteOutcome) -> None:
    """What was done stays done, whether or not the forge hears of it."""
    from nbship.workflow.merge_request import report_outcome

    try:
        report_outcome(outcome, os.environ)
    except NbshipError as error:
        sys.stderr.write(f"the merge request was not updated: {error.message}\n")


def _record(
    pipeline: str,
    commit: str,
    hashes: Mapping[str, str],
    measured: Mapping[str, KfpArtifact],
    results: Mapping[str, Any],
) -> RunRecord:
    steps: dict[str, StepRecord] = {}

    def step(reference: Reference) -> StepRecord:
        name = str(reference.step)
        return steps.setdefault(name, StepRecord(name=name, source="", state=State.DONE))

    for key, artifact in measured.items():
        step(Reference.parse(key)).metrics |= json.loads(Path(artifact.path).read_text(encoding="utf-8"))
    for key, value in results.items():
        reference = Reference.parse(key)
        step(reference).results[reference.name] = value
    read = {
        name: records.Artifact(type="Dataset", path="", hash=digest, origin=name)
        for name, digest in hashes.items()
        if name != CHAMPION
    }
    steps["fetch"] = StepRecord(name="fetch", source="", state=State.DONE, inputs=read)
    return RunRecord(
        id=records.new_run_id(),
        pipeline=pipeline,
        state=State.DONE,
        started=datetime.now(UTC),
        environment=records.this_environment(revision=commit),
        steps=steps,
        champion=hashes.get(CHAMPION, ""),
    )


def _read_record(run: KfpArtifact) -> RunRecord:
    return RunRecord.model_validate_json(Path(run.path).read_text(encoding="utf-8"))


def _take_in(record: RunRecord, folder: Path, reference: str, artifact: KfpArtifact, name: str) -> None:
    """Puts an artifact into the run's folder, as the local engine would have left it there."""
    made = Reference.parse(reference)
    step, output = str(made.step), made.name
    path = records.StepFiles(step).artifact(f"{output}/{name}")
    files.copy(Path(artifact.path), folder / path)
    entry = record.steps.setdefault(step, StepRecord(name=step, source="", state=State.DONE))
    digest = files.content_hash(folder / path)
    entry.outputs[output] = records.Artifact(type="Artifact", path=path, hash=digest, origin=reference)
