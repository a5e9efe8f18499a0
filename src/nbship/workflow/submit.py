"""Starts a compiled pipeline on Kubeflow, waits for it, and lists what ran there.

Runs what Git has, or what is compiled here and current; what it needs of the server is in `kubeflow.client`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nbship import config, files
from nbship.errors import ExitCode, NbshipError, UsageError, suggestion
from nbship.graph import Graph, read_graph
from nbship.kubeflow.credentials import login, read_server
from nbship.local.record import State, new_run_id
from nbship.local.runner import Event
from nbship.project import pipeline_names
from nbship.values import Text, ValueTypeError, check_value
from nbship.versions import git, snapshot
from nbship.workflow.compile import COMPILED, compile_pipeline

if TYPE_CHECKING:
    from nbship.kubeflow.api import Connection
    from nbship.kubeflow.client import RemoteRun, Task, Version

# In the words of a run on this machine.
_STATES: Mapping[str, State] = {
    "RUNNING": State.RUNNING,
    "SUCCEEDED": State.DONE,
    "SKIPPED": State.SKIPPED,
    "FAILED": State.FAILED,
    "CANCELED": State.INTERRUPTED,
}
# Seconds between two looks at a run.
_INTERVAL = 5.0
# How often in a row the server may not answer, beyond the repetitions of each request, before waiting ends.
_MOST_SILENCES = 20


@dataclass(frozen=True)
class Request:
    """What a person asks to be run.

    Attributes:
        pipeline: Its name.
        revision: A branch, a tag or a commit; what is in the project's folder if empty.
        settings: `step.parameter=value`.
        experiment: Where the run is kept; named by the branch if empty.
    """

    pipeline: str
    revision: str = ""
    settings: Sequence[str] = ()
    experiment: str = ""


@dataclass(frozen=True)
class Prepared:
    """A compiled pipeline that may be submitted.

    Attributes:
        graph: The pipeline.
        compiled: Its YAML file.
        version: The name of its version.
        parameters: What is set, by the names in Kubeflow.
    """

    graph: Graph
    compiled: Path
    version: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Submission:
    """A run that was started.

    Attributes:
        run: The run, as it was when it was started.
        version: What it runs.
        experiment: The name of its experiment.
        link: Its page.
        steps: The pipeline's steps, in order.
    """

    run: RemoteRun
    version: Version
    experiment: str
    link: str
    steps: tuple[str, ...]


def connect(environment: Mapping[str, str]) -> Connection:
    """Returns the server that the environment names; nothing is sent yet.

    Raises:
        UsageError: A setting is missing or not understood.
    """
    from nbship.kubeflow.api import Connection

    server = read_server(environment)
    return Connection(server, login(server, environment))


def submit(
    connection: Connection, root: Path, request: Request, environment: Mapping[str, str]
) -> Submission:
    """Uploads a pipeline's version and starts a run of it.

    Args:
        connection: The server.
        root: The project's folder.
        request: What to run.
        environment: In a CI job, says which branch this is.

    Raises:
        UsageError: The request is wrong; nothing was sent.
        NbshipError: The compiled pipeline is not current, or the server refuses or does not answer.
    """
    from nbship.kubeflow.client import ensure_experiment, ensure_version, start_run

    with prepared(root, request) as pipeline:
        experiment = request.experiment or default_experiment(root, environment)
        version = ensure_version(connection, request.pipeline, pipeline.version, pipeline.compiled)
        experiment_id = ensure_experiment(connection, experiment)
        name = f"{request.pipeline} {pipeline.version[:7]} {new_run_id()}"
        run = start_run(connection, name, experiment_id, version, pipeline.parameters)
        return Submission(
            run, version, experiment, connection.server.run_link(run.id), tuple(pipeline.graph.steps)
        )


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
    seen: dict[str, State] = {}
    while True:
        run = _look(connection, submission.run.id)
        for event in _events(run, submission.steps):
            if seen.get(event.step) is not event.state:
                on_event(event)
            seen[event.step] = event.state
        if run.final:
            return run
        time.sleep(_INTERVAL)


def exit_code(run: RemoteRun) -> ExitCode:
    """Returns how a command ends that waited for a run.

    Only the run's state counts: no compiled pipeline has a gate of its own whose verdict the run could carry.
    """
    return ExitCode.DONE if run.state == "SUCCEEDED" else ExitCode.FAILED


def remote_runs(connection: Connection, root: Path, pipeline: str, limit: int) -> list[RemoteRun]:
    """Returns the newest runs on the server, of one pipeline or of all."""
    from nbship.kubeflow.client import list_runs

    known = pipeline_names(root)
    if pipeline and pipeline not in known:
        raise UsageError(f"there is no pipeline '{pipeline}'", suggestion(pipeline, known))
    return list(islice(list_runs(connection, pipeline), limit))


@contextmanager
def prepared(root: Path, request: Request) -> Iterator[Prepared]:
    """Yields what a request means, checked; the files of another revision are there until the end.

    Raises:
        UsageError: There is no such pipeline, revision or parameter, or a value is not of its type.
        NbshipError: The compiled pipeline is missing or not current.
    """
    if not request.revision:
        _check_current(root, request.pipeline)
        yield _prepare(root, request, _version(root, request.pipeline))
        return
    git.require_repository(root)
    commit = snapshot.resolve(root, request.revision)
    with TemporaryDirectory(prefix="nbship-") as folder:
        snapshot.export(root, commit, Path(folder))
        yield _prepare(Path(folder), request, commit)


def default_experiment(root: Path, environment: Mapping[str, str]) -> str:
    """Returns the branch's name: Git's, or in a CI job that has checked out a commit, GitLab's.

    Raises:
        UsageError: There is no branch.
    """
    name = git.in_repository(root) and git.branch(root)
    name = name or environment.get("CI_COMMIT_REF_NAME", "")
    if not name:
        raise UsageError("no branch is checked out to name the experiment", "name it: --experiment NAME")
    return name


def run_parameters(graph: Graph, settings: Sequence[str]) -> dict[str, Any]:
    """Turns `step.parameter=value` into the run's parameters, checked against what the notebooks declare.

    Raises:
        UsageError: There is no such parameter, or the value is not of its type.
    """
    from nbship.kubeflow.compile import pipeline_parameters

    parameters = pipeline_parameters(graph)
    known = {(p.origin if p.origin.partition(".")[0] in graph.steps else p.name): p for p in parameters}
    values = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(
                f"--set {setting}: not of the form step.parameter=value", "for example --set train.C=3"
            )
        if key not in known:
            raise UsageError(f"--set {setting}: a run has no parameter '{key}'", suggestion(key, known))
        parameter = known[key]
        try:
            value = check_value(parameter.type, Text(text))
        except ValueTypeError as error:
            raise UsageError(f"--set {setting}: {key} {error}", f"it takes {parameter.type}") from None
        values[parameter.name] = _carried(setting, value)
    return values


def _check_current(root: Path, pipeline: str) -> None:
    generated = compile_pipeline(root, pipeline)
    if generated.stale:
        shown = generated.path.relative_to(root)
        raise NbshipError(
            f"{shown} is not current: {generated.stale[0]}",
            f"renew it: {generated.command}",
            "\n".join(generated.stale[1:]),
        )


def _prepare(root: Path, request: Request, version: str) -> Prepared:
    graph = read_graph(root, config.load_pipeline(root, request.pipeline))
    compiled = root / COMPILED / f"{request.pipeline}.yaml"
    if not compiled.is_file():
        raise NbshipError(
            f"{request.revision} has no {COMPILED / compiled.name}",
            f"commit it there first: nbship compile {request.pipeline}",
        )
    return Prepared(graph, compiled, version, run_parameters(graph, request.settings))


def _version(root: Path, pipeline: str) -> str:
    """The commit; with a hash of the file where that is not in the commit as it is here."""
    compiled = root / COMPILED / f"{pipeline}.yaml"
    revision = git.revision(root)
    commit = revision.commit if revision else ""
    if commit and git.committed(root, [compiled]):
        return commit
    return "-".join(filter(None, [commit, files.content_hash(compiled)[:8]]))


def _carried(setting: str, value: Any) -> Any:
    """Refuses what would arrive as something else: Kubeflow's numbers are doubles."""
    from google.protobuf import json_format, struct_pb2

    arrived = json_format.MessageToDict(json_format.ParseDict(value, struct_pb2.Value()))
    if arrived != value:
        raise UsageError(f"--set {setting}: Kubeflow cannot carry it exactly", "whole numbers end at 2^53")
    return value


def _look(connection: Connection, run_id: str) -> RemoteRun:
    """The run; a server that is away for a while, as when it is renewed, does not end the waiting."""
    from nbship.kubeflow.api import ApiError
    from nbship.kubeflow.client import get_run

    for _ in range(_MOST_SILENCES):
        try:
            return get_run(connection, run_id)
        except ApiError as error:
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
            yield _event(task_found)


def _beginning(task: Task) -> datetime:
    return task.started or datetime.min.replace(tzinfo=UTC)


def _event(task: Task) -> Event:
    seconds = (task.finished - task.started).total_seconds() if task.started and task.finished else 0.0
    error = f"{task.name}: {task.error}" if task.error else ""
    return Event(task.name, _STATES[task.state], seconds=seconds, error=error)
