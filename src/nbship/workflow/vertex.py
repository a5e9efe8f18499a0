"""Starts a compiled pipeline on Vertex AI and waits for it, as `workflow.submit` does on Kubeflow.

Hands over the same YAML; what Vertex AI has not is told before anything is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nbship import config
from nbship.errors import Report, UsageError
from nbship.local.runner import Event
from nbship.record import new_run_id
from nbship.workflow.submit import SubmitRequest, prepared
from nbship.workflow.waiting import follow

if TYPE_CHECKING:
    from nbship.kubeflow.records import RemoteRun


@dataclass(frozen=True)
class VertexRun:
    """A run that was started.

    Attributes:
        run: The run, as it was when it was started.
        version: What it runs: the name of the version, as Kubeflow would have it.
        image: The image of all steps that have none of their own.
        link: Its page.
        steps: The pipeline's steps, in order.
        tasks: All that runs in a container there: the steps, and what is around them.
        look: Returns the run as it is now.
    """

    run: RemoteRun
    version: str
    image: str
    link: str
    steps: tuple[str, ...]
    tasks: tuple[str, ...]
    look: Callable[[], RemoteRun]


def submit(root: Path, request: SubmitRequest, report: Report) -> VertexRun:
    """Starts a run.

    Args:
        root: The project's folder.
        request: What to run.
        report: Told in lines what Vertex AI has not, before anything is sent.

    Raises:
        UsageError: The request is wrong; nothing was sent.
        NbshipError: The compiled pipeline is not current, or Vertex AI refuses or does not answer.
    """
    from nbship.kubeflow import vertex
    from nbship.kubeflow.compiled import read_documents, task_names

    if request.experiment:
        raise UsageError("Vertex AI's runs are in no experiment of Kubeflow's", "leave out --experiment")
    name = request.pipeline
    settings = config.load_pipeline(root, name, (), request.override_files, request.variables).vertex
    with prepared(root, request) as pipeline:
        documents = read_documents(pipeline.compiled)
        for line in vertex.unsupported(documents):
            report(line)
        client = vertex.connect(settings)
        # What is run here is what is checked out there.
        parameters = {**pipeline.checked_out, **pipeline.parameters}
        run = vertex.start_run(client, settings, f"{name}-{new_run_id()}", documents[0], parameters)
        link = vertex.run_link(settings, run.id)
        steps, tasks = tuple(pipeline.graph.steps), task_names(documents[0])

    def look() -> RemoteRun:
        return vertex.get_run(client, settings, run.id)

    return VertexRun(run, pipeline.version, pipeline.image, link, steps, tasks, look)


def wait(started: VertexRun, on_event: Callable[[Event], None]) -> RemoteRun:
    """Waits until a run has ended, and tells of every step that changes its state.

    Raises:
        NbshipError: Vertex AI does not answer any more; the run may go on.
    """
    return follow(started.look, started.steps, on_event)
