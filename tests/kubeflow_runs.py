"""What a Kubeflow Pipelines API server tells of runs: Argo's nodes, and not only the tasks of the pipeline.

`server/api_converter.go`, toModelTasks, makes an entry of every node of the workflow by its display name: the
workflow itself, `root`, drivers, groups, executors and tries. Measured on 2.17.0.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

Record = dict[str, Any]
WORKFLOW = "line-x7k2p"
# Written for what has not happened.
_NEVER = "1970-01-01T00:00:00Z"
_WAITING = ("PENDING", "SKIPPED")
# The states that an exit handler may be told, by what became of the other tasks: the driver hands on that of
# their record of metadata, which success leaves at RUNNING in 2.17.0 (measured), and not in other releases.
EXIT_HANDLER_STATES = {
    "succeeded": ("RUNNING", "SUCCEEDED", "COMPLETE"),
    "failed": ("FAILED", "CANCELED", "CANCELING"),
}


def node_id(task: str, workflow: str = WORKFLOW) -> str:
    """The node that runs a task's container: what archived logs are kept under."""
    return f"{workflow}-{zlib.crc32(task.encode())}"


def pod_name(task: str, workflow: str = WORKFLOW) -> str:
    """The pod of that node, as Argo has named pods since 3.4."""
    return node_id(task, workflow).replace(f"{workflow}-", f"{workflow}-system-container-impl-")


def task_details(states: dict[str, str], retried: tuple[str, ...] = ()) -> list[Record]:
    """The entries of a run whose tasks have these states; `retried` are those that may be tried again."""
    whole = "FAILED" if "FAILED" in states.values() else "RUNNING"
    nodes = [
        _node(WORKFLOW, whole, "root-driver"),
        _node("root-driver", "SUCCEEDED", "root"),
        _node("root", whole, "exit-handler-1-dag-driver"),
        _node("exit-handler-1-dag-driver", "SUCCEEDED", "exit-handler-1"),
        _node("exit-handler-1", whole),
        # Argo's groups of parallel tasks have no display name.
        {"run_id": "", "task_id": "b8f1", "start_time": _NEVER, "end_time": _NEVER},
    ]
    for task, state in states.items():
        nodes += _of_task(task, state, task in retried)
    return nodes


def _of_task(task: str, state: str, retried: bool) -> Iterator[Record]:
    yield _node(f"{task}-driver", "PENDING" if state == "PENDING" else "SUCCEEDED", task)
    if state in _WAITING:
        yield _node(task, state)
        return
    yield _node(task, state) | {"child_tasks": [{"pod_name": node_id(task)}]}
    yield _node("executor", state)
    if retried:
        yield _node("executor(0)", "FAILED")
        yield _node("executor(1)", state)


def _node(name: str, state: str, *children: str) -> Record:
    return {
        "run_id": "",
        "task_id": f"id of {name}",
        "display_name": name,
        "start_time": _NEVER,
        "end_time": _NEVER,
        "state": state,
        "child_tasks": [{"pod_name": node_id(f"node {child}")} for child in children],
    }


def look(state: str, error: str = "", **tasks: str) -> Callable[[Record], None]:
    """What a look at a run finds: its state, and those of its tasks; `_` in their names stands for `-`."""

    def change(run: Record) -> None:
        run["state"] = state
        states = {name.replace("_", "-"): task for name, task in tasks.items()}
        run["run_details"] = {"task_details": task_details(states)}
        if error:
            run["error"] = {"code": 13, "message": error}

    return change


def terminated(**tasks: str) -> Callable[[Record], None]:
    """A run that somebody ended: `resource_manager.go` leaves CANCELING in its history alone."""

    def change(run: Record) -> None:
        look("FAILED", **tasks)(run)
        states = ("PENDING", "RUNNING", "CANCELING", "FAILED")
        run["state_history"] = [{"update_time": _NEVER, "state": state} for state in states]

    return change
