"""What nbship knows of a server's versions, runs and schedules: records, in Kubeflow's words for states.

Vertex AI's runs are told in them too. Who asks the server is `client`, or `vertex`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

FINAL = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")


@dataclass(frozen=True)
class PipelineVersion:
    """A version of a pipeline on the server; `new` if this call uploaded it."""

    pipeline_id: str
    version_id: str
    name: str
    new: bool


@dataclass(frozen=True)
class Task:
    """A task of a run: a step, or something that Kubeflow adds.

    Attributes:
        name: Its name in the compiled pipeline.
        state: In Kubeflow's words: PENDING, RUNNING, SUCCEEDED, SKIPPED, FAILED, CANCELED …
        started: When it began; None before that.
        finished: When it ended; None before that.
        error: Why it failed.
        pods: The names that its pod may have, the likeliest first.
    """

    name: str
    state: str
    started: datetime | None
    finished: datetime | None
    error: str
    pods: tuple[str, ...] = ()


@dataclass(frozen=True)
class RemoteRun:
    """A run on the server; the states are those of `Task`."""

    id: str
    name: str
    experiment_id: str
    state: str
    created: datetime | None
    finished: datetime | None
    error: str
    tasks: tuple[Task, ...]
    pipeline_id: str = ""

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL


@dataclass(frozen=True)
class Schedule:
    """A recurring run.

    Attributes:
        id: The server's identifier.
        name: The pipeline's name.
        cron: When it runs, in Kubeflow's six fields that begin with seconds.
        enabled: False while it is paused.
        version_id: The version of the pipeline that it runs.
        experiment_id: Where its runs are kept.
        parameters: What is set for each run.
        service_account: Of the runs' pods; empty if it is the server's own choice.
    """

    id: str
    name: str
    cron: str
    enabled: bool
    version_id: str
    experiment_id: str
    parameters: Mapping[str, Any]
    service_account: str = ""
