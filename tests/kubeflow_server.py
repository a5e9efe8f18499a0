"""A Kubeflow Pipelines API server on loopback, for tests: the calls that kfp.Client makes, in memory.

It refuses what the real one refuses (`kubeflow_rules`), and can be told to fail. Runs do not run: `advance`
says what they do, in the words of `kubeflow_runs`. Sources that are named are those of
github.com/kubeflow/pipelines, below `backend/src`.
"""

from __future__ import annotations

import email
import itertools
import json
import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests import kubeflow_rules as rules
from tests.kubeflow_rules import Record, RefusedError
from tests.servers import http_server

API = "/apis/v2beta1"
__all__ = ["API", "Fault", "KubeflowServer", "RefusedError", "Request", "serve"]


@dataclass
class Fault:
    """What goes wrong with the next requests whose line contains a text.

    Attributes:
        on: Part of `METHOD path`.
        status: Answer with this status.
        body: And this body.
        headers: And these headers.
        slow: Wait so many seconds before the request is carried out.
        cut: Close the connection: "before" or "after" the request is carried out, or "half" the answer sent.
        times: For how many requests.
    """

    on: str
    status: int = 0
    body: str = '{"error": "it broke", "message": "it broke", "code": 13}'
    headers: dict[str, str] = field(default_factory=dict)
    slow: float = 0
    cut: str = ""
    times: int = 1


@dataclass(frozen=True)
class Request:
    """A request, with its path from the API on."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes
    content_type: str


@dataclass
class KubeflowServer:
    """What the server has, and how it behaves.

    Attributes:
        address: Where it is, once it runs.
        seen: Lines `METHOD path` of the requests, and their headers.
        allow: Whether a request is let in, by its headers.
        front: What stands before the API, such as Dex: returns whether it has answered a request.
        multi_user: Whether a namespace is needed; if not, any is accepted and none is kept.
        kubernetes: Whether pipelines and their versions are Kubernetes' resources.
        logs: Of the pods that are there, by their names.
        archived: Logs of pods that are gone, by their nodes.
        pages: Whether this is the server of the pages, which passes on one version of the API alone.
    """

    address: str = ""
    pipelines: dict[str, Record] = field(default_factory=dict)
    versions: dict[str, Record] = field(default_factory=dict)
    experiments: dict[str, Record] = field(default_factory=dict)
    runs: dict[str, Record] = field(default_factory=dict)
    schedules: dict[str, Record] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    allow: Callable[[dict[str, str]], bool] = lambda headers: True
    front: Callable[[_Handler], bool] = lambda handler: False
    multi_user: bool = False
    kubernetes: bool = False
    logs: dict[str, str] = field(default_factory=dict)
    archived: dict[str, str] = field(default_factory=dict)
    pages: bool = False
    advance: list[Callable[[Record], None]] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=itertools.count)

    def lines(self, part: str) -> list[str]:
        return [line for line, _ in self.seen if part in line]

    def fault(self, line: str) -> Fault | None:
        for fault in self.faults:
            if fault.on in line and fault.times:
                fault.times -= 1
                return fault
        return None

    def answer(self, request: Request) -> Record | str:
        """Carries out one request."""
        for pattern, carry_out in ROUTES:
            match = re.fullmatch(pattern, f"{request.method} {request.path}")
            if match:
                return carry_out(self, request, *match.groups())
        raise RefusedError(404, "Not Found")

    def _healthz(self, request: Request) -> Record:
        return {"multi_user": self.multi_user}

    def _list(self, request: Request, kind: str) -> Record:
        key = {"recurringruns": "recurringRuns"}.get(kind, kind)
        namespace = self._namespace(request.query.get("namespace", ""))
        everybodys = not self.multi_user
        mine = [r for r in self._store(kind).values() if everybodys or r.get("namespace", "") == namespace]
        exact = self.kubernetes and kind == "pipelines"
        return rules.listed(key, mine, request.query, exact)

    def _list_versions(self, request: Request, pipeline: str) -> Record:
        mine = [v for v in self.versions.values() if v["pipeline_id"] == pipeline]
        return rules.listed("pipeline_versions", mine, request.query, self.kubernetes)

    def _show(self, request: Request, kind: str, identifier: str) -> Record:
        found = self._get(self._store(kind), identifier)
        if kind == "runs" and self.advance:
            self.advance.pop(0)(found)
        return found

    def _read_log(self, request: Request, run: str, node: str) -> str:
        """`resource_manager.go`, ReadLog: the pod's, in the run's namespace; else the node's, archived.

        `run_log_server.go` has written the headers of an answer by then, so the status stays 200. A server
        of one user keeps no namespace of a run, and Kubernetes has no pod in the namespace "".
        """
        if self.pages:
            raise RefusedError(404, "Not Found")
        self._get(self.runs, run)
        if self.multi_user and node in self.logs:
            return self.logs[node]
        if node in self.archived:
            return self.archived[node]
        what = f"Failed to read logs for run {run}: error in opening log stream"
        return json.dumps({"error_message": what, "error_details": what})

    def _read_log_of_pages(self, request: Request) -> str:
        """`frontend/server/handlers/pod-logs.ts`; without a namespace, it looks in its own."""
        if not self.pages:
            raise RefusedError(404, "Not Found")
        if self.multi_user and not request.query.get("podnamespace"):
            raise RefusedError(422, "podnamespace argument is required")
        self._get(self.runs, request.query["runid"])
        if request.query["podname"] not in self.logs:
            raise RefusedError(
                500, "Could not get main container logs: Error: Unable to retrieve workflow log"
            )
        return self.logs[request.query["podname"]]

    def _switch_schedule(self, request: Request, identifier: str, verb: str) -> Record:
        self._get(self.schedules, identifier)["status"] = f"{verb.upper()}D"
        return {}

    def _delete_schedule(self, request: Request, identifier: str) -> Record:
        self._get(self.schedules, identifier)
        del self.schedules[identifier]
        return {}

    def _store(self, kind: str) -> dict[str, Record]:
        return self.schedules if kind == "recurringruns" else getattr(self, kind)

    def _get(self, store: dict[str, Record], identifier: str) -> Record:
        if identifier not in store:
            raise RefusedError(404, f"ResourceNotFoundError: {identifier} not found")
        return store[identifier]

    def _namespace(self, given: str) -> str:
        """`resource_manager.go`, ReplaceNamespace: a server of one user knows none."""
        if self.multi_user and not given:
            raise RefusedError(400, "Invalid input error: a namespace cannot be empty in multi-user mode")
        return given if self.multi_user else ""

    def _add(self, store: dict[str, Record], key: str, record: Record) -> Record:
        identifier = f"{key}-{next(self._ids)}"
        # Moments differ, so that "newest first" means something.
        moment = datetime.fromtimestamp(1_800_000_000 + len(store), UTC).isoformat()
        store[identifier] = {key: identifier, **record, "created_at": moment}
        return store[identifier]

    def _upload(self, request: Request) -> Record:
        namespace = self._namespace(request.query.get("namespace", ""))
        spec = _spec(request)
        name = self._name_of_upload("Pipeline", request.query)
        if any(
            (self._same(p["name"]), p["namespace"]) == (self._same(name), namespace)
            for p in self.pipelines.values()
        ):
            raise RefusedError(409, "Failed to create a pipeline and a pipeline version")
        pipeline = self._add_pipeline(name, request.query.get("display_name") or name, namespace)
        self._add_version(pipeline, name, pipeline["display_name"], spec)
        return pipeline

    def _upload_version(self, request: Request) -> Record:
        pipeline = self._get(self.pipelines, request.query["pipelineid"])
        spec = _spec(request)
        name = self._name_of_upload("PipelineVersion", request.query)
        return self._add_version(pipeline, name, request.query.get("display_name") or name, spec)

    def _name_of_upload(self, kind: str, query: dict[str, str]) -> str:
        name = query.get("name") or query["display_name"]
        rules.check_upload_name(kind, name)
        if self.kubernetes:
            rules.check_kubernetes_name("pipeline", name)
        return name

    def _same(self, name: str) -> str:
        return name if self.kubernetes else rules.collated(name)

    def _add_pipeline(self, name: str, display_name: str, namespace: str) -> Record:
        record = {"name": name, "display_name": display_name, "namespace": namespace}
        return self._add(self.pipelines, "pipeline_id", record)

    def _add_version(self, pipeline: Record, name: str, display_name: str, spec: Record) -> Record:
        """A database keeps names apart by pipeline, Kubernetes by namespace."""
        for other in self.versions.values():
            mine = self.kubernetes or other["pipeline_id"] == pipeline["pipeline_id"]
            if mine and self._same(other["name"]) == self._same(name):
                raise RefusedError(409, "Failed to create a pipeline version")
        rules.check_inner_name(spec)
        record = {"pipeline_id": pipeline["pipeline_id"], "name": name, "display_name": display_name}
        return self._add(self.versions, "pipeline_version_id", {**record, "pipeline_spec": spec})

    def apply(self, manifest: Record) -> None:
        """Takes a resource from Kubernetes, as `webhook/pipelineversion_webhook.go` lets it in."""
        name, spec = manifest["metadata"]["name"], manifest["spec"]
        rules.check_kubernetes_name("resource", name)
        if manifest["kind"] == "Pipeline":
            if not any(pipeline["name"] == name for pipeline in self.pipelines.values()):
                self._add_pipeline(name, spec.get("displayName", name), "")
            return
        owners = [p for p in self.pipelines.values() if p["name"] == spec["pipelineName"]]
        if not owners:
            raise RefusedError(400, "The spec.pipelineName doesn't map to an existing Pipeline object")
        known = next((v for v in self.versions.values() if v["name"] == name), None)
        if known and known["pipeline_spec"] != spec["pipelineSpec"]:
            raise RefusedError(400, "Pipeline spec is immutable; only metadata changes are allowed")
        if not known:
            rules.check_spec(spec["pipelineSpec"], [spec["platformSpec"]] if "platformSpec" in spec else [])
            # `pipelineversion_types.go`, GetField: a filter sees the display name only where it is written.
            self._add_version(owners[0], name, spec.get("displayName", ""), spec["pipelineSpec"])

    def _create_experiment(self, request: Request) -> Record:
        body = json.loads(request.body)
        namespace = self._namespace(body.get("namespace", ""))
        rules.check_experiment_name(body["display_name"])
        name = rules.collated(body["display_name"])
        names = {(rules.collated(e["display_name"]), e["namespace"]) for e in self.experiments.values()}
        if (name, namespace) in names:
            raise RefusedError(409, f"Already exist error: experiment {body['display_name']} already exists")
        return self._add(self.experiments, "experiment_id", {**body, "namespace": namespace})

    def _create_run(self, request: Request) -> Record:
        return self._add(self.runs, "run_id", {**self._checked(json.loads(request.body)), "state": "PENDING"})

    def _create_schedule(self, request: Request) -> Record:
        body = json.loads(request.body)
        rules.check_cron(body["trigger"]["cron_schedule"]["cron"])
        if not 1 <= int(body.get("max_concurrency", 0)) <= 10:
            raise RefusedError(
                400, "Invalid input error: Max concurrency … must be at least 1 and at most 10"
            )
        return self._add(
            self.schedules, "recurring_run_id", {**self._checked(body), "status": f"{body['mode']}D"}
        )

    def fire(self, schedule: str) -> Record:
        """Starts a run as the controller of schedules does: `resource_manager.go`, ReportWorkflowResource."""
        made = self.schedules[schedule]
        handed_on = ("experiment_id", "namespace", "pipeline_version_reference", "runtime_config")
        earlier = [run for run in self.runs.values() if run.get("recurring_run_id") == schedule]
        return self._add(
            self.runs,
            "run_id",
            {
                **{key: made[key] for key in handed_on},
                "display_name": rules.workflow_name(made["display_name"], len(earlier) + 1),
                "recurring_run_id": schedule,
                "state": "PENDING",
            },
        )

    def _checked(self, body: Record) -> Record:
        experiment = self._get(self.experiments, body["experiment_id"])
        version = self._get(self.versions, body["pipeline_version_reference"]["pipeline_version_id"])
        rules.check_parameters(version["pipeline_spec"], body["runtime_config"].get("parameters", {}))
        # `resource_manager.go`, CreateRun and CreateJob: who names no account is told the one that was taken.
        account = body.get("service_account") or ("default-editor" if self.multi_user else "pipeline-runner")
        return {**body, "namespace": experiment["namespace"], "service_account": account}


_KIND = "(pipelines|experiments|runs|recurringruns)"
ROUTES: list[tuple[str, Callable[..., Record | str]]] = [
    ("GET /healthz", KubeflowServer._healthz),
    ("POST /pipelines/upload", KubeflowServer._upload),
    ("POST /pipelines/upload_version", KubeflowServer._upload_version),
    ("GET /pipelines/([^/]+)/versions", KubeflowServer._list_versions),
    (f"GET /{_KIND}", KubeflowServer._list),
    (f"GET /{_KIND}/([^/]+)", KubeflowServer._show),
    ("GET /apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", KubeflowServer._read_log),
    ("GET /k8s/pod/logs", KubeflowServer._read_log_of_pages),
    ("POST /experiments", KubeflowServer._create_experiment),
    ("POST /runs", KubeflowServer._create_run),
    ("POST /recurringruns", KubeflowServer._create_schedule),
    ("POST /recurringruns/([^/]+):(enable|disable)", KubeflowServer._switch_schedule),
    ("DELETE /recurringruns/([^/]+)", KubeflowServer._delete_schedule),
]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kubeflow: KubeflowServer

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def send(self, status: int, body: str, **headers: str) -> None:
        content = body.encode()
        self.send_response(status)
        for name, value in {"Content_Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.url = urlsplit(self.path)
        line = f"{self.command} {self.url.path}"
        self.kubeflow.seen.append((line, dict(self.headers)))
        if self.kubeflow.front(self):
            return
        fault = self.kubeflow.fault(line) or Fault("", times=0)
        time.sleep(fault.slow)
        if fault.cut == "before":
            self._cut()
        elif fault.status:
            self.send(fault.status, fault.body, **fault.headers)
        else:
            self._carry_out(fault)

    def _carry_out(self, fault: Fault) -> None:
        try:
            if not self.kubeflow.allow(dict(self.headers)):
                raise RefusedError(401, "Unauthenticated")
            answer = self.kubeflow.answer(self._request())
        except RefusedError as refused:
            told = json.dumps({"error": str(refused), "message": str(refused)})
            self.send(refused.status, str(refused) if refused.plain else told)
            return
        if fault.cut == "half":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"run_id": "ru')
        if fault.cut:
            self._cut()
        elif isinstance(answer, str):
            self.send(200, answer, Content_Type="text/plain")
        else:
            self.send(200, json.dumps(answer))

    def _request(self) -> Request:
        path = unquote(self.url.path).removeprefix("/pipeline").removeprefix(API)
        query = {key: values[0] for key, values in parse_qs(self.url.query).items()}
        return Request(self.command, path, query, self.body, self.headers.get("Content-Type", ""))

    def _cut(self) -> None:
        self.close_connection = True


@contextmanager
def serve(kubeflow: KubeflowServer, tls: ssl.SSLContext | None = None) -> Iterator[KubeflowServer]:
    """Runs a server on loopback."""
    handler = type("Handler", (_Handler,), {"kubeflow": kubeflow})
    with http_server(handler, tls, "localhost") as kubeflow.address:
        yield kubeflow


def _spec(request: Request) -> Record:
    """The compiled pipeline in an upload, which must be one that the real server understands."""
    message = email.message_from_bytes(
        f"Content-Type: {request.content_type}\r\n\r\n".encode() + request.body
    )
    (part,) = (part for part in message.walk() if part.get_filename())
    content, *platforms = yaml.safe_load_all(part.get_payload(decode=True))
    rules.check_spec(content, platforms)
    return content
