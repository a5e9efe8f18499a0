"""Deploying, for tests: a project with published versions, a cluster whose servers answer as they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbship.config import Deploy, Pipeline, Publish, Stage
from nbship.workflow.publish import publish
from tests.kubernetes_server import KubernetesServer, Record
from tests.repositories import git
from tests.runs import make_pipeline, make_run, model_hash

ROOT = Path(__file__).parent.parent
SLOPES = {"v1.0.0": 2.0, "v1.1.0": 3.0, "v1.2.0": 4.0}
KEY = ("models", "line")


def make_stage(**settings: Any) -> Stage:
    return Stage(**{"namespace": "models", "storage": "pvc://store/models", **settings})


def pipeline_with(stage: Stage | None = None, **settings: Any) -> Pipeline:
    """A pipeline with one stage, which waits no longer than a test does."""
    stages = {"staging": stage or make_stage()}
    deploy = Deploy(**{"timeout": 3, "requests": 5, "dwell": 0, "stages": stages, **settings})
    return make_pipeline(publish=Publish(target="y"), deploy=deploy)


def published_project(root: Path) -> Path:
    """Makes a project under Git and DVC with three published versions."""
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes((ROOT / name).read_bytes())
    (root / "pipelines").mkdir()
    (root / ".gitignore").write_text("/models/*/model.joblib\n/runs/\n/.nbship/\n")
    git(root, "init", "--quiet")
    git(root, "config", "user.name", "Ada Lovelace")
    git(root, "config", "user.email", "ada@example.org")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Begin")
    publish_versions(root, 3)
    return root


def publish_versions(root: Path, count: int) -> None:
    """Publishes the first versions of `SLOPES`."""
    before = ""
    for number, slope in enumerate(list(SLOPES.values())[:count], 1):
        record = make_run(root, f"2025010{number}-000000-aaaa", slope=slope, champion=before)
        publish(root, pipeline_with(), commit=True)
        before = model_hash(record)


def predict(predictor: Record, body: Record) -> tuple[int, Any]:
    """What a healthy server answers: that of the version which the predictor says."""
    slope = SLOPES[predictor["labels"]["nbship/version"]]
    return 200, {"predictions": [slope * one(instance["x"]) for instance in body["instances"]]}


def one(value: Any) -> float:
    return float(value[0] if isinstance(value, list) else value)


def use(server: KubernetesServer, mode: str) -> None:
    """Has KServe work in a deployment mode."""
    assert server.configuration
    server.configuration["deploy"]["defaultDeploymentMode"] = mode


def serving(server: KubernetesServer) -> dict[str, int]:
    """The shares of traffic, once all of KServe's work is done."""
    for _ in range(10):
        server.advance()
    return server.controllers.split(KEY)
