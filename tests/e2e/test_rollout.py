"""A rollout under load: clients ask all the while through a gateway that follows its route a second late."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import urllib3

from nbship.cluster import services
from nbship.workflow import watching
from nbship.workflow.deploy import deploy
from tests.deploying import KEY, pipeline_with, predict, publish_versions
from tests.kserve_controller import Controllers
from tests.kubernetes_server import KubernetesServer, serve, write_kube_config
from tests.projects import write_project

pytestmark = pytest.mark.e2e
RATE = 50


class Clients:
    """Asks for predictions at a rate, as clients do, and counts what they get: a value, or a status."""

    def __init__(self, address: str) -> None:
        self.address, self.answers, self.over = address, Counter[object](), threading.Event()
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(5)]

    def __enter__(self) -> Clients:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _ask(self) -> None:
        pool = urllib3.PoolManager(headers={"Host": "line-models.example.org"})
        while not self.over.wait(len(self.threads) / RATE):
            url = f"{self.address}/v1/models/line:predict"
            response = pool.request("POST", url, json={"instances": [{"x": 1.0}]}, retries=False)
            good = response.status == 200
            self.answers[response.json()["predictions"][0] if good else response.status] += 1


@pytest.mark.parametrize("splits", [True, False])
def test_no_request_fails_in_a_rollout(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: bool
) -> None:
    monkeypatch.setattr(services, "_POLL", (0.05, 0.2))
    monkeypatch.setattr(watching, "SETTLE", 0.5)
    write_project(project.parent / "other")
    publish_versions(project, 2)
    controllers = Controllers(route_lag=1.0, pod_start=0.3, splits=splits)
    server = KubernetesServer(served=predict, controllers=controllers, clock=time.monotonic)
    pipeline = pipeline_with(steps=[50, 100], dwell=1.3, timeout=30)
    with serve(server):
        monkeypatch.setenv("KUBECONFIG", str(write_kube_config(tmp_path / "kube", server.address)))
        deploy(project, pipeline, "staging", "v1.0.0")
        with Clients(server.address) as clients:
            deploy(project, pipeline, "staging", "v1.1.0")
            time.sleep(1.2)
        server.advance()
    assert set(clients.answers) == {2.0, 3.0}, clients.answers
    assert clients.answers.total() > RATE
    assert server.controllers.split(KEY) == {"v1.1.0": 100}
