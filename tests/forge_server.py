"""What the forges on loopback share: requests are noted, may fail, and are answered with JSON, paged."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.kubeflow_server import Fault, RefusedError

Record = dict[str, Any]


@dataclass(kw_only=True)
class ForgeServer:
    """How a forge behaves.

    Attributes:
        address: Where it is, once it runs.
        faults: What goes wrong.
        seen: Lines `METHOD path` of the requests.
    """

    address: str = ""
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def lines(self, part: str) -> list[str]:
        return [line for line in self.seen if part in line]

    def fault(self, line: str) -> Fault:
        for fault in self.faults:
            if fault.on in line and fault.times:
                fault.times -= 1
                return fault
        return Fault("", times=0)


class ForgeHandler(BaseHTTPRequestHandler):
    """Has `answered` carry out what arrives, unless a fault is meant for it."""

    protocol_version = "HTTP/1.1"
    # On a connection that is kept, a small answer would wait for the acknowledgement of the one before.
    disable_nagle_algorithm = True
    forge: ForgeServer

    def answered(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        """Returns status and content, or raises RefusedError."""
        raise NotImplementedError

    def refusal(self, refused: RefusedError) -> Record:
        return {"message": str(refused)}

    def page_of(
        self, records: list[Record], path: str, query: dict[str, str]
    ) -> tuple[list[Record], dict[str, str]]:
        """Returns the records of a page, and the headers that lead to the next."""
        raise NotImplementedError

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        path = unquote(url.path)
        line = f"{self.command} {path}"
        self.forge.seen.append(line)
        fault = self.forge.fault(line)
        time.sleep(fault.slow)
        if fault.cut == "before":
            self.close_connection = True
            return
        if fault.status:
            self._send(fault.status, fault.body, fault.headers)
            return
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        try:
            status, answer = self.answered(path, query, body)
        except RefusedError as refused:
            status, answer = refused.status, self.refusal(refused)
        if fault.cut:
            self.close_connection = True
            return
        headers: dict[str, str] = {}
        if isinstance(answer, list):
            status = 200
            answer, headers = self.page_of(answer, path, query)
        raw = answer.decode() if isinstance(answer, bytes) else json.dumps(answer)
        self._send(status, "" if answer is None else raw, headers)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _send(self, status: int, body: str, headers: dict[str, str]) -> None:
        content = body.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
