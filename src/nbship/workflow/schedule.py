"""Lets Kubeflow run a compiled pipeline at set times: one recurring run for each pipeline, known by its name.

Kubeflow cannot change a recurring run, so another takes the place of the old one, which is deleted only when
the new one is there; repeating what was cut off in between finishes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nbship.errors import NbshipError, UsageError, suggestion
from nbship.project import pipeline_names
from nbship.workflow.submit import SubmitRequest, default_experiment, prepared

if TYPE_CHECKING:
    from nbship.kubeflow.api import Connection
    from nbship.kubeflow.records import Schedule

_FIELDS = 5
# What the server takes, and tells, where none is named: for one user, and for several.
_DEFAULT_ACCOUNTS = ("pipeline-runner", "default-editor")


@dataclass(frozen=True)
class Scheduled:
    """A recurring run, and what was done: "created", "updated" or "unchanged"."""

    schedule: Schedule
    done: str


def schedule(
    connection: Connection, root: Path, request: SubmitRequest, cron: str, environment: Mapping[str, str]
) -> Scheduled:
    """Makes a pipeline's recurring run what is asked for; one that is paused stays so.

    Args:
        connection: The server.
        root: The project's folder.
        request: What to run.
        cron: When: cron's five fields, or six that begin with seconds; in the server's time zone, mostly UTC.
        environment: In a CI job, says which branch this is.

    Raises:
        UsageError: The request or the times are wrong; nothing was sent.
        NbshipError: The compiled pipeline is not current, or the server refuses or does not answer.
    """
    from nbship.kubeflow.client import (
        create_schedule,
        delete_schedule,
        ensure_experiment,
        ensure_version,
        list_schedules,
    )
    from nbship.kubeflow.resources import version_name

    times = cron_fields(cron)
    with prepared(root, request) as pipeline:
        experiment = request.experiment or default_experiment(root, environment)
        experiment_id = ensure_experiment(connection, experiment)
        applied = version_name(request.pipeline, pipeline.compiled.read_text(encoding="utf-8"))
        version = ensure_version(connection, request.pipeline, pipeline.version, pipeline.compiled, applied)
        old = list_schedules(connection, request.pipeline)
        account = pipeline.graph.pipeline.kubeflow.service_account or ""
        asked = "" if account in _DEFAULT_ACCOUNTS else account
        wanted = (times, version.version_id, experiment_id, dict(pipeline.parameters), asked)
        same = next((s for s in old if _content(s) == wanted), None)
        enabled = not old or any(s.enabled for s in old)
        kept = same or create_schedule(
            connection, request.pipeline, times, experiment_id, version, pipeline.parameters, enabled, account
        )
    replaced = [s for s in old if s.id != kept.id]
    for other in replaced:
        delete_schedule(connection, other.id)
    return Scheduled(kept, "updated" if replaced else "unchanged" if same else "created")


def schedules(connection: Connection, root: Path, pipeline: str = "") -> list[Schedule]:
    """Returns the recurring runs of the project's pipelines, or of one."""
    from nbship.kubeflow.client import list_schedules

    known = _check_known(root, pipeline)
    return [found for found in list_schedules(connection, pipeline) if found.name in known]


def pause(connection: Connection, root: Path, pipeline: str) -> None:
    """Pauses a recurring run."""
    _enable(connection, root, pipeline, enabled=False)


def resume(connection: Connection, root: Path, pipeline: str) -> None:
    """Resumes a recurring run."""
    _enable(connection, root, pipeline, enabled=True)


def delete(connection: Connection, root: Path, pipeline: str) -> None:
    """Deletes a recurring run; its runs stay.

    Raises:
        NbshipError: There is none, or the server refuses or does not answer.
    """
    from nbship.kubeflow.client import delete_schedule

    for found in _existing(connection, root, pipeline):
        delete_schedule(connection, found.id)


def cron_fields(cron: str) -> str:
    """Returns times as Kubeflow takes them: six fields that begin with seconds, and Sunday as 0 alone.

    Raises:
        UsageError: There are neither five fields nor six.
    """
    fields = cron.split()
    if len(fields) not in (_FIELDS, _FIELDS + 1):
        raise UsageError(
            f"--cron '{cron}': {len(fields)} fields, and cron has {_FIELDS}",
            "minute, hour, day, month, weekday; for example '0 3 * * 1' for Mondays at three",
        )
    days = ",".join(map(_days, fields[-1].split(",")))
    return " ".join([*(["0"] if len(fields) == _FIELDS else []), *fields[:-1], days])


def _days(part: str) -> str:
    """Weekdays of cron, where Sunday is 0 and 7 alike."""
    match = re.fullmatch(r"(?:([0-7])-)?7(?:/([1-9]\d?))?", part)
    if not match:
        return part
    days = range(int(match[1] or 7), 8, int(match[2] or 1))
    return ",".join(str(day % 7) for day in days)


def _enable(connection: Connection, root: Path, pipeline: str, enabled: bool) -> None:
    from nbship.kubeflow.client import enable_schedule

    for found in _existing(connection, root, pipeline):
        enable_schedule(connection, found.id, enabled)


def _existing(connection: Connection, root: Path, pipeline: str) -> list[Schedule]:
    found = schedules(connection, root, pipeline)
    if not found:
        raise NbshipError(
            f"'{pipeline}' has no schedule at {connection.server.host}",
            f"make one: nbship schedule {pipeline} --cron '0 3 * * 1'",
        )
    return found


def _check_known(root: Path, pipeline: str) -> list[str]:
    known = pipeline_names(root)
    if pipeline and pipeline not in known:
        raise UsageError(f"there is no pipeline '{pipeline}'", suggestion(pipeline, known))
    return known


def _content(schedule: Schedule) -> tuple[object, ...]:
    place = (schedule.version_id, schedule.experiment_id)
    account = "" if schedule.service_account in _DEFAULT_ACCOUNTS else schedule.service_account
    return schedule.cron, *place, dict(schedule.parameters), account
