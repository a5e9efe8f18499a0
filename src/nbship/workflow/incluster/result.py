"""What came out of a run on Kubeflow, for who waits for it: the verdict, the metrics and the model's version.

Kubeflow's API has no values of tasks, so the steps that know them write a line into their logs, and it is
read there. GitLab is told by `report`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from nbship.gate import Verdict
from nbship.kubeflow.delivery import GATE, PUBLISH, RECORD

if TYPE_CHECKING:
    from nbship.kubeflow.api import Connection
    from nbship.kubeflow.records import RemoteRun

_MARK = "nbship-result "


class Result(BaseModel):
    """What a run measured, and what became of its model.

    Attributes:
        verdict: The gate's; None without a gate.
        metrics: By `step.metric`.
        step: The step whose metrics the gate judged; empty without a gate.
        version: The published model's; empty if none was.
    """

    # A metric may be NaN, and JSON has no such number.
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    verdict: Verdict | None = None
    metrics: Mapping[str, float] = {}
    step: str = ""
    version: str = ""

    @property
    def main_metrics(self) -> dict[str, float]:
        """The metrics of the step that was judged, by their own names; without a gate, all of them."""
        prefix = f"{self.step}." if self.step else ""
        return {
            name.removeprefix(prefix): value
            for name, value in self.metrics.items()
            if name.startswith(prefix)
        }


def tell(result: Result) -> None:
    """Writes a result into the log of this step."""
    # ASCII, so that no locale of a container and no proxy changes it.
    sys.stdout.write(f"{_MARK}{json.dumps(result.model_dump(mode='json', exclude_defaults=True))}\n")
    sys.stdout.flush()


def has_result(run: RemoteRun) -> bool:
    """Returns whether a run came to a result: the step that judges or records has succeeded."""
    return any(task.name in (GATE, RECORD) and task.state == "SUCCEEDED" for task in run.tasks)


def read_result(connection: Connection, run: RemoteRun) -> Result | None:
    """Reads the result of a run that has ended; None if its logs cannot be had, or do not tell it."""
    judged = _read_log(connection, run, GATE) or _read_log(connection, run, RECORD)
    published = _read_log(connection, run, PUBLISH)
    if judged and published:
        return judged.model_copy(update={"version": published.version})
    return judged


def _read_log(connection: Connection, run: RemoteRun, step: str) -> Result | None:
    from nbship.kubeflow.logs import marked_line

    for task in run.tasks:
        if task.name == step and task.state == "SUCCEEDED":
            line = marked_line(connection, run.id, task.pods, _MARK)
            try:
                return Result.model_validate_json(line)
            except ValidationError:
                return None
    return None
