"""The page's NGINX as it runs in the cluster, for tests: the same template, filled from an environment."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests

CLIENT = Path(__file__).parent.parent / "kubernetes" / "client"
PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
# What the image has around its conf.d, and the ports of the models on this machine.
_AROUND = """
daemon off;
pid nginx.pid;
error_log error.log;
events {}
http {
    types {
        text/html html; text/css css; application/javascript js; application/json json; image/svg+xml svg;
    }
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    map $model $port { default 1; PORTS }
    include server.conf;
}
"""


def fill_template(environment: Mapping[str, str]) -> str:
    """Replaces `${NAME}` as the image's envsubst does: what the environment has, and nothing else."""
    template = (CLIENT / "nginx.conf.template").read_text("utf-8")
    return re.sub(r"\$\{(\w+)\}", lambda found: environment.get(found[1], found[0]), template)


@contextlib.contextmanager
def nginx(folder: Path, page: Path, models: Mapping[str, int], **settings: str) -> Iterator[str]:
    """Serves a folder with the page, and models by name at their ports on this machine.

    Args:
        folder: For its configuration and files.
        page: What the root serves.
        models: Port by model.
        settings: Other values for the environment.
    """
    if PROGRAM is None:
        pytest.skip("no NGINX on this machine")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "PAGE_FOLDER": str(page),
        "MODEL_ADDRESS": "http://127.0.0.1:$port",
        "MODEL_HOST": "$model-predictor.nbship.svc.cluster.local",
        "PAGE_SERVER": "",
        "BODY_LIMIT": "1m",
        "NGINX_LOCAL_RESOLVERS": "127.0.0.1",
        **settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    server = fill_template(environment).replace("listen 8080;", f"listen 127.0.0.1:{port};")
    (folder / "server.conf").write_text(server)
    ports = " ".join(f"{name} {number};" for name, number in models.items())
    user = "" if Path("/proc/self").owner() != "root" else "user root;\n"
    (folder / "nginx.conf").write_text(user + _AROUND.replace("PORTS", ports))
    process = subprocess.Popen([PROGRAM, "-p", f"{folder}/", "-c", "nginx.conf", "-e", "start.log"])
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(requests.RequestException):
            requests.get(f"{address}/healthz", timeout=5).raise_for_status()
            return
        time.sleep(0.05)
    raise AssertionError("NGINX did not start")
