"""Pods that answer, behind Services, as a cluster with nodes and controllers has them.

A pod is an object with an address, and a server of this process that answers there: the API server's proxy
goes by the Endpoints of a Service, and takes only those whose pod is in the Service's namespace.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.cluster.api import Api

Record = dict[str, Any]
# What a server answers: the path, the headers and the body of a request go in, status and body come out.
Answerer = Callable[[str, dict[str, str], Record], tuple[int, Record]]


@dataclass(frozen=True)
class Pod:
    """A pod that answers.

    Attributes:
        namespace: Where it is.
        name: What it is called.
        address: An address of this machine that is not loopback: Endpoints take no other.
        port: Where it listens.
    """

    namespace: str
    name: str
    address: str
    port: int


def own_address() -> str:
    """Returns an address of this machine that others could reach; skips the test if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # no packet is sent
        except OSError:
            pytest.skip("this machine has loopback alone, and Endpoints take no such address")
        return str(probe.getsockname()[0])


@contextlib.contextmanager
def answering(answer: Answerer) -> Iterator[tuple[str, int]]:
    """Has a function answer requests; yields address and port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            status, content = answer(self.path, dict(self.headers), body)
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer((own_address(), 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield str(server.server_address[0]), server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def make_pod(
    api: Api, namespace: str, name: str, where: tuple[str, int], labels: dict[str, str] | None = None
) -> Pod:
    """Makes the object of a pod that runs."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "kserve-container", "image": "nbship:1", "securityContext": security}
    spec = {"containers": [container]}
    api.make(
        pods, name, {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": labels or {}}, "spec": spec}
    )
    status = {"phase": "Running", "podIP": where[0], "podIPs": [{"ip": where[0]}]}
    api.must(
        "PATCH", f"{pods}/{name}/status", {"status": status}, kind="application/strategic-merge-patch+json"
    )
    return Pod(namespace, name, *where)


def make_service(api: Api, namespace: str, name: str, pods: Sequence[Pod]) -> None:
    """Makes a Service of port 80, with pods behind it."""
    base = f"/api/v1/namespaces/{namespace}"
    port = {"name": "http", "port": 80, "protocol": "TCP"}
    api.make(f"{base}/services", name, {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [port]}})
    subsets = [
        {
            "addresses": [{"ip": pod.address, "targetRef": _reference(pod)}],
            "ports": [{"name": "http", "port": pod.port, "protocol": "TCP"}],
        }
        for pod in pods
    ]
    api.make(f"{base}/endpoints", name, {"apiVersion": "v1", "kind": "Endpoints", "subsets": subsets})


def _reference(pod: Pod) -> Record:
    return {"kind": "Pod", "namespace": pod.namespace, "name": pod.name}
