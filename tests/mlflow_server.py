"""A real MLflow server on SQLite, and a way to it that a test can cut."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import requests

from nbship.serving.server import free_port
from tests.servers import CutOffError, Watch, http_server

_HOP = {"connection", "content-length", "transfer-encoding", "content-encoding", "host"}
_ATTEMPTS = 1200


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Starts `mlflow server`, and yields its address."""
    port = free_port("127.0.0.1")
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        _wait(f"{address}/health", process, folder / "log")
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait()


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(_ATTEMPTS):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(requests.RequestException):
            requests.get(address, timeout=5)
            return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@contextlib.contextmanager
def way_to(server: str, watch: Watch) -> Iterator[str]:
    """Passes requests on to a server, unless a test cuts them off; yields the address."""
    session = requests.Session()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = f"{self.command} {self.path.partition('?')[0]}"
            watch.seen.append(request)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            try:
                watch.before(request)
                answer = session.request(self.command, server + self.path, data=body, headers=headers)
                watch.after(request)
            except CutOffError:
                self.close_connection = True
                return
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

    with http_server(Handler) as address:
        yield address
