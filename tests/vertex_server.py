"""Vertex AI's Pipelines API on loopback, as far as Google's client calls it with a service account."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.servers import http_server

ACCOUNT = "runs@cars.example.org"
# Google's own domain would be asked for the places from where the account may be used.
UNIVERSE = "example.org"
_JOBS = re.compile(r"/v1/(?P<parent>projects/[^/]+/locations/[^/]+)/pipelineJobs(?:/(?P<job>[^/]+))?$")


@dataclass
class VertexServer:
    """What is on the server.

    Attributes:
        address: Its address.
        jobs: What was created, by name.
        changes: What becomes of a job at each look; the last stays.
        refuse: Status and message for every further request to the API.
    """

    address: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    changes: list[Callable[[dict[str, Any]], None]] = field(default_factory=list)
    refuse: tuple[int, str] | None = None

    def answer(self, method: str, address: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Returns the status and content for a request to the API."""
        parts = urlsplit(address)
        found = _JOBS.fullmatch(parts.path)
        if self.refuse or not found:
            code, message = self.refuse or (404, f"no such page: {parts.path}")
            return code, {"error": {"code": code, "message": message}}
        if method == "POST":
            name = f"{found['parent']}/pipelineJobs/{parse_qs(parts.query)['pipelineJobId'][0]}"
            self.jobs[name] = {**json.loads(body), "name": name, "state": "PIPELINE_STATE_PENDING"}
            return 200, self.jobs[name]
        job = self.jobs[f"{found['parent']}/pipelineJobs/{found['job']}"]
        if self.changes:
            self.changes.pop(0)(job)
        return 200, job

    def credentials(self, folder: Path) -> Path:
        """Writes the file of a service account, which signs its tokens itself."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        content = {
            "type": "service_account",
            "client_email": ACCOUNT,
            "private_key_id": "1",
            "private_key": key.private_bytes(*form).decode(),
            "token_uri": f"{self.address}/token",
            "universe_domain": UNIVERSE,
        }
        path = folder / "service-account.json"
        path.write_text(json.dumps(content))
        return path


def signed_by(authorization: str) -> str:
    """Returns who says to have signed a token."""
    payload = authorization.removeprefix("Bearer ").split(".")[1:2]
    return str(json.loads(base64.urlsafe_b64decode(payload[0] + "=="))["iss"]) if payload else ""


@contextlib.contextmanager
def serve() -> Iterator[VertexServer]:
    """Runs a server until the end."""
    server = VertexServer()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if signed_by(self.headers.get("Authorization", "")) != ACCOUNT:
                status, content = 401, {"error": {"code": 401, "message": "who are you?"}}
            else:
                status, content = server.answer(self.command, self.path, body)
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _handle  # noqa: N815

    with http_server(Handler) as server.address:
        yield server
