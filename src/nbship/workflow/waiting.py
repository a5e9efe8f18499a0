"""Waits for a run on Kubeflow or Vertex AI, and says how it ended.

Knows no more of a run than its tasks and their states; what they measured is the business of `outcome`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nbship.errors import ExitCode
from nbship.kubeflow.delivery import GATE, PUBLISH, REJECTED
from nbship.local.runner import Event
from nbship.record import State

if TYPE_CHECKING:
    from nbship.kubeflow.api import Connection
    from nbship.kubeflow.records import RemoteRun, Task
    from nbship.workflow.submit import Submission

# In the words of a run on this machine.
_STATES: Mapping[str, State] = {
    "RUNNING": State.RUNNING,
    "SUCCEEDED": State.DONE,
    "SKIPPED": State.SKIPPED,
    "FAILED": State.FAILED,
    "CANCELED": State.INTERRUPTED,
}
# What Kubeflow runs before a task: its failure is the task's.
_DRIVER = "-driver"
# Seconds between two looks at a run.
_INTERVAL = 5.0
# How often in a row the server may not answer, beyond the repetitions of each request, before waiting ends.
_MOST_SILENCES = 20


def wait(
    connection: Connection,
    submission: Submission,
    on_event: Callable[[Event], None],
) -> RemoteRun:
    """Waits until a run has ended, and tells of every step that changes its state.

    Args:
        connection: The server.
        submission: The run.
        on_event: Called with each change.

    Raises:
        NbshipError: The server does not answer any more; the run may go on.
    """
    return follow(lambda: _look(connection, submission.run.id), submission.steps, on_event)


def follow(
    look: Callable[[], RemoteRun], steps: Sequence[str], on_event: Callable[[Event], None]
) -> RemoteRun:
    """Looks at a run until it has ended, and tells of every step that changes its state.

    Args:
        look: Returns the run as it is now.
        steps: The pipeline's steps, in order.
        on_event: Called with each change.
    """
    seen: dict[str, State] = {}
    while True:
        run = look()
        for event in _events(run, steps):
            if seen.get(event.step) is not event.state:
                on_event(event)
            seen[event.step] = event.state
        if run.final:
            return run
        time.sleep(_INTERVAL)


def exit_code(run: RemoteRun) -> ExitCode:
    """Returns how a command ends that waited for a run."""
    if run.state != "SUCCEEDED":
        return ExitCode.FAILED
    return ExitCode.REJECTED if is_rejected(run) else ExitCode.DONE


def is_rejected(run: RemoteRun) -> bool:
    """Returns whether the gate rejected the run's model: then the step for that has run."""
    return any(task.name == REJECTED and task.state == "SUCCEEDED" for task in run.tasks)


def is_accepted(run: RemoteRun) -> bool:
    """Returns whether the gate judged the run's model, and let it pass."""
    judged = any(task.name == GATE and task.state == "SUCCEEDED" for task in run.tasks)
    return judged and not is_rejected(run)


def is_published(run: RemoteRun) -> bool:
    """Returns whether the run published a model."""
    return any(task.name == PUBLISH and task.state == "SUCCEEDED" for task in run.tasks)


def failed_tasks(run: RemoteRun, tasks: Sequence[str]) -> list[str]:
    """Returns which of the pipeline's tasks failed, by their own names.

    Args:
        run: The run; Kubeflow tells of its engine's drivers, executors and groups too.
        tasks: All that runs in a container.
    """
    failed = (task.name for task in run.tasks if task.state == "FAILED")
    found = (name if name in tasks else name.removesuffix(_DRIVER) for name in failed)
    return [name for name in dict.fromkeys(found) if name in tasks]


def _look(connection: Connection, run_id: str) -> RemoteRun:
    """The run; a server that is away for a while, as when it is renewed, does not end the waiting."""
    from nbship.kubeflow.api import KubeflowError
    from nbship.kubeflow.client import get_run

    for _ in range(_MOST_SILENCES):
        try:
            return get_run(connection, run_id)
        except KubeflowError as error:
            if not error.passing:
                raise
        time.sleep(_INTERVAL)
    return get_run(connection, run_id)


def _events(run: RemoteRun, steps: Sequence[str]) -> Iterator[Event]:
    """The steps among a run's tasks; of a step that was tried again, the last try."""
    last: dict[str, Task] = {}
    for task in run.tasks:
        before = last.get(task.name)
        if before is None or _beginning(task) >= _beginning(before):
            last[task.name] = task
    for name in steps:
        task_found = last.get(name)
        if task_found and task_found.state in _STATES:
            event = _event(task_found)
            # Of a run that somebody ended, what was under way is told as failed.
            ended = run.state == "CANCELED" and event.state is State.FAILED
            yield replace(event, state=State.INTERRUPTED, error="") if ended else event


def _beginning(task: Task) -> datetime:
    return task.started or datetime.min.replace(tzinfo=UTC)


def _event(task: Task) -> Event:
    seconds = (task.finished - task.started).total_seconds() if task.started and task.finished else 0.0
    error = f"{task.name}: {task.error}" if task.error else ""
    return Event(task.name, _STATES[task.state], seconds=seconds, error=error)
