"""What nbship asks of a Kubeflow Pipelines server: versions of pipelines, runs and their steps, schedules.

Everything that is created is looked for by its name first or after a doubtful failure, so that a repetition
makes nothing twice. Returns records of its own; how a request travels is the business of `api`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import kfp_server_api  # type: ignore[import-untyped]

from nbship.errors import NbshipError, UsageError
from nbship.kubeflow.api import Connection, KubeflowError
from nbship.kubeflow.logs import pod_names
from nbship.kubeflow.records import PipelineVersion, RemoteRun, Schedule, Task
from nbship.kubeflow.server import PREFIX

_EQUALS = 1
_PAGE = 100
_LONGEST_EXPERIMENT = 128
_LAST_OF_BMP = "\uffff"
_CANCELLATIONS = ("CANCELING", "CANCELED")


def ensure_version(
    connection: Connection, pipeline: str, version: str, compiled: Path, applied: str = ""
) -> PipelineVersion:
    """Uploads a compiled pipeline as a version, unless there is one of that name.

    A pipeline that is new to the server also gets a first version of its own name: that is Kubeflow's way.

    Args:
        connection: The server.
        pipeline: The pipeline's name.
        version: The version's name.
        compiled: The YAML file.
        applied: Another name under which the same version may be there: that of its Kubernetes resource.

    Raises:
        ApiError: The server refuses it or cannot be reached.
    """
    file, uploads = str(compiled), connection.uploads

    def upload_pipeline() -> str:
        found = connection.call(uploads.upload_pipeline, file, name=pipeline, **_namespace(connection))
        return _identifier(found.pipeline_id)

    def upload(**names: str) -> str:
        found = connection.call(uploads.upload_pipeline_version, file, pipelineid=pipeline_id, **names)
        return _identifier(found.pipeline_version_id)

    def find() -> str | None:
        return _find_version(connection, pipeline_id, version)

    pipeline_id, _ = _ensure(connection, lambda: _find_pipeline(connection, pipeline), upload_pipeline)
    known = _find_version(connection, pipeline_id, applied) if applied else None
    if known:
        return PipelineVersion(pipeline_id, known, applied, new=False)
    try:
        version_id, new = _ensure(connection, find, lambda: upload(name=version))
    except KubeflowError as error:
        if not error.conflict:
            raise
        # Where versions are Kubernetes resources, one of another pipeline may have the name.
        names = {"name": f"{pipeline}-{version}", "display_name": version}
        version_id, new = _ensure(connection, find, lambda: upload(**names))
    return PipelineVersion(pipeline_id, version_id, version, new)


def check_experiment(name: str) -> None:
    """Checks that the server's database can keep the name of an experiment.

    The limits are those of Kubeflow's own database, MariaDB or MySQL with three bytes a character; what does
    not fit there is answered as a failure of the server.

    Raises:
        UsageError: It cannot.
    """
    if not name or len(name) > _LONGEST_EXPERIMENT:
        raise UsageError(
            f"experiment '{name[:40]}{'…' if name[40:] else ''}': the name has {len(name)} characters, "
            f"and Kubeflow takes 1 to {_LONGEST_EXPERIMENT}",
            "name another: --experiment NAME",
        )
    strange = next((letter for letter in name if letter > _LAST_OF_BMP), "")
    if strange:
        raise UsageError(
            f"experiment '{name}': Kubeflow's database cannot keep '{strange}'",
            "name another: --experiment NAME",
        )


def ensure_experiment(connection: Connection, name: str) -> str:
    """Returns the identifier of the experiment of a name, which is created if need be.

    Raises:
        UsageError: Kubeflow cannot keep the name, or takes it for that of another experiment.
        ApiError: The server refuses it or cannot be reached.
    """
    check_experiment(name)

    def find() -> str | None:
        answer = connection.call(
            connection.experiments.experiment_service_list_experiments,
            filter=_filter(name),
            **_namespace(connection),
        )
        found = {e.display_name: _identifier(e.experiment_id) for e in answer.experiments or ()}
        if found and name not in found:
            other = next(iter(found))
            raise UsageError(
                f"experiment '{name}': Kubeflow has '{other}', and its names ignore case and accents",
                f"keep the runs there: --experiment '{other}'; or name another",
            )
        return found.get(name)

    body = kfp_server_api.V2beta1Experiment(display_name=name, namespace=connection.server.namespace or None)
    method = connection.experiments.experiment_service_create_experiment
    return _ensure(connection, find, lambda: _identifier(connection.call(method, body).experiment_id))[0]


def _ensure(
    connection: Connection, find: Callable[[], str | None], make: Callable[[], str]
) -> tuple[str, bool]:
    """Returns the identifier of what is there, or is created then; and whether it was."""
    found = find()
    return (found, False) if found else (connection.create(make, find), True)


def start_run(
    connection: Connection,
    name: str,
    experiment_id: str,
    version: PipelineVersion,
    parameters: Mapping[str, Any],
    service_account: str = "",
) -> RemoteRun:
    """Starts a run.

    Args:
        connection: The server.
        name: A name that no other run has: by it, a run is recognized whose start was not confirmed.
        experiment_id: Where the run is kept.
        version: What is run.
        parameters: Values by their names in the compiled pipeline; the others keep their defaults.
        service_account: Of the run's pods; the server's own choice if empty.

    Raises:
        ApiError: It was not started, or nobody knows whether it was.
    """
    body = kfp_server_api.V2beta1Run(
        display_name=name,
        experiment_id=experiment_id,
        service_account=service_account or None,
        pipeline_version_reference=_reference(version),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=dict(parameters)),
    )
    method = connection.runs.run_service_create_run
    return connection.create(
        lambda: _run(connection.call(method, body)),
        lambda: find_run(connection, name, experiment_id),
    )


def find_run(connection: Connection, name: str, experiment_id: str) -> RemoteRun | None:
    """Returns the run of a name in an experiment; None if there is none."""
    found = _runs(connection, _filter(name))
    return next((run for run in found if run.experiment_id == experiment_id), None)


def get_run(connection: Connection, run_id: str) -> RemoteRun:
    """Returns a run as it is now."""
    return _run(connection.call(connection.runs.run_service_get_run, run_id))


def list_runs(connection: Connection, pipeline: str = "") -> Iterator[RemoteRun]:
    """Yields runs, newest first: all of them, or those of a pipeline.

    A run that a schedule started has a name that Kubeflow made up, so names tell nothing.
    """
    pipeline_id = _find_pipeline(connection, pipeline) if pipeline else None
    if pipeline and not pipeline_id:
        return
    for run in _runs(connection, ""):
        if pipeline_id in (None, run.pipeline_id):
            yield run


def list_schedules(connection: Connection, pipeline: str = "") -> list[Schedule]:
    """Returns the recurring runs: all of them, or those of a pipeline."""
    method = connection.recurring_runs.recurring_run_service_list_recurring_runs
    pages = _pages(connection, method, "recurring_runs", _filter(pipeline) if pipeline else "")
    return [_schedule(found) for found in pages]


def create_schedule(
    connection: Connection,
    pipeline: str,
    cron: str,
    experiment_id: str,
    version: PipelineVersion,
    parameters: Mapping[str, Any],
    enabled: bool = True,
    service_account: str = "",
) -> Schedule:
    """Creates a recurring run; at most one of its runs at a time, and none that was missed is caught up with.

    Raises:
        ApiError: The server refuses it, as when the times are not understood, or cannot be reached.
    """
    modes = kfp_server_api.RecurringRunMode
    body = kfp_server_api.V2beta1RecurringRun(
        display_name=pipeline,
        experiment_id=experiment_id,
        service_account=service_account or None,
        pipeline_version_reference=_reference(version),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=dict(parameters)),
        trigger=kfp_server_api.V2beta1Trigger(cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=cron)),
        mode=modes.ENABLE if enabled else modes.DISABLE,
        max_concurrency="1",
        no_catchup=True,
    )
    before = {schedule.id for schedule in list_schedules(connection, pipeline)}
    method = connection.recurring_runs.recurring_run_service_create_recurring_run
    return connection.create(
        lambda: _schedule(connection.call(method, body)),
        lambda: next((s for s in list_schedules(connection, pipeline) if s.id not in before), None),
    )


def enable_schedule(connection: Connection, schedule_id: str, enabled: bool) -> None:
    """Lets a recurring run go on, or pauses it."""
    service = connection.recurring_runs
    method = (
        service.recurring_run_service_enable_recurring_run
        if enabled
        else service.recurring_run_service_disable_recurring_run
    )
    connection.call(method, schedule_id)


def delete_schedule(connection: Connection, schedule_id: str) -> None:
    """Deletes a recurring run, if it is there; its runs stay."""
    try:
        connection.call(connection.recurring_runs.recurring_run_service_delete_recurring_run, schedule_id)
    except KubeflowError as error:
        if not error.missing:
            raise


def _find_pipeline(connection: Connection, name: str) -> str | None:
    method = connection.pipelines.pipeline_service_list_pipelines
    answer = connection.call(method, filter=_filter(name), **_namespace(connection))
    return next((_identifier(found.pipeline_id) for found in answer.pipelines or ()), None)


def _find_version(connection: Connection, pipeline_id: str, name: str) -> str | None:
    method = connection.pipelines.pipeline_service_list_pipeline_versions
    answer = connection.call(method, pipeline_id, filter=_filter(name))
    return next((_identifier(found.pipeline_version_id) for found in answer.pipeline_versions or ()), None)


def _runs(connection: Connection, chosen: str) -> Iterator[RemoteRun]:
    return map(_run, _pages(connection, connection.runs.run_service_list_runs, "runs", chosen))


def _pages(connection: Connection, method: Callable[..., Any], key: str, chosen: str) -> Iterator[Any]:
    """Yields what a list holds, newest first, page by page."""
    token = ""
    while True:
        # A token goes with the filter and the order that the server made it for.
        options = {**({"page_token": token} if token else {}), **({"filter": chosen} if chosen else {})}
        answer = connection.call(
            method, page_size=_PAGE, sort_by="created_at desc", **options, **_namespace(connection)
        )
        yield from getattr(answer, key) or ()
        token = answer.next_page_token or ""
        if not token:
            return


def _namespace(connection: Connection) -> dict[str, str]:
    """A server of several users needs it; one of a single user passes over it."""
    namespace = connection.server.namespace
    return {"namespace": namespace} if namespace else {}


def _filter(name: str) -> str:
    predicate = {"operation": _EQUALS, "key": "display_name", "stringValue": name}
    # The server decodes a filter once more than the address that it came in.
    return quote(json.dumps({"predicates": [predicate]}))


def _reference(version: PipelineVersion) -> Any:
    return kfp_server_api.V2beta1PipelineVersionReference(
        pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
    )


def _run(found: Any) -> RemoteRun:
    details = found.run_details.task_details if found.run_details else None
    reference = found.pipeline_version_reference
    return RemoteRun(
        id=_identifier(found.run_id),
        name=found.display_name or "",
        experiment_id=found.experiment_id or "",
        state=_run_state(found),
        created=found.created_at,
        finished=_moment(found.finished_at),
        error=_error(found.error),
        tasks=tuple(
            Task(
                name=task.display_name or "",
                state=_state(task.state),
                started=_moment(task.start_time),
                finished=_moment(task.end_time),
                error=_error(task.error),
                pods=pod_names(task.pod_name, [child.pod_name for child in task.child_tasks or ()]),
            )
            for task in details or ()
        ),
        pipeline_id=(reference.pipeline_id if reference else "") or "",
    )


def _schedule(found: Any) -> Schedule:
    trigger = found.trigger.cron_schedule if found.trigger else None
    reference, runtime = found.pipeline_version_reference, found.runtime_config
    return Schedule(
        id=_identifier(found.recurring_run_id),
        name=found.display_name or "",
        cron=(trigger.cron if trigger else "") or "",
        enabled=_state(found.status) == "ENABLED",
        version_id=(reference.pipeline_version_id if reference else "") or "",
        experiment_id=found.experiment_id or "",
        parameters=(runtime.parameters if runtime else None) or {},
        service_account=found.service_account or "",
    )


def _identifier(found: Any) -> str:
    if not found:
        raise NbshipError("the server answers without an identifier", f"check {PREFIX}HOST")
    return str(found)


def _state(found: Any) -> str:
    return str(found) if found else "PENDING"


def _run_state(found: Any) -> str:
    """A run that somebody ended fails, and only its history knows why."""
    state = _state(found.state)
    ended = any(_state(past.state) in _CANCELLATIONS for past in found.state_history or ())
    return "CANCELED" if state == "FAILED" and ended else state


def _moment(found: datetime | None) -> datetime | None:
    """Kubeflow writes the beginning of 1970 for what has not happened yet."""
    return found if found and found.year > 1970 else None


def _error(found: Any) -> str:
    return " ".join((found.message or "").split()) if found else ""
