"""A Kubernetes API server with KServe on loopback, for tests: the calls that deploying makes, in memory.

What becomes of InferenceServices is the business of `kserve_controller`; for the servers behind them, a
function of the test answers. By default time goes by requests, one each; with `clock` it is real.
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

from tests import kserve_controller
from tests.kserve_controller import Controllers, Key, Pod, Record, merge
from tests.servers import http_server

TOKEN = "cluster-hunter2-hunter2"  # noqa: S105
SERVICES = r"/apis/serving\.kserve\.io/v1beta1/namespaces/([^/]+)/inferenceservices"
RUNTIMES = (
    r"/apis/serving\.kserve\.io/v1alpha1/(?:namespaces/[^/]+/servingruntimes|(clusterservingruntimes))/(.+)"
)
ROUTES = r"/apis/gateway\.networking\.k8s\.io/v1/namespaces/([^/]+)/httproutes/([^/]+)"
DEPLOYMENTS = r"/apis/apps/v1/namespaces/([^/]+)/deployments/([^/]+)"
PODS = r"/api/v1/namespaces/([^/]+)/pods(?:/([^/]+)/log)?"
PROXY = r"/api/v1/namespaces/([^/]+)/services/http:([^:/]+):80/proxy(/.*)"


@dataclass
class Fault:
    """What goes wrong with the next requests whose line contains a text: a status, a delay, a lost answer.

    `refused` closes the connection unheard, as an API server does that restarts.
    """

    on: str
    status: int = 0
    slow: float = 0
    lost: bool = False
    refused: bool = False
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
        controllers: What they have made of the InferenceServices, and how fast they follow.
        served: Answers a prediction, by the labels of the pod that is asked and the request's body.
        runtimes: Images of the serving runtimes.
        configuration: KServe's ConfigMap; None if it may not be read.
        crd: Whether KServe is installed; "old" if its CRD has no `spec.canary`.
        knative: Whether Knative is.
        activator: Whether Knative's activator stands before a revision, as it does by default.
        may_read: What the account may read besides InferenceServices.
        clock: Real time in seconds; None for the count of requests.
        before: Called before each request, with its line.
        seen: Lines `METHOD path` of the requests.
        shares: Every traffic split that was in force, as shares by version.
    """

    address: str = ""
    controllers: Controllers = field(default_factory=Controllers)
    served: Callable[[Record, Record], tuple[int, Any]] = lambda predictor, body: (503, {})
    runtimes: dict[str, str] = field(default_factory=lambda: {"nbship-sklearn": "nbship:1"})
    configuration: Record | None = field(
        default_factory=lambda: {
            "deploy": {"defaultDeploymentMode": "Standard"},
            "ingress": {"enableGatewayApi": True},
        }
    )
    crd: bool | str = True
    knative: bool = True
    activator: bool = True
    may_read: tuple[str, ...] = ("pods", "deployments", "httproutes", "watch", "clusterservingruntimes")
    clock: Callable[[], float] | None = None
    faults: list[Fault] = field(default_factory=list)
    before: Callable[[str], None] = lambda line: None
    seen: list[str] = field(default_factory=list)
    shares: list[dict[str, int]] = field(default_factory=list)
    _asked: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def services(self) -> dict[Key, Record]:
        """InferenceServices by namespace and name."""
        return self.controllers.services

    @property
    def stuck(self) -> dict[str, str]:
        """Last lines of servers that crash, by storage URI."""
        return self.controllers.stuck

    def writes(self) -> list[str]:
        return [line for line in self.seen if not line.startswith("GET") and "/proxy/" not in line]

    def advance(self, by: float = 1) -> None:
        """Lets time go by, and the controllers work."""
        with self._lock:
            self.controllers.now = self.clock() if self.clock else self.controllers.now + by
            for key in list(self.services):
                self.controllers.reconcile(key)
                shares = self.controllers.split(key)
                if shares and (not self.shares or self.shares[-1] != shares):
                    self.shares.append(shares)

    def answer(self, method: str, path: str, query: Record, body: Record) -> tuple[int, Any]:
        """Carries out one request."""
        with self._lock:
            self.advance()
            match = re.fullmatch(PROXY, path)
            if not match:
                return self._answer(method, path, query, body)
            labels = self._proxied(match[1], match[2])
        return self.served({"labels": labels}, body)

    def _answer(self, method: str, path: str, query: Record, body: Record) -> tuple[int, Any]:
        if path == "/apis":
            return 200, {"groups": [{"name": "serving.knative.dev"}] if self.knative else []}
        if path.endswith("/configmaps/inferenceservice-config"):
            if self.configuration is None:
                raise RefusedError(403, "Forbidden", "configmaps is forbidden", "inferenceservice-config")
            return 200, {"data": {key: json.dumps(value) for key, value in self.configuration.items()}}
        for pattern, found in (
            (ROUTES, self._http_route),
            (DEPLOYMENTS, self._deployment),
            (PODS, self._pods),
        ):
            if match := re.fullmatch(pattern, path):
                return 200, found(match[1], match[2] or "", query)
        if match := re.fullmatch(RUNTIMES, path):
            return 200, self._runtime(match[2], for_all=bool(match[1]))
        match = re.fullmatch(rf"{SERVICES}(?:/(.+))?", path)
        if not match or not self.crd:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        return self._service(method, (match[1], match[2] or ""), query, body)

    def _runtime(self, name: str, for_all: bool) -> Record:
        if for_all:
            self._check_may("clusterservingruntimes", name)
        if name not in self.runtimes:
            raise RefusedError(404, "NotFound", f'"{name}" not found', name)
        return {"spec": {"containers": [{"image": self.runtimes[name]}]}}

    def _check_may(self, resource: str, name: str) -> None:
        if resource not in self.may_read:
            raise RefusedError(403, "Forbidden", f'{resource} "{name}" is forbidden', name)

    def _http_route(self, namespace: str, name: str, _: Record) -> Record:
        self._check_may("httproutes", name)
        if (namespace, name) not in self.controllers.routes:
            raise RefusedError(404, "NotFound", f'httproutes "{name}" not found', name)
        return self.controllers.routes[namespace, name]

    def _deployment(self, namespace: str, name: str, _: Record) -> Record:
        self._check_may("deployments", name)
        found = self.controllers.deployments.get((namespace, name))
        if found is None:
            raise RefusedError(404, "NotFound", f'deployments "{name}" not found', name)
        updated = [pod for pod in found.pods if pod.template == found.template]
        metadata = {"name": name, "namespace": namespace, "generation": found.generation}
        status = {
            "observedGeneration": found.generation,
            "replicas": len(found.pods),
            "updatedReplicas": len(updated),
            "availableReplicas": sum(map(self.controllers.is_ready, found.pods)),
        }
        template = {"metadata": {"labels": found.template["labels"]}}
        return {
            "metadata": metadata,
            "spec": {"replicas": found.replicas, "template": template},
            "status": status,
        }

    def _pods(self, namespace: str, name: str, query: Record) -> Any:
        self._check_may("pods", name)
        pods = [
            pod
            for where, each in self.controllers.deployments.items()
            if where[0] == namespace
            for pod in each.pods
        ]
        if name:
            return next(self.controllers.trouble(pod) for pod in pods if pod.name == name)
        selector = dict(part.split("=") for part in query.get("labelSelector", [""])[0].split(","))
        found = [pod for pod in pods if selector.items() <= pod.template["labels"].items()]
        return {"items": [self._pod(pod) for pod in found]}

    def _pod(self, pod: Pod) -> Record:
        trouble = self.controllers.trouble(pod)
        metadata = {"name": pod.name, "labels": pod.template["labels"]}
        if trouble == "Unschedulable":
            message = "0/3 nodes are available: 3 Insufficient cpu."
            why = {"type": "PodScheduled", "status": "False", "reason": trouble, "message": message}
            return {"metadata": metadata, "status": {"phase": "Pending", "conditions": [why]}}
        container: Record = {"name": "kserve-container", "ready": self.controllers.is_ready(pod), "state": {}}
        if trouble:
            waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}
            container |= {"state": {"waiting": waiting}, "restartCount": 1}
        return {"metadata": metadata, "status": {"phase": "Running", "containerStatuses": [container]}}

    def _service(self, method: str, key: Key, query: Record, body: Record) -> tuple[int, Record]:
        if method == "POST":
            return 201, self._create(key[0], body)
        if key not in self.services:
            raise RefusedError(404, "NotFound", f'inferenceservices "{key[1]}" not found', key[1])
        service = self.services[key]
        if method == "DELETE":
            for condition, value in body["preconditions"].items():
                if service["metadata"][condition] != value:
                    raise RefusedError(409, "Conflict", f"{condition} does not match", key[1])
            self.controllers.remove(key)
        elif method == "PATCH":
            return 200, self._patch(service, body, dry_run="dryRun" in query)
        return 200, shown(service)

    def _create(self, namespace: str, body: Record) -> Record:
        key = (namespace, body["metadata"]["name"])
        if key in self.services:
            raise RefusedError(409, "AlreadyExists", f'inferenceservices "{key[1]}" already exists', key[1])
        service = self._admitted(body)
        service["metadata"] |= {"uid": f"uid-{self.controllers.number()}", "generation": 1}
        service |= {"status": {}, "_revisions": [], "_rolled_out": ""}
        service["metadata"]["resourceVersion"] = str(self.controllers.number())
        self.services[key] = service
        return shown(service)

    def _patch(self, service: Record, body: Record, dry_run: bool) -> Record:
        if body["metadata"]["resourceVersion"] != service["metadata"]["resourceVersion"]:
            message = "the object has been modified; please apply your changes to the latest version"
            raise RefusedError(409, "Conflict", message, service["metadata"]["name"])
        changed = self._admitted(merge(shown(service), body))
        if dry_run:
            return changed
        changed["metadata"]["generation"] += changed["spec"] != service["spec"]
        changed["metadata"]["resourceVersion"] = str(self.controllers.number())
        service |= copy.deepcopy(changed)
        return changed

    def _admitted(self, wanted: Record) -> Record:
        """What KServe's webhooks make of a service: defaults, quantities in canonical form; or a refusal."""
        service = copy.deepcopy(wanted)
        if self.crd == "old":
            service["spec"].pop("canary", None)
        canaries = service["spec"].get("canary") or []
        predictors = [service["spec"]["predictor"], *(canary["predictor"] for canary in canaries)]
        names = [predictor.get("name", "") for predictor in predictors]
        if len(set(names)) != len(names) or sum(c["trafficPercent"] for c in canaries) > 100:
            raise RefusedError(400, "BadRequest", "admission webhook denied the request: invalid canary", "x")
        if canaries and kserve_controller.mode(service) != "Standard":
            raise RefusedError(400, "BadRequest", "canary is only supported in Standard mode", "x")
        for predictor in predictors:
            predictor["model"].setdefault("name", "")
            for quantities in predictor["model"]["resources"].values():
                quantities |= {key: kserve_controller.quantity(text) for key, text in quantities.items()}
        return service

    def _proxied(self, namespace: str, name: str) -> Record:
        """The labels of the pod that a Service leads to, as the API server finds it.

        It takes only endpoints whose pod is in the Service's own namespace (registry/core/service,
        isValidAddress). The activator, which Knative by its default target-burst-capacity of 211 puts among
        the endpoints of a revision's public Service, is in another.
        """
        private = name.removesuffix("-private")
        is_revision = bool(re.search(r"-predictor-\d{5}$", private))
        unreachable = is_revision and self.activator and private == name
        pod = None if unreachable else self.controllers.ready_pod(namespace, private if is_revision else name)
        if pod is None:
            message = f'no endpoints available for service "{name}"'
            raise RefusedError(503, "ServiceUnavailable", message, name)
        return dict(pod.template["labels"])

    def ingress(self, host: str, body: Record) -> tuple[int, Any]:
        """Answers as the gateway does at this moment, by the weights that it has followed so far."""
        with self._lock:
            if self.clock:
                self.advance()
            for key, service in self.services.items():
                weights = self.controllers.weights(key)
                if (service["status"].get("url") or "").removeprefix("http://") == host and weights:
                    turn = next(self._asked) % sum(weights.values())
                    names = itertools.chain.from_iterable([n] * w for n, w in weights.items())
                    pod = self.controllers.ready_pod(key[0], next(itertools.islice(names, turn, None)))
                    break
            else:
                return 404, {"error": "no route"}
        return self.served({"labels": pod.template["labels"]}, body) if pod else (502, {"error": "no server"})

    def watch(self, key: Key, version: str, seconds: float) -> Record | None:
        """Waits for a change of a service, at most for some seconds; by requests, time goes on by one."""
        deadline = time.monotonic() + (seconds if self.clock else 0)
        while True:
            self.advance()
            with self._lock:
                service = self.services.get(key)
                if service is None:
                    return {"type": "DELETED", "object": {}}
                if service["metadata"]["resourceVersion"] != version:
                    return {"type": "MODIFIED", "object": shown(service)}
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.02)


def shown(service: Record) -> Record:
    """A service as the API shows it."""
    return copy.deepcopy({k: v for k, v in service.items() if not k.startswith("_")})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One packet an answer: else the client's delayed acknowledgement adds 40 ms.
    wbufsize = -1
    kubernetes: KubernetesServer

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        line = f"{self.command} {url.path}"
        server = self.kubernetes
        if url.path.startswith("/v1/models/"):
            server.seen.append(line)
            self._send(*server.ingress(self.headers["Host"], json.loads(body)))
            return
        server.seen.append(line)
        server.before(line)
        fault = next((f for f in server.faults if f.on in line and f.times), Fault(""))
        fault.times -= 1
        time.sleep(fault.slow)
        if fault.refused:
            self.close_connection = True
            return
        try:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise RefusedError(401, "Unauthorized", "Unauthorized")
            if fault.status:
                raise RefusedError(
                    fault.status, "Forbidden" if fault.status == 403 else "Busy", "it is so", "x"
                )
            if "watch" in query:
                status, content = 200, self._watched(url.path, query)
            else:
                status, content = server.answer(
                    self.command, url.path, query, json.loads(body) if body else {}
                )
        except RefusedError as error:
            status, content = error.status, error.body
        if fault.lost:
            self.close_connection = True
        else:
            self._send(status, content)

    do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _watched(self, path: str, query: Record) -> str:
        self.kubernetes._check_may("watch", "")
        match = re.fullmatch(SERVICES, path)
        assert match
        name = query["fieldSelector"][0].removeprefix("metadata.name=")
        event = self.kubernetes.watch(
            (match[1], name), query["resourceVersion"][0], float(query["timeoutSeconds"][0])
        )
        return json.dumps(event) + "\n" if event else ""

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
