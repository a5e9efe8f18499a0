"""A Kubeflow Pipelines API server on loopback, for tests: the calls that kfp.Client makes, in memory.

It refuses what the real one refuses, and can be told to fail. Runs do not run: `advance` says what they do.
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
from typing import Any
from urllib.parse import parse_qs, unquote, unquote_plus, urlsplit

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

from tests.servers import http_server

API = "/apis/v2beta1"
Record = dict[str, Any]


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


class RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class KubeflowServer:
    """What the server has, and how it behaves.

    Attributes:
        address: Where it is, once it runs.
        seen: Lines `METHOD path` of the requests, and their headers.
        allow: Whether a request is let in, by its headers.
        front: What stands before the API, such as Dex: returns whether it has answered a request.
        multi_user: Whether a namespace is needed; if not, it is refused.
        logs: Of the pods, by their names.
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
    logs: dict[str, str] = field(default_factory=dict)
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
        return _listed(key, self._mine(self._store(kind), request.query), request.query)

    def _list_versions(self, request: Request, pipeline: str) -> Record:
        mine = [v for v in self.versions.values() if v["pipeline_id"] == pipeline]
        return _listed("pipeline_versions", mine, request.query)

    def _show(self, request: Request, kind: str, identifier: str) -> Record:
        found = self._get(self._store(kind), identifier)
        if kind == "runs" and self.advance:
            self.advance.pop(0)(found)
        return found

    def _read_log(self, request: Request, run: str, pod: str) -> str:
        if self.pages:
            raise RefusedError(404, "Not Found")
        return self._log(run, pod)

    def _read_log_of_pages(self, request: Request) -> str:
        if not self.pages:
            raise RefusedError(404, "Not Found")
        if self.multi_user and not request.query.get("podnamespace"):
            raise RefusedError(422, "podnamespace argument is required")
        return self._log(request.query["runid"], request.query["podname"])

    def _log(self, run: str, pod: str) -> str:
        self._get(self.runs, run)
        if pod not in self.logs:
            raise RefusedError(500, f"Failed to read logs from pod {pod} due to error fetching the pod")
        return self.logs[pod]

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

    def _mine(self, store: dict[str, Record], query: dict[str, str]) -> list[Record]:
        namespace = query.get("namespace", "")
        self._check_namespace(namespace)
        return [record for record in store.values() if record.get("namespace", "") == namespace]

    def _check_namespace(self, namespace: str) -> None:
        if self.multi_user and not namespace:
            raise RefusedError(400, "Invalid input error: a namespace cannot be empty in multi-user mode")
        if namespace and not self.multi_user:
            raise RefusedError(
                400, "Invalid input error: in single-user mode, the namespace shouldn't be set"
            )

    def _add(self, store: dict[str, Record], key: str, record: Record) -> Record:
        identifier = f"{key}-{next(self._ids)}"
        # Moments differ, so that "newest first" means something.
        moment = datetime.fromtimestamp(1_800_000_000 + len(store), UTC).isoformat()
        store[identifier] = {key: identifier, **record, "created_at": moment}
        return store[identifier]

    def _upload(self, request: Request) -> Record:
        namespace, name = request.query.get("namespace", ""), request.query["name"]
        self._check_namespace(namespace)
        if any((p["display_name"], p["namespace"]) == (name, namespace) for p in self.pipelines.values()):
            raise RefusedError(409, "Failed to create a pipeline and a pipeline version")
        spec = _spec(request)
        pipeline = self._add(self.pipelines, "pipeline_id", {"display_name": name, "namespace": namespace})
        self._version(pipeline, name, spec)
        return pipeline

    def _upload_version(self, request: Request) -> Record:
        pipeline = self._get(self.pipelines, request.query["pipelineid"])
        return self._version(pipeline, request.query["name"], _spec(request))

    def _version(self, pipeline: Record, name: str, spec: Record) -> Record:
        if any(
            (v["pipeline_id"], v["display_name"]) == (pipeline["pipeline_id"], name)
            for v in self.versions.values()
        ):
            raise RefusedError(409, "Failed to create a pipeline version")
        record = {"pipeline_id": pipeline["pipeline_id"], "display_name": name, "pipeline_spec": spec}
        return self._add(self.versions, "pipeline_version_id", record)

    def _create_experiment(self, request: Request) -> Record:
        body = json.loads(request.body)
        namespace = body.get("namespace", "")
        self._check_namespace(namespace)
        names = {(e["display_name"], e["namespace"]) for e in self.experiments.values()}
        if (body["display_name"], namespace) in names:
            raise RefusedError(409, f"Already exist error: experiment {body['display_name']} already exists")
        return self._add(self.experiments, "experiment_id", {"namespace": namespace, **body})

    def _create_run(self, request: Request) -> Record:
        return self._add(self.runs, "run_id", {**self._checked(json.loads(request.body)), "state": "PENDING"})

    def _create_schedule(self, request: Request) -> Record:
        body = json.loads(request.body)
        if len(body["trigger"]["cron_schedule"]["cron"].split()) != 6:
            raise RefusedError(400, "Invalid input error: Schedule cron is not a supported format")
        return self._add(
            self.schedules, "recurring_run_id", {**self._checked(body), "status": f"{body['mode']}D"}
        )

    def _checked(self, body: Record) -> Record:
        experiment = self._get(self.experiments, body["experiment_id"])
        version = self._get(self.versions, body["pipeline_version_reference"]["pipeline_version_id"])
        known = version["pipeline_spec"]["root"].get("inputDefinitions", {}).get("parameters", {})
        for name in body["runtime_config"].get("parameters", {}):
            if name not in known:
                raise RefusedError(400, f"Invalid input error: unknown runtime config parameter {name}")
        return {**body, "namespace": experiment["namespace"]}


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
            self.send(refused.status, json.dumps({"error": str(refused), "message": str(refused)}))
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


def _listed(key: str, records: list[Record], query: dict[str, str]) -> Record:
    """A page of a list, as the server filters and sorts it."""
    chosen, asked = records, {key: query[key] for key in ("filter", "sort_by") if query.get(key)}
    # `list.Options.Matches`: a token holds the filter and the order that it was made for. One that names
    # others is refused; one that names neither goes on with those.
    token = json.loads(query["page_token"]) if query.get("page_token") else {}
    if token and asked and asked != token["asked"]:
        raise RefusedError(400, "Invalid input error: page token does not match the sorting or filter")
    query = {**query, **token.get("asked", {})}
    # `parseAPIFilter` decodes the filter once more than the address was decoded already.
    for predicate in json.loads(unquote_plus(query.get("filter", "{}"))).get("predicates", []):
        text = predicate["stringValue"]
        holds = {1: lambda name, t: name == t, 9: lambda name, t: t in name}[predicate["operation"]]
        chosen = [r for r in chosen if holds(r[predicate["key"]], text)]
    if query.get("sort_by", "").endswith("desc"):
        chosen = sorted(chosen, key=lambda r: r["created_at"], reverse=True)
    start, size = token.get("start", 0), int(query.get("page_size", 10))
    asked = {key: query[key] for key in ("filter", "sort_by") if query.get(key)}
    following = json.dumps({"start": start + size, "asked": asked})
    more = {"next_page_token": following} if start + size < len(chosen) else {}
    page = chosen[start : start + size]
    return {"total_size": len(chosen), **({key: page} if page else {}), **more}


def _spec(request: Request) -> Record:
    """The compiled pipeline in an upload, which must be one that the real server understands."""
    message = email.message_from_bytes(
        f"Content-Type: {request.content_type}\r\n\r\n".encode() + request.body
    )
    (part,) = (part for part in message.walk() if part.get_filename())
    content, *platforms = yaml.safe_load_all(part.get_payload(decode=True))
    try:
        spec = json_format.ParseDict(content, PipelineSpec())
        for platform in platforms:
            json_format.ParseDict(platform, PlatformSpec())
    except json_format.ParseError as error:
        raise RefusedError(400, f"Failed to read a pipeline spec file: {error}") from None
    if spec.schema_version != "2.1.0" or not spec.pipeline_info.name or not spec.root.dag.tasks:
        raise RefusedError(400, "Failed to read a pipeline spec file: no v2 pipeline")
    return content
