"""Takes a stage back to the version that served before, by the record of its deployments."""

from __future__ import annotations

from pathlib import Path

from nbship.config import Pipeline
from nbship.errors import NbshipError, Report
from nbship.versions import stages
from nbship.workflow.deploy import Deployed, deploy


def rollback(root: Path, pipeline: Pipeline, stage: str, report: Report = lambda _: None) -> Deployed:
    """Deploys the previous version of a stage again: checked, and then with all the traffic in one step.

    Args:
        root: The project's folder, in a Git repository.
        pipeline: Its `deploy` says how and where.
        stage: One of its stages.
        report: Told in a line what happens and what is being waited for.

    Raises:
        NbshipError: Nothing served there before, or the deployment failed; what serves goes on serving.
    """
    version = previous_version(root, pipeline.name, stage)
    return roll_back_to(root, pipeline, stage, version, report)


def roll_back_to(
    root: Path, pipeline: Pipeline, stage: str, version: str, report: Report = lambda _: None
) -> Deployed:
    """Deploys a version of which is known that it served before: repeated, it changes nothing more."""
    at_once = pipeline.model_copy(update={"deploy": pipeline.deploy.model_copy(update={"steps": [100]})})
    return deploy(root, at_once, stage, version, report)


def previous_version(root: Path, name: str, stage: str) -> str:
    """Returns the version that a stage had before the one it has now.

    A rollback of a rollback goes further back, not forth again: what was rolled back from is skipped.

    Raises:
        NbshipError: There is none.
    """
    stages.fetch(root, name)
    served: list[str] = []
    for assignment in reversed(stages.history(root, name, stage)):
        if assignment.version in served:
            del served[served.index(assignment.version) + 1 :]
        elif assignment.version:
            served.append(assignment.version)
    if len(served) < 2:
        raise NbshipError(
            f"nothing served {name} in {stage} before{' ' + served[0] if served else ''}",
            f"see what did: nbship deployments {name}",
        )
    return served[-2]
