"""Finds a line in the log of a step that ran on Kubeflow, wherever the server has that log.

Kubeflow's API tells neither what a task put out nor, in most releases, the name of its pod. What the line
means is the business of `workflow.incluster.result`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from urllib.parse import quote

from nbship.errors import NbshipError
from nbship.kubeflow.api import Connection, KubeflowError
from nbship.kubeflow.server import Server

# The template of Argo that runs what a component says; its name is a part of the pod's.
_TEMPLATE = "system-container-impl"
_MOST_BYTES = 2**24


def pod_names(told: str | None, children: Sequence[str | None]) -> tuple[str, ...]:
    """Returns the names that a task's pod may have, the likeliest first.

    Args:
        told: The pod as the API names it; most releases of Kubeflow leave it empty.
        children: What the API calls the pods of the task's children, and are Argo's nodes: `workflow-number`.
            Since Argo 3.4, the pod of such a node is `workflow-template-number`.
    """
    found = [told] if told else []
    for child in filter(None, children):
        workflow, dash, number = child.rpartition("-")
        found += [f"{workflow}-{_TEMPLATE}-{number}"] if dash else []
        found.append(child)
    return tuple(dict.fromkeys(found))


def marked_line(connection: Connection, run_id: str, pods: Sequence[str], mark: str) -> str:
    """Returns what follows a mark in the last line of a log that has it; empty if no log does.

    Args:
        connection: The server.
        run_id: The run.
        pods: The names that the step's pod may have.
        mark: What the line begins with.
    """
    return next(reversed(marked_lines(connection, run_id, pods, mark)), "")


def marked_lines(connection: Connection, run_id: str, pods: Sequence[str], mark: str) -> list[str]:
    """Returns what follows a mark in each line that has it, of the first log that has some; see above."""
    for address, query in _places(connection.server, run_id, pods):
        try:
            text = connection.read(address, query, _MOST_BYTES)
        except KubeflowError as error:
            if not error.status:  # It does not answer, so it will not answer the next question either.
                return []
            continue
        except NbshipError:
            return []
        lines = [line.removeprefix(mark) for line in text.split("\n") if line.startswith(mark)]
        if lines:
            return lines
    return []


def _places(server: Server, run_id: str, pods: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The API's own place, and that of the pages, which read the log of a pod that is still there.

    A server of one user asks Kubernetes for pods in the namespace "", where none is: there, the API has
    archived logs alone.
    """
    of_namespace = {"podnamespace": server.namespace} if server.namespace else {}
    for pod, of_pages in product(pods, (False, True)):
        if of_pages:
            query = {"podname": pod, "runid": run_id, **of_namespace}
            yield f"{server.ui or server.host}/k8s/pod/logs", query
        else:
            path = f"runs/{quote(run_id, safe='')}/nodes/{quote(pod, safe='')}/log"
            yield f"{server.host}/apis/v1alpha1/{path}", {}
