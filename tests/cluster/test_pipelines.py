"""Kubeflow's pipelines as Kubernetes resources at a real API server: valid to the last key, applied twice."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from nbship.workflow.compile import generate_resources
from tests.cluster.api import Api
from tests.cluster.conftest import DEFINITIONS
from tests.kubeflow_definitions import pipelines
from tests.projects import write_project

NAMESPACE = "kubeflow"


@pytest.fixture(scope="module")
def kubeflow(stage: Api) -> Api:
    """The API server, which knows Kubeflow's definitions too."""
    for wanted in pipelines():
        stage.must("POST", f"{DEFINITIONS}?fieldValidation=Strict", wanted)
    deadline = time.monotonic() + 60
    path = f"/apis/pipelines.kubeflow.org/v2beta1/namespaces/{NAMESPACE}"
    while any(stage.ask("GET", f"{path}/{kind}")[0] != 200 for kind in ("pipelines", "pipelineversions")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return stage


def test_what_is_compiled_can_be_applied_again_and_again(kubeflow: Api, tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    root = write_project(tmp_path)
    for file in generate_resources(root, "line"):
        file.write()
    folders = [root / "kubernetes/kubeflow" / folder for folder in ("pipelines", "versions")]
    files = [part for folder in folders for part in ("--filename", str(folder))]
    command = ("apply", "--server-side", "--validate=strict", "--namespace", NAMESPACE, *files)
    for _ in range(2):
        done = kubeflow.kubectl(*command)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
        assert [line.partition("/")[0] for line in done.stdout.splitlines()] == [
            "pipeline.pipelines.kubeflow.org",
            "pipelineversion.pipelines.kubeflow.org",
        ]
