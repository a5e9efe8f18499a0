"""Why a model's servers do not start, as their pods tell it, with the last lines of them. Only looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nbship.cluster.manifest import Manifest
from nbship.cluster.services import Cluster, KubernetesError, call, read_text
from nbship.errors import NbshipError

# Waiting for these will not help; of others, such as a full cluster, nobody knows.
_FINAL = ("CrashLoopBackOff", "ImagePullBackOff", "InvalidImageName")
_LINES = 15


@dataclass(frozen=True)
class Trouble:
    """Why a pod is not ready.

    Attributes:
        reason: In a line.
        is_final: Whether it will not pass by itself.
        log: The last lines of the container that failed; empty if there are none.
    """

    reason: str
    is_final: bool = False
    log: str = ""


def find_trouble(cluster: Cluster, name: str, labels: dict[str, str]) -> Trouble | None:
    """Looks for a pod that cannot start.

    Args:
        cluster: Where.
        name: The InferenceService.
        labels: Which of its pods.

    Returns:
        What is wrong, first of all what is final; None if nothing is, or the account may not read pods.
    """
    wanted = {"serving.kserve.io/inferenceservice": name, **labels}
    selector = ",".join(f"{key}={value}" for key, value in wanted.items())
    base = f"/api/v1/namespaces/{cluster.namespace}/pods"
    try:
        pods = call(cluster, "GET", base, query={"labelSelector": selector}).get("items") or []
    except KubernetesError as error:
        if error.status == 403:
            return None
        raise
    troubles = sorted(_troubles(pods), key=lambda each: not each[1].is_final)
    for (pod, container), trouble in troubles:
        log = _last_lines(cluster, f"{base}/{pod}/log", container) if container else ""
        return Trouble(trouble.reason, trouble.is_final, log)
    return None


def _troubles(pods: list[Manifest]) -> Iterator[tuple[tuple[str, str], Trouble]]:
    """Yields the pod and the container whose log tells more, empty if there is none, and what is wrong."""
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        for condition in status.get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                yield (name, ""), Trouble(f"{condition.get('reason')}: {condition.get('message')}")
        containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        for container in containers:
            waiting = (container.get("state") or {}).get("waiting") or {}
            reason = str(waiting.get("reason") or "")
            if reason and reason not in ("ContainerCreating", "PodInitializing"):
                has_run = container["name"] if container.get("restartCount") else ""
                text = f"{container['name']}: {reason}: {waiting.get('message') or 'no message'}"
                yield (name, has_run), Trouble(text, reason in _FINAL)


def _last_lines(cluster: Cluster, path: str, container: str) -> str:
    query = {"container": container, "previous": "true", "tailLines": str(_LINES), "limitBytes": "8000"}
    try:
        return read_text(cluster, path, query).strip()
    except NbshipError:
        return ""
