"""InferenceServices through the Kubernetes API: read, created, changed, deleted, watched.

Every change names the state that it was worked out from, so that one of two at once never undoes the other's
work. Which changes are made, and what they mean to KServe, is the business of `rollout` and `kserve`.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from nbship.cluster.manifest import API_VERSION, GROUP, PLURAL, Manifest
from nbship.config import Stage
from nbship.errors import NbshipError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, ApiException

T = TypeVar("T")
REQUEST = 30.0
_BUSY = (429, 500, 502, 503, 504)
# Seconds between two looks at a service: at least, and at most if it does not change.
_POLL = (0.2, 2.0)
# Seconds between two tries of a request: at first, and at most.
_PAUSE = (0.1, 2.0)
# Seconds that an API server may take from listening until it knows accounts and roles.
_START = 15.0
# What the API server says of a Service's own servers; anything else of the kind is its own trouble.
_OF_SERVERS = ("no endpoints available", "error trying to reach service")


@dataclass(frozen=True)
class Cluster:
    """A namespace of a cluster.

    Attributes:
        api: Its API.
        namespace: Where the services are.
        patience: Seconds for which a request is made again that the API server does not answer.
    """

    api: ApiClient
    namespace: str
    patience: float = 5.0


class KubernetesError(NbshipError):
    """The API server refused a request."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.status = status


class UnknownKindError(KubernetesError):
    """The cluster does not have this kind of resource."""


def connect(stage: Stage) -> Cluster:
    """Connects to a stage's cluster: by the kube config, or as the pod's service account.

    Raises:
        NbshipError: The extra `serve` is not installed, or there is no usable kube config.
    """
    try:
        from kubernetes import client, config
    except ImportError:
        raise NbshipError("deploying needs the Kubernetes client", "pip install 'nbship[serve]'") from None
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
    settings.retries = False  # `patiently` does it
    return Cluster(client.ApiClient(settings), stage.namespace)


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
    except KubernetesError as error:
        if error.status == 409:
            return None
        raise


def change(
    cluster: Cluster, name: str, patch_for: Callable[[Manifest], Manifest], dry_run: bool = False
) -> Manifest:
    """Changes an InferenceService, again and again if others change it meanwhile, as KServe does its status.

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
    for _ in _tries(cluster):
        service = get(cluster, name)
        if service is None:
            raise gone(cluster, name)
        patch = patch_for(service)
        if not patch:
            return service
        versioned = {"resourceVersion": service["metadata"]["resourceVersion"]}
        body = {**patch, "metadata": {**patch.get("metadata", {}), **versioned}}
        try:
            return call(cluster, "PATCH", _path(cluster, name), body, {"dryRun": "All"} if dry_run else {})
        except KubernetesError as error:
            if error.status != 409:
                raise
    raise NbshipError(
        f"{cluster.namespace}/{name}: others changed it again and again for {cluster.patience:g} s",
        "try again later",
    )


def gone(cluster: Cluster, name: str) -> NbshipError:
    """Returns the error that a service is not there any more."""
    return NbshipError(
        f"the InferenceService {cluster.namespace}/{name} is gone", "somebody deleted it; deploy again"
    )


def _tries(cluster: Cluster) -> Iterator[None]:
    """Yields for each try, with growing pauses, until the cluster's patience is at its end."""
    deadline, pause = time.monotonic() + cluster.patience, _PAUSE[0]
    while True:
        yield
        if time.monotonic() > deadline:
            return
        time.sleep(pause)
        pause = min(pause * 1.5, _PAUSE[1])


def delete(cluster: Cluster, name: str, may_go: Callable[[Manifest], bool]) -> bool:
    """Deletes a service that no client reaches yet, and waits until it is gone.

    Args:
        cluster: Where.
        name: The service.
        may_go: Whether it may be deleted as it is now; asked again whenever others have changed it.

    Returns:
        Whether it was there and might go.
    """
    for _ in _tries(cluster):
        service = get(cluster, name)
        if service is None or not may_go(service):
            return False
        conditions = {key: service["metadata"][key] for key in ("uid", "resourceVersion")}
        try:
            or_none(lambda: call(cluster, "DELETE", _path(cluster, name), {"preconditions": conditions}))  # noqa: B023
        except KubernetesError as error:
            if error.status == 409:  # most often KServe's next status
                continue
            raise
        _wait_until_gone(cluster, name, service["metadata"]["uid"])
        return True
    raise NbshipError(f"{cluster.namespace}/{name} is changed by others all the time", "deploy again later")


def _wait_until_gone(cluster: Cluster, name: str, uid: str) -> None:
    deadline = time.monotonic() + 60
    while (found := get(cluster, name)) and found["metadata"]["uid"] == uid:
        if time.monotonic() > deadline:
            raise NbshipError(f"{cluster.namespace}/{name} is still being deleted", "deploy again later")
        await_change(cluster, found)


def await_change(cluster: Cluster, service: Manifest) -> None:
    """Waits until a service is changed or deleted, but no longer than a few seconds.

    What belongs to it may change without it, so this alone is nothing to rely on. An account that may not
    watch waits for the shortest time.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    metadata = service["metadata"]
    query = {
        "watch": "1",
        "fieldSelector": f"metadata.name={metadata['name']}",
        "resourceVersion": metadata["resourceVersion"],
        "timeoutSeconds": str(max(1, round(_POLL[1]))),
    }
    try:
        response = _request(cluster.api, "GET", _path(cluster), None, {}, query)
        try:
            if next(response.stream(), b""):
                return
        finally:
            response.close()
    except (ApiException, HTTPError):
        pass
    time.sleep(_POLL[0])


def _path(cluster: Cluster, name: str = "") -> str:
    path = f"/apis/{GROUP}/{API_VERSION}/namespaces/{cluster.namespace}/{PLURAL}"
    return f"{path}/{name}" if name else path


def call(
    cluster: Cluster, method: str, path: str, body: Any = None, query: dict[str, str] | None = None
) -> Manifest:
    """Makes a request of the Kubernetes API, with or without a JSON body, and returns its JSON answer.

    Raises:
        ApiError: The server refuses.
        NbshipError: It cannot be reached, or is not a Kubernetes API.
    """
    content = _exchange(cluster, method, path, body, query)
    try:
        return dict(json.loads(content))
    except ValueError as error:
        raise _unusable(cluster, error) from None


def read_text(cluster: Cluster, path: str, query: dict[str, str]) -> str:
    """Reads what is no JSON, such as a log; errors as `call`."""
    return _exchange(cluster, "GET", path, None, query).decode(errors="replace")


def _exchange(cluster: Cluster, method: str, path: str, body: Any, query: dict[str, str] | None) -> bytes:
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    headers = {"Content-Type": kind}
    try:
        return patiently(cluster, lambda: send(cluster.api, method, path, body, headers, query), _is_passing)[
            1
        ]
    except ApiException as error:
        raise explained(error, cluster) from None
    except HTTPError as error:
        raise _unusable(cluster, error) from None


def _unusable(cluster: Cluster, error: Exception) -> NbshipError:
    return NbshipError(
        f"the Kubernetes API at {cluster.api.configuration.host} cannot be used: {error}",
        "see kubectl cluster-info",
    )


def patiently(cluster: Cluster, attempt: Callable[[], T], is_passing: Callable[[Exception], bool]) -> T:
    """Makes a request again while it fails for a reason that may pass; raises its last error.

    An API server that starts refuses all but administrators until it has read accounts and roles, so after it
    could not be reached a refusal is no verdict for some seconds.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    begin, pause, down = time.monotonic(), _PAUSE[0], -math.inf
    while True:
        try:
            return attempt()
        except (ApiException, HTTPError) as error:
            now, status = time.monotonic(), getattr(error, "status", None)
            down = now if status is None else down
            starting = status in (401, 403) and now - down < _START
            if not (starting or is_passing(error)) or now - begin > cluster.patience:
                raise
        time.sleep(pause)
        pause = min(pause * 1.5, _PAUSE[1])


def _is_passing(error: Exception) -> bool:
    """Whether the API server may be well soon: it is busy, or cannot be reached."""
    return getattr(error, "status", None) in (None, *_BUSY)


def is_api_down(error: Exception) -> bool:
    """Returns whether the API server itself is in trouble, and not the servers behind a Service."""
    from urllib3.exceptions import NewConnectionError, ProtocolError

    if isinstance(error, (NewConnectionError, ProtocolError)):
        return True
    said = str(_status(error).get("message", ""))
    of_servers = not said or any(words in said for words in _OF_SERVERS)
    return _is_passing(error) and not of_servers


def send(
    api: ApiClient,
    method: str,
    path: str,
    body: Any,
    headers: dict[str, str],
    query: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """Sends a request with the user's credentials; returns status and body, or raises the client's error."""
    response = _request(api, method, path, body, headers, query)
    return int(response.status), bytes(response.data)


def _request(
    api: ApiClient, method: str, path: str, body: Any, headers: dict[str, str], query: dict[str, str] | None
) -> Any:
    return api.call_api(
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


def or_none(read: Callable[[], Manifest]) -> Manifest | None:
    """Returns what is read, or None if it is not there."""
    try:
        return read()
    except UnknownKindError:
        raise
    except KubernetesError as error:
        if error.status == 404:
            return None
        raise


def explained(error: ApiException, cluster: Cluster) -> NbshipError:
    """Words a refusal of the API server; what is not there is left to the caller, unless it is KServe."""
    said = _status(error).get("message") or error.reason or "no reason given"
    named = (_status(error).get("details") or {}).get("name")
    status = int(error.status or 0)
    if status == 401:
        return KubernetesError(
            status, "the cluster: authentication failed (401)", "log in again; see kubectl auth whoami"
        )
    if status == 403:
        return KubernetesError(
            status,
            f"the cluster does not allow it: {said}",
            "apply kubernetes/serving/cluster and kubernetes/serving, or ask its operator",
        )
    if status == 404 and not named:
        return UnknownKindError(
            status,
            f"the cluster has no such resource: {said}",
            "install KServe, with its CRDs; see kubectl api-resources --api-group serving.kserve.io",
        )
    if status in _BUSY:
        return KubernetesError(
            status, f"the Kubernetes API is unavailable ({status}): {said}", "try again later"
        )
    return KubernetesError(status, f"the cluster refuses it: {said}", f"see namespace {cluster.namespace}")


def _status(error: Exception) -> dict[str, Any]:
    try:
        body = json.loads(getattr(error, "body", "") or "")
    except ValueError:
        return {}
    return body if isinstance(body, dict) and body.get("kind") == "Status" else {}


def reason(error: ApiException) -> str:
    """Returns the API server's own word for a refusal; empty if it is not the one that refused."""
    return str(_status(error).get("reason", ""))
