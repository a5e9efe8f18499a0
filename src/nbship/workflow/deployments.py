"""What was deployed where, when and by whom; and what serves at this moment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nbship.cluster import kserve, manifest, rollout, services
from nbship.config import Pipeline, Stage
from nbship.errors import NbshipError
from nbship.versions import stages
from nbship.versions.stages import Assignment


@dataclass(frozen=True)
class StageStatus:
    """What a stage serves.

    Attributes:
        stage: Its name.
        version: What has the traffic; empty if nothing does.
        canary: The version on its way; empty if there is none.
        traffic: The canary's share of the traffic in percent, by what routes it.
        url: The address that KServe gives the service.
        problem: Why the cluster could not be asked; empty if it could.
    """

    stage: str
    version: str = ""
    canary: str = ""
    traffic: int = 0
    url: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Deployments:
    """The history of a model's deployments, and what serves.

    Attributes:
        name: The model.
        serving: What each stage serves.
        history: The record, newest first.
    """

    name: str
    serving: tuple[StageStatus, ...]
    history: tuple[Assignment, ...]


def list_deployments(root: Path, pipeline: Pipeline, ask: bool = True) -> Deployments:
    """Returns a model's deployments.

    Args:
        root: The project's folder, in a Git repository.
        pipeline: Whose model, and its stages.
        ask: Ask the clusters what serves, and not only Git what was deployed.

    Raises:
        NbshipError: There is no Git repository.
    """
    history = stages.history(root, pipeline.name)
    places = pipeline.deploy.stages.items() if ask and pipeline.deploy.mode == "cluster" else ()
    return Deployments(
        pipeline.name, tuple(_stage_status(pipeline.name, *place) for place in places), tuple(history)
    )


def _stage_status(name: str, stage: str, place: Stage) -> StageStatus:
    try:
        state = kserve.observe(services.connect(place), name)
    except NbshipError as error:
        return StageStatus(stage, problem=error.message)
    if state is None:
        return StageStatus(stage)
    service = state.service
    version = manifest.live_version(service)
    return StageStatus(
        stage=stage,
        version=version,
        canary=manifest.canary_version(service),
        traffic=rollout.share(state) if manifest.has_canary(service) else 0,
        url=str((service.get("status") or {}).get("url") or ""),
    )
