"""A Kubernetes API server with KServe on loopback, for tests: the calls that deploying makes, in memory.

InferenceServices become what KServe would make of them, step by step at each look; the Services behind them
are answered by a function of the test, which stands for the model server.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from nbship.cluster.manifest import merge
from tests.servers import http_server

Record = dict[str, Any]
TOKEN = "cluster-hunter2-hunter2"  # noqa: S105
SERVICES = r"/apis/serving\.kserve\.io/v1beta1/namespaces/([^/]+)/inferenceservices"
RUNTIMES = (
    r"/apis/serving\.kserve\.io/v1alpha1/(?:namespaces/[^/]+/servingruntimes|clusterservingruntimes)/(.+)"
)
PROXY = r"/api/v1/namespaces/([^/]+)/services/http:([^:/]+):80/proxy(/.*)"


@dataclass
class Fault:
    """What goes wrong with the next requests whose line contains a text: a status, a delay, a lost answer."""

    on: str
    status: int = 0
    slow: float = 0
    lost: bool = False
    times: int = 1


class RefusedError(Exception):
    def __init__(self, status: int, reason: str, message: str, name: str = "") -> None:
        super().__init__(message)
        self.status = status
        details = {"details": {"name": name}} if name else {}
        self.body = {"kind": "Status", "message": message, "reason": reason, "code": status, **details}


@dataclass
class KubernetesServer:
    """What the server has, and how it behaves.

    Attributes:
        address: Where it is, once it runs.
        services: InferenceServices by namespace and name.
        served: Answers a prediction, by the predictor that serves and the request's body; None for no server.
        runtimes: Images of the serving runtimes.
        configuration: KServe's ConfigMap; None if it may not be read.
        crd: Whether KServe is installed; "old" if its CRD has no `spec.canary`.
        knative: Whether Knative is.
        lag: Looks that a change takes until the status shows it.
        stuck: Predictors that never get ready, by storage URI, and what KServe says of them.
        before: Called before each request, with its line.
        seen: Lines `METHOD path` of the requests.
        shares: Every traffic split that was in force, as shares by version.
    """

    address: str = ""
    services: dict[tuple[str, str], Record] = field(default_factory=dict)
    served: Callable[[Record, Record], tuple[int, Any] | None] = lambda predictor, body: None
    runtimes: dict[str, str] = field(default_factory=lambda: {"nbship-sklearn": "nbship:1"})
    configuration: Record | None = field(
        default_factory=lambda: {
            "deploy": {"defaultDeploymentMode": "Standard"},
            "ingress": {"enableGatewayApi": True},
        }
    )
    crd: bool | str = True
    knative: bool = True
    lag: int = 1
    stuck: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    before: Callable[[str], None] = lambda line: None
    seen: list[str] = field(default_factory=list)
    shares: list[dict[str, int]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def writes(self) -> list[str]:
        return [line for line in self.seen if not line.startswith("GET") and "/proxy/" not in line]

    def answer(self, method: str, path: str, query: Record, body: Record) -> tuple[int, Record]:
        """Carries out one request."""
        if path == "/apis":
            return 200, {"groups": [{"name": "serving.knative.dev"}] if self.knative else []}
        if path.endswith("/configmaps/inferenceservice-config"):
            if self.configuration is None:
                raise RefusedError(403, "Forbidden", "configmaps is forbidden", "inferenceservice-config")
            return 200, {"data": {key: json.dumps(value) for key, value in self.configuration.items()}}
        match = re.fullmatch(PROXY, path)
        if match:
            return self._proxy(match[1], match[2], body)
        if not self.crd:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        match = re.fullmatch(RUNTIMES, path)
        if match:
            if match[1] not in self.runtimes:
                raise RefusedError(404, "NotFound", f'"{match[1]}" not found', match[1])
            return 200, {"spec": {"containers": [{"image": self.runtimes[match[1]]}]}}
        match = re.fullmatch(rf"{SERVICES}(?:/(.+))?", path)
        if not match:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        with self._lock:
            return self._service(method, (match[1], match[2] or ""), query, body)

    def _service(self, method: str, key: tuple[str, str], query: Record, body: Record) -> tuple[int, Record]:
        if method == "POST":
            return 201, self._create(key[0], body)
        if key not in self.services:
            raise RefusedError(404, "NotFound", f'inferenceservices "{key[1]}" not found', key[1])
        service = self.services[key]
        if method == "GET":
            self._look(service)
        elif method == "DELETE":
            for condition, value in body["preconditions"].items():
                if service["metadata"][condition] != value:
                    raise RefusedError(409, "Conflict", f"{condition} does not match", key[1])
            del self.services[key]
        else:
            return 200, self._patch(service, body, dry_run="dryRun" in query)
        return 200, {k: v for k, v in service.items() if not k.startswith("_")}

    def _create(self, namespace: str, body: Record) -> Record:
        key = (namespace, body["metadata"]["name"])
        if key in self.services:
            raise RefusedError(409, "AlreadyExists", f'inferenceservices "{key[1]}" already exists', key[1])
        service = copy.deepcopy(body)
        service["metadata"] |= {"uid": f"uid-{next(self._numbers)}", "generation": 1}
        service |= {"status": {}, "_looks": 0, "_revisions": [copy.deepcopy(service["spec"]["predictor"])]}
        service["_rolled_out"] = 1
        self._store(service)
        self.services[key] = service
        return {k: v for k, v in service.items() if not k.startswith("_")}

    def _patch(self, service: Record, body: Record, dry_run: bool) -> Record:
        if body["metadata"]["resourceVersion"] != service["metadata"]["resourceVersion"]:
            message = "the object has been modified; please apply your changes to the latest version"
            raise RefusedError(409, "Conflict", message, service["metadata"]["name"])
        changed = merge({k: v for k, v in service.items() if not k.startswith("_")}, body)
        if self.crd == "old":
            changed["spec"].pop("canary", None)
        self._validate(changed)
        if dry_run:
            return changed
        old = service["spec"]
        service |= copy.deepcopy(changed)
        if service["spec"] != old:
            service["metadata"]["generation"] += 1
        if _template(service["spec"]["predictor"]) != _template(old["predictor"]):
            service["_revisions"].append(copy.deepcopy(service["spec"]["predictor"]))
        self._store(service)
        return changed

    def _store(self, service: Record) -> None:
        service["metadata"]["resourceVersion"] = str(next(self._numbers))
        service["_looks"] = 0

    def _validate(self, service: Record) -> None:
        canaries = service["spec"].get("canary") or []
        names = [service["spec"]["predictor"].get("name", "")] + [c["predictor"]["name"] for c in canaries]
        if len(set(names)) != len(names) or sum(c["trafficPercent"] for c in canaries) > 100:
            raise RefusedError(400, "BadRequest", "admission webhook denied the request: invalid canary", "x")
        if canaries and _mode(service) != "Standard":
            raise RefusedError(400, "BadRequest", "canary is only supported in Standard mode", "x")

    def _look(self, service: Record) -> None:
        """Lets KServe get on with it, as long as nothing is stuck."""
        service["_looks"] += 1
        if service["_looks"] <= self.lag:
            return
        service["status"] = (
            self._standard(service) if _mode(service) == "Standard" else self._knative(service)
        )
        hidden = service["metadata"].get("labels", {}).get("networking.kserve.io/visibility")
        domain = "svc.cluster.local" if hidden else "example.org"
        name, namespace = (service["metadata"][key] for key in ("name", "namespace"))
        service["status"]["url"] = f"http://{name}-{namespace}.{domain}"
        self._note_shares(service)

    def _standard(self, service: Record) -> Record:
        statuses = []
        for canary in service["spec"].get("canary") or ():
            trouble = self._trouble(canary["predictor"])
            status = {"name": canary["predictor"]["name"], "trafficPercent": canary["trafficPercent"]}
            failed = {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": {"message": trouble}}
            statuses.append({**status, "ready": not trouble, **({"modelStatus": failed} if trouble else {})})
        ready = {
            "type": "Ready",
            "status": "False" if self._trouble(service["spec"]["predictor"]) else "True",
        }
        return {"conditions": [ready], "deploymentMode": "Standard", "canaryStatuses": statuses}

    def _knative(self, service: Record) -> Record:
        revisions = service["_revisions"]
        names = [f"{service['metadata']['name']}-predictor-{n:05}" for n in range(1, len(revisions) + 1)]
        trouble = self._trouble(revisions[-1])
        ready = len(revisions) - 1 if trouble else len(revisions)
        percent = service["spec"]["predictor"].get("canaryTrafficPercent")
        if percent is None and not trouble:
            service["_rolled_out"] = len(revisions)
        rolled_out = service["_rolled_out"]
        share = 100 if percent is None or rolled_out == ready else percent
        traffic = [{"revisionName": names[ready - 1], "percent": share}] if ready else []
        if share < 100:
            traffic.append({"revisionName": names[rolled_out - 1], "percent": 100 - share})
        component = {
            "latestCreatedRevision": names[-1],
            "latestReadyRevision": names[ready - 1] if ready else "",
            "latestRolledoutRevision": names[rolled_out - 1],
            "traffic": traffic,
        }
        info = {"message": trouble, "modelRevisionName": names[-1]}
        failed = {"modelStatus": {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": info}}
        condition = {"type": "Ready", "status": "False" if trouble else "True"}
        status = {
            "conditions": [condition],
            "components": {"predictor": component},
            "deploymentMode": "Knative",
        }
        return {**status, **(failed if trouble else {})}

    def _trouble(self, predictor: Record) -> str:
        return self.stuck.get(predictor["model"]["storageUri"], "")

    def split(self, service: Record) -> dict[str, int]:
        """The shares of traffic from outside, by version."""
        if service["metadata"].get("labels", {}).get("networking.kserve.io/visibility"):
            return {}
        predictor = service["spec"]["predictor"]
        if _mode(service) == "Standard":
            canaries = [(c["predictor"], c["trafficPercent"]) for c in service["spec"].get("canary") or ()]
            canaries = [(p, share if not self._trouble(p) else 0) for p, share in canaries]
            shares = [(predictor, 100 - sum(share for _, share in canaries)), *canaries]
        else:
            traffic = service["status"]["components"]["predictor"]["traffic"]
            numbers = [(int(t["revisionName"][-5:]), t["percent"]) for t in traffic]
            shares = [(service["_revisions"][number - 1], share) for number, share in numbers]
        found: dict[str, int] = {}
        for part, share in shares:
            version = part["labels"]["nbship/version"]
            found[version] = found.get(version, 0) + share
        return {version: share for version, share in found.items() if share}

    def _note_shares(self, service: Record) -> None:
        shares = self.split(service)
        if shares and (not self.shares or self.shares[-1] != shares):
            self.shares.append(shares)

    def _proxy(self, namespace: str, name: str, body: Record) -> tuple[int, Any]:
        found = self._predictor(namespace, name)
        answer = self.served(found, body) if found and not self._trouble(found) else None
        if answer is None:
            message = f'no endpoints available for service "{name}"'
            raise RefusedError(503, "ServiceUnavailable", message, name)
        return answer

    def _predictor(self, namespace: str, name: str) -> Record | None:
        """The predictor that a Service belongs to."""
        for (where, isvc), service in self.services.items():
            if where != namespace:
                continue
            if _mode(service) == "Knative":
                revision = re.fullmatch(re.escape(isvc) + r"-predictor-(\d{5})-private", name)
                if revision:
                    return service["_revisions"][int(revision[1]) - 1]
                continue
            canaries = [canary["predictor"] for canary in service["spec"].get("canary") or ()]
            for predictor in [service["spec"]["predictor"], *canaries]:
                if name == f"{isvc}-{predictor['name']}-predictor":
                    return predictor
        return None

    def ingress(self, host: str, body: Record) -> tuple[int, Any]:
        """Answers as the gateway: by each version in turn that has a share of the traffic."""
        for service in self.services.values():
            if (service["status"].get("url") or "").removeprefix("http://") != host:
                continue
            versions = sorted(self.split(service))
            if not versions:
                break
            version = versions[next(self._numbers) % len(versions)]
            return self.served({"labels": {"nbship/version": version}}, body) or (503, {})
        return 404, {"error": "no route"}


def _template(predictor: Record) -> Record:
    """What of a predictor makes a revision of Knative's."""
    return {key: value for key, value in predictor.items() if key != "canaryTrafficPercent"}


def _mode(service: Record) -> str:
    return str(service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One packet an answer: else the client's delayed acknowledgement adds 40 ms.
    wbufsize = -1
    kubernetes: KubernetesServer

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        line = f"{self.command} {url.path}"
        server = self.kubernetes
        server.seen.append(line)
        server.before(line)
        fault = next((f for f in server.faults if f.on in line and f.times), Fault(""))
        fault.times -= 1
        time.sleep(fault.slow)
        try:
            if url.path.startswith("/v1/models/"):
                self._send(*server.ingress(self.headers["Host"], json.loads(body)))
                return
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise RefusedError(401, "Unauthorized", "Unauthorized")
            if fault.status:
                raise RefusedError(
                    fault.status, "Forbidden" if fault.status == 403 else "Busy", "it is so", "x"
                )
            status, content = server.answer(
                self.command, url.path, parse_qs(url.query), json.loads(body) if body else {}
            )
        except RefusedError as error:
            status, content = error.status, error.body
        if fault.lost:
            self.close_connection = True
        else:
            self._send(status, content)

    do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _send(self, status: int, content: Any) -> None:
        text = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@contextmanager
def serve(server: KubernetesServer) -> Iterator[KubernetesServer]:
    """Runs a server on loopback."""
    handler = type("Handler", (_Handler,), {"kubernetes": server})
    with http_server(handler) as server.address:
        yield server


def write_kube_config(path: Path, address: str, token: str = TOKEN) -> Path:
    """Writes a kube config that leads to a server."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": address}}],
        "users": [{"name": "ada", "user": {"token": token}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "ada"}}],
    }
    path.write_text(yaml.safe_dump(content))
    return path
