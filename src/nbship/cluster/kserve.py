"""What one must know of a cluster's KServe: its deployment mode, its runtimes, and the way to its servers.

Only looks and asks; what is changed goes through `services`.
"""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import urlsplit

from nbship.cluster.backends import Backend
from nbship.cluster.check import Answer, Ask
from nbship.cluster.manifest import GROUP, MODE, Manifest, Mode
from nbship.cluster.services import REQUEST, Cluster, RefusedError, call, explained, or_none, reason, send
from nbship.config import Deploy, Stage
from nbship.errors import NbshipError, UsageError

_MODES: dict[str, Mode] = {
    "Standard": "Standard",
    "RawDeployment": "Standard",
    "Knative": "Knative",
    "Serverless": "Knative",
}
# What the API server says where a Service has no pod that it may ask, or no Endpoints.
_ASLEEP = {503: "ServiceUnavailable", 404: "NotFound"}
_SYSTEM, _CONFIG = "kserve", "inferenceservice-config"


def is_ready(service: Manifest) -> bool:
    """Returns whether KServe says that a service is ready."""
    conditions = (service.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def find_mode(cluster: Cluster, settings: Deploy, stage: Stage, service: Manifest | None) -> Mode:
    """Finds KServe's deployment mode, and refuses what KServe would silently do otherwise.

    Raises:
        UsageError: The settings do not fit the mode.
        NbshipError: The mode is neither configured nor can it be found.
    """
    configuration = _configuration(cluster)
    default = _MODES.get(configuration.get("deploy", {}).get("defaultDeploymentMode", ""))
    running = None if service is None else _running_mode(service) or default
    mode = settings.kserve or running or default
    if mode is None:
        raise NbshipError(
            f"KServe's deployment mode is not known: {_SYSTEM}/{_CONFIG} cannot be read",
            "say it in the pipeline file: deploy.kserve: Standard or Knative",
        )
    if running and running != mode:
        raise UsageError(
            f"{cluster.namespace} runs the model in KServe's mode {running}, which cannot become {mode}",
            f"set deploy.kserve: {running}",
        )
    if mode == "Standard" and stage.min_replicas == 0:
        raise UsageError(
            "min_replicas: 0 needs Knative; in Standard mode KServe would silently make it 1",
            "set min_replicas: 1",
        )
    ingress = configuration.get("ingress", {})
    if mode == "Standard" and settings.steps != [100] and ingress.get("enableGatewayApi") is False:
        raise UsageError(
            "KServe uses no Gateway API here, and would silently not split traffic in Standard mode",
            "set enableGatewayApi in its configuration; or deploy.steps: [100], which only checks first",
        )
    if mode == "Knative" and not _has_knative(cluster):
        raise UsageError("this cluster has no Knative", "set deploy.kserve: Standard")
    return mode


def runtime_image(cluster: Cluster, runtime: str) -> str:
    """Returns the image of a ServingRuntime of the namespace, or else of the cluster.

    Raises:
        NbshipError: There is no such runtime.
    """
    namespaced = f"/apis/{GROUP}/v1alpha1/namespaces/{cluster.namespace}/servingruntimes/{runtime}"
    for path in (namespaced, f"/apis/{GROUP}/v1alpha1/clusterservingruntimes/{runtime}"):
        found = or_none(lambda path=path: call(cluster, "GET", path))  # type: ignore[misc]
        if found:
            containers = found["spec"].get("containers") or [{}]
            return str(containers[0].get("image", ""))
    raise NbshipError(
        f"there is no ServingRuntime '{runtime}' for {cluster.namespace}",
        "make it: kubectl apply -k kubernetes/serving",
    )


def ask_backend(cluster: Cluster, backend: Backend, model: str) -> Ask:
    """Returns how a Service's predictions are asked for, through the Kubernetes API."""
    namespace = backend.namespace or cluster.namespace
    base = f"/api/v1/namespaces/{namespace}/services/http:{backend.service}:80/proxy"
    path = f"{base}/v1/models/{model}:predict"

    def ask(body: dict[str, Any]) -> Answer:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        begin = time.perf_counter()
        try:
            status, content = send(cluster.once, "POST", path, body, dict(backend.headers))
        except ApiException as error:
            if backend.waker and reason(error) and _ASLEEP.get(error.status) == reason(error):
                return _wake(cluster, backend.waker, model, body)
            if error.status == 403 and reason(error) == "Forbidden":
                raise explained(error, cluster) from None
            status, content = int(error.status or 0), bytes(error.body or b"")
        except HTTPError as error:
            status, content = 0, str(error).encode()
        return Answer(status, content, time.perf_counter() - begin)

    return ask


def _wake(cluster: Cluster, waker: Backend, model: str, body: dict[str, Any]) -> Answer:
    """Asks what starts a server; where that is not allowed, the answer says so."""
    try:
        return ask_backend(cluster, waker, model)(body)
    except RefusedError:
        what = f"no server runs, and we may not ask {waker.namespace}/{waker.service} to start one"
        return Answer(503, f"{what}: apply kubernetes/serving/knative, or set min_replicas: 1".encode(), 0)


def ask_ingress(address: str, service: Manifest, model: str) -> Ask:
    """Returns how predictions are asked for as clients do: at the ingress, by the service's host name."""
    import urllib3

    host = urlsplit(service["status"].get("url") or "").netloc

    def ask(body: dict[str, Any]) -> Answer:
        begin = time.perf_counter()
        try:
            response = urllib3.request(
                "POST",
                f"{address}/v1/models/{model}:predict",
                json=body,
                headers={"Content-Type": "application/json", **({"Host": host} if host else {})},
                timeout=REQUEST,
                redirect=False,
                retries=False,
            )
            status, content = response.status, response.data
        except urllib3.exceptions.HTTPError as error:
            status, content = 0, str(error).encode()
        return Answer(status, content, time.perf_counter() - begin)

    return ask


def _has_knative(cluster: Cluster) -> bool:
    groups = call(cluster, "GET", "/apis").get("groups") or ()
    return any(group.get("name") == "serving.knative.dev" for group in groups)


def _configuration(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """KServe's configuration; empty where it may not be read."""
    path = f"/api/v1/namespaces/{_SYSTEM}/configmaps/{_CONFIG}"
    try:
        data = call(cluster, "GET", path).get("data") or {}
        return {key: json.loads(data[key]) for key in ("deploy", "ingress") if key in data}
    except RefusedError as error:
        if error.status in (403, 404):
            return {}
        raise
    except ValueError:
        raise NbshipError(f"{_SYSTEM}/{_CONFIG} is not valid JSON", "repair KServe's configuration") from None


def _running_mode(service: Manifest) -> Mode | None:
    said = (service.get("status") or {}).get("deploymentMode")
    return _MODES.get(said or (service["metadata"].get("annotations") or {}).get(MODE, ""))
