"""InferenceServices through the Kubernetes API: read, created, changed, deleted, waited for.

Every change names the state that it was worked out from, so that one of two at once never undoes the other's
work. Which changes are made, and what they mean to KServe, is the business of `rollout` and `kserve`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbship.cluster.manifest import API_VERSION, GROUP, PLURAL, Manifest
from nbship.config import Deploy, Stage
from nbship.errors import NbshipError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, ApiException

REQUEST = 30.0
_BUSY = (429, 500, 502, 503, 504)
_POLL = (0.2, 2.0)
_CONFLICTS = 8


@dataclass(frozen=True)
class Cluster:
    """A namespace of a cluster.

    Attributes:
        api: Its API; a request that the server is too busy for is made again.
        once: The same, each request made once.
        namespace: Where the services are.
    """

    api: ApiClient
    once: ApiClient
    namespace: str


class RefusedError(NbshipError):
    """The API server refused a request."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.status = status


def connect(stage: Stage) -> Cluster:
    """Connects to a stage's cluster: by the kube config, or as the pod's service account.

    Raises:
        NbshipError: The extra `serve` is not installed, or there is no usable kube config.
    """
    try:
        from kubernetes import client, config
    except ImportError:
        raise NbshipError("deploying needs the Kubernetes client", "pip install 'nbship[serve]'") from None
    import urllib3

    def configured(retries: urllib3.Retry | bool) -> ApiClient:
        settings = client.Configuration()
        file = os.environ.get("KUBECONFIG")
        in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ and not file
        try:
            if in_cluster and not stage.context:
                config.load_incluster_config(client_configuration=settings)
            else:
                config.load_kube_config(file, context=stage.context, client_configuration=settings)
        except (config.ConfigException, OSError) as error:
            raise NbshipError(
                f"no cluster to deploy to: {error}", "see kubectl config get-contexts, and KUBECONFIG"
            ) from None
        settings.retries = retries
        return client.ApiClient(settings)

    retries = urllib3.Retry(
        total=5,
        connect=2,
        backoff_factor=0.2,
        backoff_max=5,
        status_forcelist=_BUSY,
        allowed_methods=None,
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    return Cluster(configured(retries), configured(False), stage.namespace)


def get(cluster: Cluster, name: str) -> Manifest | None:
    """Returns an InferenceService, or None if there is none of that name.

    Raises:
        NbshipError: The API cannot be reached or refuses; KServe is not installed.
    """
    return or_none(lambda: call(cluster, "GET", _path(cluster, name)))


def create(cluster: Cluster, manifest: Manifest) -> Manifest | None:
    """Creates an InferenceService; returns None if there is one of that name by now."""
    try:
        return call(cluster, "POST", _path(cluster), manifest)
    except RefusedError as error:
        if error.status == 409:
            return None
        raise


def change(
    cluster: Cluster, name: str, patch_for: Callable[[Manifest], Manifest], dry_run: bool = False
) -> Manifest:
    """Changes an InferenceService, again and again if others change it meanwhile.

    Args:
        cluster: Where.
        name: The service.
        patch_for: Works out a JSON merge patch from the service as it is; empty for nothing to do.
        dry_run: Only ask the server what it would make of it.

    Returns:
        The service as the server has it then.

    Raises:
        NbshipError: The service is gone, or the server refuses.
    """
    for attempt in range(_CONFLICTS):
        time.sleep(attempt * 0.1)
        service = get(cluster, name)
        if service is None:
            raise NbshipError(
                f"the InferenceService {cluster.namespace}/{name} is gone",
                "somebody deleted it; deploy again",
            )
        patch = patch_for(service)
        if not patch:
            return service
        versioned = {"resourceVersion": service["metadata"]["resourceVersion"]}
        body = {**patch, "metadata": {**patch.get("metadata", {}), **versioned}}
        try:
            return call(cluster, "PATCH", _path(cluster, name), body, {"dryRun": "All"} if dry_run else {})
        except RefusedError as error:
            if error.status != 409:
                raise
    raise NbshipError(
        f"{cluster.namespace}/{name} was changed by others each of {_CONFLICTS} times", "try again later"
    )


def delete(cluster: Cluster, service: Manifest) -> None:
    """Deletes a service that no client reaches yet, just as it is known here, and waits until it is gone."""
    metadata = service["metadata"]
    conditions = {key: metadata[key] for key in ("uid", "resourceVersion")}
    path = _path(cluster, metadata["name"])
    or_none(lambda: call(cluster, "DELETE", path, {"preconditions": conditions}))
    deadline = time.monotonic() + 60
    while (found := get(cluster, metadata["name"])) and found["metadata"]["uid"] == metadata["uid"]:
        if time.monotonic() > deadline:
            raise NbshipError(
                f"{cluster.namespace}/{metadata['name']} is still being deleted", "deploy again later"
            )
        time.sleep(_POLL[0])


def wait(
    cluster: Cluster, name: str, is_ready: Callable[[Manifest], bool], settings: Deploy, what: str
) -> Manifest:
    """Waits until a service is as wanted.

    Raises:
        NbshipError: It is not in time.
    """
    deadline, pause = time.monotonic() + settings.timeout, _POLL[0]
    while True:
        service = get(cluster, name)
        if service is not None and is_ready(service):
            return service
        if time.monotonic() > deadline:
            raise NbshipError(
                f"{cluster.namespace}/{name}: {what} is not ready after {settings.timeout:g} s"
                + (f": {_troubles(service)}" if service and _troubles(service) else ""),
                f"look at it: kubectl describe inferenceservice {name} --namespace {cluster.namespace}",
            )
        time.sleep(pause)
        pause = min(pause * 1.5, _POLL[1])


def _path(cluster: Cluster, name: str = "") -> str:
    path = f"/apis/{GROUP}/{API_VERSION}/namespaces/{cluster.namespace}/{PLURAL}"
    return f"{path}/{name}" if name else path


def call(
    cluster: Cluster, method: str, path: str, body: Any = None, query: dict[str, str] | None = None
) -> Manifest:
    """Makes a request of the Kubernetes API, with or without a JSON body, and returns its JSON answer.

    Raises:
        RefusedError: The server refuses.
        NbshipError: It cannot be reached, or is not a Kubernetes API.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    try:
        _, content = send(cluster.api, method, path, body, {"Content-Type": kind}, query)
        return dict(json.loads(content))
    except ApiException as error:
        raise explained(error, cluster) from None
    except (HTTPError, ValueError) as error:
        raise NbshipError(
            f"the Kubernetes API at {cluster.api.configuration.host} cannot be used: {error}",
            "see kubectl cluster-info",
        ) from None


def send(
    api: ApiClient,
    method: str,
    path: str,
    body: Any,
    headers: dict[str, str],
    query: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """Sends a request with the user's credentials; returns status and body, or raises the client's error."""
    response = api.call_api(
        path,
        method,
        query_params=list((query or {}).items()),
        header_params={"Accept": "application/json", "Content-Type": "application/json", **headers},
        body=body,
        auth_settings=["BearerToken"],
        _preload_content=False,
        _return_http_data_only=True,
        _request_timeout=REQUEST,
    )
    return int(response.status), bytes(response.data)


def or_none(read: Callable[[], Manifest]) -> Manifest | None:
    """Returns what is read, or None if it is not there."""
    try:
        return read()
    except RefusedError as error:
        if error.status == 404:
            return None
        raise


def explained(error: ApiException, cluster: Cluster) -> NbshipError:
    """Words a refusal of the API server; what is not there is left to the caller, unless it is KServe."""
    said = _status(error).get("message") or error.reason or "no reason given"
    named = (_status(error).get("details") or {}).get("name")
    status = int(error.status or 0)
    if status == 401:
        return RefusedError(status, "the cluster does not know you", "log in again; see kubectl auth whoami")
    if status == 403:
        return RefusedError(
            status, f"the cluster does not allow it: {said}", "apply kubernetes/serving, or ask who runs it"
        )
    if status == 404 and not named:
        return NbshipError(
            f"the cluster knows no InferenceService: {said}",
            "install KServe, with its CRDs; see kubectl api-resources --api-group serving.kserve.io",
        )
    if status in _BUSY:
        return RefusedError(status, f"the Kubernetes API is not well: {said}", "try again later")
    return RefusedError(status, f"the cluster refuses it: {said}", f"see namespace {cluster.namespace}")


def _status(error: ApiException) -> dict[str, Any]:
    try:
        body = json.loads(error.body or "")
    except ValueError:
        return {}
    return body if isinstance(body, dict) and body.get("kind") == "Status" else {}


def reason(error: ApiException) -> str:
    """Returns the API server's own word for a refusal; empty if it is not the one that refused."""
    return str(_status(error).get("reason", ""))


def _troubles(service: Manifest) -> str:
    conditions = (service.get("status") or {}).get("conditions") or ()
    failing = [c for c in conditions if c.get("status") != "True"]
    return "; ".join(
        f"{c.get('type')}: {c.get('message') or c.get('reason') or c['status']}" for c in failing
    )
