"""What came out of a run on Kubeflow that has ended: from its steps' logs, or from what it published.

Kubeflow's API has no values of tasks, and not every server has the logs of pods that are gone. What a run
published stands in Git, with the verdict and the metrics. How a run ended is the business of `waiting`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nbship import config
from nbship.errors import NbshipError
from nbship.package import DESCRIPTION, parse_package
from nbship.versions.published import newest_descriptions
from nbship.workflow.incluster.result import Result, has_result, read_result
from nbship.workflow.waiting import is_published

if TYPE_CHECKING:
    from nbship.kubeflow.api import Connection
    from nbship.kubeflow.records import RemoteRun


def read_outcome(
    connection: Connection, root: Path, pipeline: str, commit: str, run: RemoteRun
) -> Result | None:
    """Reads what a run measured, and what became of its model.

    Args:
        connection: The server.
        root: The project's folder.
        pipeline: The pipeline's name.
        commit: What the run checked out; empty if it is not known.
        run: The run, as it ended.

    Returns:
        The result, an empty one where nothing was judged or measured; None if it cannot be had.
    """
    if not has_result(run):
        return Result()
    told = read_result(connection, run)
    if (told and told.version) or not is_published(run) or not commit:
        return told
    found = _published(root, pipeline, commit)
    return told.model_copy(update={"version": found.version}) if told and found else found or told


def _published(root: Path, pipeline: str, commit: str) -> Result | None:
    """What stands in Git of the newest version that was trained at a commit."""
    try:
        gate = config.load_pipeline(root, pipeline).gate
        for version, text in newest_descriptions(root, pipeline):
            package = parse_package(text, DESCRIPTION)
            if package.origin.revision == commit:
                step = gate.step if gate else ""
                return Result(verdict=package.verdict, metrics=package.metrics, step=step, version=version)
    except NbshipError:
        return None
    return None
