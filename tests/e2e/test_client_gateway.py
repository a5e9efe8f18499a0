"""The page's NGINX as it is shipped asks one gateway, which tells models by their host, not their version."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import requests
import yaml

from tests.nginx import CLIENT, nginx
from tests.servers import http_server

pytestmark = pytest.mark.e2e


class Gateway(BaseHTTPRequestHandler):
    """Says by which host it was asked."""

    def do_GET(self) -> None:
        body = json.dumps({"host": self.headers["Host"], "path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_each_model_is_asked_by_the_host_that_kserve_gives_it(tmp_path: Path) -> None:
    """KServe's host is NAME-NAMESPACE.DOMAIN; no part of it changes with the version."""
    kustomization = yaml.safe_load((CLIENT / "kustomization.yaml").read_text())
    settings = dict(line.split("=", 1) for line in kustomization["configMapGenerator"][0]["literals"])
    stage = settings["MODEL_ADDRESS"].split(".")[1]
    with (
        http_server(Gateway) as gateway,
        nginx(tmp_path, tmp_path, {}, MODEL_ADDRESS=gateway, MODEL_HOST=settings["MODEL_HOST"]) as address,
    ):
        for name in ("auto-mpg", "churn"):
            answer = requests.get(f"{address}/v2/models/{name}", timeout=10).json()
            assert answer == {"host": f"{name}-{stage}.example.org", "path": f"/v2/models/{name}"}
