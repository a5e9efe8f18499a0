"""Servers on loopback: any handler, and Git and S3, whose requests a test can watch, delay or cut off."""

from __future__ import annotations

import base64
import contextlib
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

USER, TOKEN = "oauth2", "glpat-hunter2-hunter2"
S3_KEYS = {"AWS_ACCESS_KEY_ID": "AKIAHUNTER2", "AWS_SECRET_ACCESS_KEY": "s3-hunter2-hunter2"}


class CutOffError(Exception):
    """Raised by a watcher: the request is not served, and its connection is closed."""


@dataclass
class Watch:
    """What a test does around every request, such as `POST /origin.git/git-receive-pack`."""

    before: Callable[[str], None] = lambda request: None
    after: Callable[[str], None] = lambda request: None
    seen: list[str] = field(default_factory=list)


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up waiting is part of the tests."""


@contextlib.contextmanager
def http_server(
    handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> Iterator[str]:
    """Has a handler answer, silently; yields the address, with a name that the machine has for itself."""
    server = _QuietServer(("127.0.0.1", 0), type("Handler", (handler,), {"log_message": lambda *_: None}))
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with _running(server) as port:
        yield f"{'https' if tls else 'http'}://{host}:{port}"


@contextlib.contextmanager
def git_server(folder: Path, watch: Watch) -> Iterator[str]:
    """Serves the bare repositories of a folder over HTTP, for those who have the token."""
    expected = "Basic " + base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Authorization") != expected:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            address = urlsplit(self.path)
            request = f"{self.command} {address.path}"
            watch.seen.append(request)
            try:
                watch.before(request)
                status, headers, content = self._backend(address.path, address.query, body)
                watch.after(request)
            except CutOffError:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in [*headers, ("Content-Length", str(len(content)))]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _serve  # noqa: N815

        def _backend(self, path: str, query: str, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REMOTE_USER": USER,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            command = ["git", "http-backend"]
            answer = subprocess.run(
                command, env=environment, input=body, stdout=subprocess.PIPE, check=True
            ).stdout
            head, _, content = answer.partition(b"\r\n\r\n")
            headers = [line.split(": ", 1) for line in head.decode().split("\r\n")]
            status = next((int(value.split()[0]) for name, value in headers if name == "Status"), 200)
            return status, [(name, value) for name, value in headers if name != "Status"], content

    with http_server(Handler) as address:
        yield address


@contextlib.contextmanager
def s3_server(watch: Watch) -> Iterator[str]:
    """Serves an S3 without a bucket."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    application = DomainDispatcherApplication(create_backend_app)

    def watched(environ: dict[str, Any], start_response: Any) -> Any:
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        watch.seen.append(request)
        watch.before(request)
        answer = application(environ, start_response)
        watch.after(request)
        return answer

    class Quiet(WSGIRequestHandler):
        def log(self, *arguments: object) -> None:
            pass

    with _running(make_server("127.0.0.1", 0, watched, threaded=True, request_handler=Quiet)) as port:
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _running(server: Any) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
