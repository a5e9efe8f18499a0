"""What one must know of a cluster's KServe: its deployment mode, its runtimes, and the way to its servers.

Only looks and asks; what is changed goes through `services`.
"""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import urlsplit

from nbship.cluster.backends import Backend
from nbship.cluster.check import Ask, ServerAnswer, unkept
from nbship.cluster.manifest import GROUP, Manifest, Mode
from nbship.cluster.services import (
    REQUEST,
    Cluster,
    KubernetesError,
    UnknownKindError,
    call,
    explained,
    get,
    is_api_down,
    or_none,
    patiently,
    reason,
    send,
)
from nbship.cluster.state import MODES, ServiceState, predictors, running_mode, server_name
from nbship.config import Deploy, Stage
from nbship.errors import NbshipError, UsageError

# What the API server says where a Service has no pod that it may ask, or no Endpoints.
_ASLEEP = {503: "ServiceUnavailable", 404: "NotFound"}
_SYSTEM, _CONFIG = "kserve", "inferenceservice-config"


def observe(cluster: Cluster, name: str) -> ServiceState | None:
    """Reads what the cluster holds for a model; None if it has no InferenceService of that name.

    Raises:
        NbshipError: The API cannot be reached, or does not allow it.
    """
    service = get(cluster, name)
    if service is None or running_mode(service) == "Knative":
        return ServiceState(service) if service else None
    names = [server_name(service, predictor) for predictor in predictors(service)]
    found = {each: _get(cluster, "apps/v1", "deployments", each) for each in names}
    route = _get(cluster, "gateway.networking.k8s.io/v1", "httproutes", name)
    return ServiceState(service, route, {each: one for each, one in found.items() if one})


def _get(cluster: Cluster, group: str, plural: str, name: str) -> Manifest | None:
    path = f"/apis/{group}/namespaces/{cluster.namespace}/{plural}/{name}"
    try:
        return or_none(lambda: call(cluster, "GET", path))
    except UnknownKindError:
        return None


def find_mode(cluster: Cluster, settings: Deploy, stage: Stage, service: Manifest | None) -> Mode:
    """Finds KServe's deployment mode, and refuses what KServe would silently do otherwise.

    Raises:
        UsageError: The settings do not fit the mode.
        NbshipError: The mode is neither configured nor can it be found.
    """
    configuration = _configuration(cluster)
    default = MODES.get(configuration.get("deploy", {}).get("defaultDeploymentMode", ""))
    running = None if service is None else running_mode(service) or default
    mode = settings.kserve or running or default
    if mode is None:
        raise NbshipError(
            f"KServe's deployment mode is unknown: {_SYSTEM}/{_CONFIG} cannot be read",
            "set it in the pipeline file: deploy.kserve: Standard or Knative",
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
    if mode == "Knative" and not _has_knative(cluster):
        raise UsageError("this cluster has no Knative", "set deploy.kserve: Standard")
    return mode


def check_runtime(cluster: Cluster, runtime: str) -> None:
    """Checks that the namespace, or else the cluster, has a ServingRuntime.

    Raises:
        NbshipError: There is no such runtime.
    """
    namespaced = f"/apis/{GROUP}/v1alpha1/namespaces/{cluster.namespace}/servingruntimes/{runtime}"
    if or_none(lambda: call(cluster, "GET", namespaced)):
        return
    try:
        found = or_none(
            lambda: call(cluster, "GET", f"/apis/{GROUP}/v1alpha1/clusterservingruntimes/{runtime}")
        )
        there = "nor has the cluster"
    except KubernetesError as error:
        if error.status != 403:
            raise
        found, there = None, "and those of the cluster may not be read"
    if not found:
        raise NbshipError(
            f"{cluster.namespace} has no ServingRuntime '{runtime}', {there}",
            "create it: kubectl apply -k kubernetes/serving",
        )


def ask_backend(cluster: Cluster, backend: Backend, model: str) -> Ask:
    """Returns how a Service's predictions are asked for, through the Kubernetes API."""
    namespace = backend.namespace or cluster.namespace
    base = f"/api/v1/namespaces/{namespace}/services/http:{backend.service}:80/proxy"
    path = f"{base}/v1/models/{model}:predict"

    def ask(body: dict[str, Any]) -> ServerAnswer:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        begin = 0.0

        def attempt() -> tuple[int, bytes]:
            nonlocal begin
            begin = time.perf_counter()
            return send(cluster.api, "POST", path, body, {**dict(backend.headers), **unkept()})

        try:
            status, content = patiently(cluster, attempt, is_api_down)
        except ApiException as error:
            if backend.waker and reason(error) and _ASLEEP.get(error.status) == reason(error):
                return _wake(cluster, backend.waker, model, body)
            if error.status == 403 and reason(error) == "Forbidden":
                raise explained(error, cluster) from None
            status, content = int(error.status or 0), bytes(error.body or b"")
        except HTTPError as error:
            status, content = 0, str(error).encode()
        return ServerAnswer(status, content, time.perf_counter() - begin)

    return ask


def _wake(cluster: Cluster, waker: Backend, model: str, body: dict[str, Any]) -> ServerAnswer:
    """Asks what starts a server; where that is not allowed, the answer says so."""
    try:
        return ask_backend(cluster, waker, model)(body)
    except KubernetesError:
        what = f"no server runs, and we may not ask {waker.namespace}/{waker.service} to start one"
        return ServerAnswer(
            503, f"{what}: apply kubernetes/serving/knative, or set min_replicas: 1".encode(), 0
        )


def ask_ingress(address: str, service: Manifest, model: str) -> Ask:
    """Returns how predictions are asked for as clients do: at the ingress, by the service's host name."""
    import urllib3

    host = urlsplit(service["status"].get("url") or "").netloc

    def ask(body: dict[str, Any]) -> ServerAnswer:
        begin = time.perf_counter()
        try:
            response = urllib3.request(
                "POST",
                f"{address}/v1/models/{model}:predict",
                json=body,
                headers={"Content-Type": "application/json", **unkept(), **({"Host": host} if host else {})},
                timeout=REQUEST,
                redirect=False,
                retries=False,
            )
            status, content = response.status, response.data
        except urllib3.exceptions.HTTPError as error:
            status, content = 0, str(error).encode()
        return ServerAnswer(status, content, time.perf_counter() - begin)

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
    except KubernetesError as error:
        if error.status in (403, 404):
            return {}
        raise
    except ValueError:
        raise NbshipError(f"{_SYSTEM}/{_CONFIG} is not valid JSON", "repair KServe's configuration") from None
