"""A deployment goes on where the API server is away for a while, as it is when a control plane is renewed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from nbship.workflow.deploy import deploy
from tests.cluster.apiserver import Api
from tests.cluster.conftest import STAGE
from tests.cluster.controllers import Controllers
from tests.deploying import make_stage, pipeline_with


def test_a_deployment_outlives_a_restart(
    stage: Api, kserve: Controllers, published: Path, use: Callable[[str], None]
) -> None:
    use("staging:nbship-deployer")
    pipeline = pipeline_with(make_stage(namespace=STAGE), timeout=60)
    deploy(published, pipeline, "staging", "v1.0.0")
    restarts: list[threading.Thread] = []
    away = threading.Event()

    def restart() -> None:
        stage.stop()
        away.set()
        stage.start()

    def report(line: str) -> None:
        if "10 % of the traffic" in line:
            restarts.append(threading.Thread(target=restart))
            restarts[-1].start()
            assert away.wait(30)

    deployed = deploy(published, pipeline, "staging", "v1.1.0", report)
    (thread,) = restarts
    thread.join()
    assert (deployed.version, deployed.previous) == ("v1.1.0", "v1.0.0")
