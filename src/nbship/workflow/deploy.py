"""Deploys a version of a model to a stage: as a canary that is checked before and while it gets traffic.

Says what is deployed, where, and how it is recorded; in which order traffic moves is the business of
`canary`. In GitOps mode the cluster is not touched: the manifest is committed, and Flux applies it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from nbship import config, files, package
from nbship.cluster import kserve, manifest, services
from nbship.cluster.manifest import Manifest, Release
from nbship.cluster.rollout import Rollout
from nbship.config import Pipeline
from nbship.errors import NbshipError, Report, UsageError, suggestion
from nbship.package import Package
from nbship.versions import git, registry, stages, store
from nbship.versions.registry import Version
from nbship.workflow import canary, records
from nbship.workflow.mirror import mirror
from nbship.workflow.models import list_models
from nbship.workflow.watching import Deployment

FOLDER = Path("kubernetes", "serving")
_MOUNTED = ("s3", "gs", "http", "https", "pvc", "hdfs", "webhdfs", "abfs")


@dataclass(frozen=True)
class Deployed:
    """What a deployment did.

    Attributes:
        name: The model.
        stage: Where it was deployed.
        version: What serves there now; in GitOps mode, what will.
        previous: What served there before; empty if nothing did, or in GitOps mode.
        changed: Whether this call changed what serves.
        url: The address that KServe gives the service; empty in GitOps mode.
        latency: Median seconds of an answer in the last check; None if nothing was asked.
        tag: The Git tag that records it; empty if it was recorded before.
        next_commands: What to type next, in order.
    """

    name: str
    stage: str
    version: str
    previous: str = ""
    changed: bool = True
    url: str = ""
    latency: float | None = None
    tag: str = ""
    next_commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeploymentPlan:
    """What a deployment would do.

    Attributes:
        manifest: The InferenceService as YAML, as it would be in the end.
        difference: Unified diff from what runs; empty if nothing would change.
        running: The version that serves now; empty if none does.
    """

    manifest: str
    difference: str
    running: str


@dataclass(frozen=True)
class DeploymentTarget:
    """What is to be deployed, and where.

    Attributes:
        stage: The stage's name.
        version: The registered version.
        release: What KServe is told of it.
        package: Its description, with the answers that it must give.
        place: The stage's settings.
    """

    stage: str
    version: Version
    release: Release
    package: Package
    place: config.Stage


def deploy(
    root: Path,
    pipeline: Pipeline,
    stage: str,
    version: str = "",
    report: Report = lambda _: None,
    unless_newer: bool = False,
) -> Deployed:
    """Deploys a version of a model to a stage.

    Args:
        root: The project's folder, in a Git repository.
        pipeline: Its `deploy` says how and where.
        stage: One of its stages.
        version: A registered version; the champion if empty.
        report: Told in a line what happens and what is being waited for.
        unless_newer: Change nothing where a newer version was deployed last.

    Raises:
        UsageError: There is no such stage or version, or KServe would silently do something else.
        NbshipError: The version is not in the model store; the cluster refuses; the check failed. What served
            before has all the traffic.
    """
    target = find_target(root, pipeline, stage, version)
    newer = _newer(root, target) if unless_newer else ""
    if newer:
        report(f"{stage} has {pipeline.name} {newer}, which is newer than {target.version.version}")
        return Deployed(pipeline.name, stage, newer, changed=False)
    if pipeline.deploy.mode == "gitops":
        return _write(root, pipeline, target)
    result = canary.roll_out(_deployment(pipeline, target, report))
    tag = _record(root, target, report)
    mirror(root, pipeline, report)
    return Deployed(
        name=pipeline.name,
        stage=stage,
        version=target.version.version,
        previous=result.previous,
        changed=result.changed,
        url=str(result.service["status"].get("url") or ""),
        latency=result.latency,
        tag=tag,
    )


def plan(root: Path, pipeline: Pipeline, stage: str, version: str = "") -> DeploymentPlan:
    """Works out what `deploy` would do, and changes nothing; the arguments are the same."""
    target = find_target(root, pipeline, stage, version)
    if pipeline.deploy.mode == "gitops":
        wanted, path = _gitops_manifest(pipeline, target), _gitops_path(root, target)
        before = _text(path)
        running = manifest.from_yaml(before, str(path)) if before else None
    else:
        found = _deployment(pipeline, target, lambda _: None)
        running = services.get(found.cluster, pipeline.name)
        plan = found.rollout
        wanted = manifest.inference_service(plan.release, plan.settings, plan.stage, plan.mode)
    return DeploymentPlan(
        manifest.to_yaml(wanted), manifest.difference(running, wanted), manifest.live_version(running)
    )


def find_target(root: Path, pipeline: Pipeline, stage: str, version: str) -> DeploymentTarget:
    """Finds what is to be deployed, and that the model store has it.

    Raises:
        UsageError: There is no such stage or version.
        NbshipError: The model store does not have the version that is registered.
    """
    settings = pipeline.deploy
    if stage not in settings.stages:
        raise UsageError(
            f"pipelines/{pipeline.name}.yaml: deploy has no stage '{stage}'",
            suggestion(stage, settings.stages),
        )
    place = settings.stages[stage]
    found = _find_version(root, pipeline.name, version)
    tag = f"{found.name}@{found.version}"
    text = git.read_at(root, found.commit, registry.versioned_files(root, pipeline.name)[1])
    if text is None:
        raise NbshipError(f"{tag} has no {package.DESCRIPTION}", "deploy a version that nbship published")
    described = package.parse_package(text, tag)
    kept = records.settings_of(pipeline, found.version, described.inputs)
    release = Release(
        name=pipeline.name,
        version=found.version,
        storage=_storage(root, pipeline, place, found.version, text),
        revision=described.origin.revision,
        data=_data_hash(described),
        run=described.origin.run,
        environment=kept.environment,
        secret=kept.secret,
        logger=kept.logger,
    )
    return DeploymentTarget(stage, found, release, described, place)


def _deployment(pipeline: Pipeline, target: DeploymentTarget, report: Report) -> Deployment:
    settings, place = pipeline.deploy, target.place
    cluster = services.connect(place)
    service = services.get(cluster, pipeline.name)
    mode = kserve.find_mode(cluster, settings, place, service)
    kserve.check_runtime(cluster, settings.runtime)
    # Once it is known that the API is there, it gets as long to restart as any change has.
    patient = replace(cluster, patience=settings.timeout)
    rollout = Rollout(target.release, settings, place, mode)
    return Deployment(patient, rollout, target.package, report, pipeline.monitor.prometheus or "")


def _find_version(root: Path, name: str, version: str) -> Version:
    model = list_models(root, name)[0]
    wanted = version or model.champion
    if not wanted:
        raise NbshipError(
            f"the champion of {name} is not registered, so it has no version",
            f"publish it: nbship publish {name}",
        )
    known = {each.version: each for each in model.versions if each.active}
    if wanted not in known:
        raise UsageError(f"{name} has no version '{wanted}'", suggestion(wanted, known))
    return known[wanted]


def _storage(root: Path, pipeline: Pipeline, place: config.Stage, version: str, description: str) -> str:
    """The address of a version as the cluster sees it, once it is found that the store has it."""
    published = os.environ.get(store.ADDRESS) or (pipeline.publish.store if pipeline.publish else None)
    seen = place.storage or published
    if not seen:
        raise UsageError(
            f"pipelines/{pipeline.name}.yaml: there is no model store to serve from",
            "set publish.store, and publish with --push",
        )
    if urlsplit(seen).scheme not in _MOUNTED:
        raise UsageError(
            f"a cluster cannot load models from the folder {seen}",
            "say where its pods find them: deploy.stages.NAME.storage: pvc://CLAIM/PATH",
        )
    if published:
        _check_store(root, published, pipeline.name, version, description)
    return f"{seen.rstrip('/')}/{pipeline.name}/{version}"


def _check_store(root: Path, address: str, name: str, version: str, description: str) -> None:
    there = store.read(store.open_store(root, address), name, version, package.DESCRIPTION)
    if there != description.encode():
        what = "another" if there else "no"
        raise NbshipError(
            f"the model store {address} has {what} {name} {version}",
            f"publish to it: nbship publish {name} --push",
        )


def _data_hash(described: Package) -> str:
    """One short hash for all the data that a model was trained on."""
    data = described.origin.data
    if not data:
        return ""
    if len(data) == 1:
        return next(iter(data.values()))[:12]
    text = "\n".join(f"{name} {digest}" for name, digest in sorted(data.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _newer(root: Path, target: DeploymentTarget) -> str:
    """The version that was deployed last, if it is newer than the target's; else empty."""
    stages.fetch(root, target.release.name)
    last = next(iter(stages.history(root, target.release.name, target.stage)), None)
    if not last or not last.version:
        return ""
    numbers = registry.version_numbers
    return last.version if numbers(last.version) > numbers(target.version.version) else ""


def _record(root: Path, target: DeploymentTarget, report: Report) -> str:
    """Makes the Git tag of a deployment, unless the last one of its stage says the same."""
    name, version = target.release.name, target.version.version
    try:
        stages.fetch(root, name)
        last = next(iter(stages.history(root, name, target.stage)), None)
        if last and last.version == version:
            return ""
        return stages.assign(root, name, target.stage, target.version, f"Deploy to {target.stage}")
    except NbshipError as error:  # it serves; that is not undone because the record could not be made
        report(f"deployed, but not recorded in Git: {error.message}; deploying again records it")
        return ""


def _gitops_path(root: Path, target: DeploymentTarget) -> Path:
    return root / FOLDER / target.release.name / f"{target.stage}.yaml"


def _gitops_manifest(pipeline: Pipeline, target: DeploymentTarget) -> Manifest:
    mode = pipeline.deploy.kserve
    if mode is None:
        raise UsageError(
            "GitOps mode cannot ask the cluster for KServe's deployment mode",
            "set deploy.kserve: Standard or Knative",
        )
    if mode == "Standard" and target.place.min_replicas == 0:
        raise UsageError("min_replicas: 0 needs Knative", "set min_replicas: 1")
    return manifest.inference_service(target.release, pipeline.deploy, target.place, mode)


def _write(root: Path, pipeline: Pipeline, target: DeploymentTarget) -> Deployed:
    """Writes and commits the manifest that Flux applies."""
    name, version = pipeline.name, target.version.version
    path, text = _gitops_path(root, target), manifest.to_yaml(_gitops_manifest(pipeline, target))
    changed = _text(path) != text
    git.identity(root)
    if changed:
        files.write_text(path, text)
    if not git.committed(root, [path]):
        git.commit(root, [path], f"Deploy {name} {version} to {target.stage}")
    return Deployed(name, target.stage, version, changed=changed, next_commands=("git push",))


def _text(path: Path) -> str:
    """The text of a file; empty if it is not there."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise files.disk_error(error, path) from None
