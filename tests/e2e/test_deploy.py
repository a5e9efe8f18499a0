"""`nbship deploy` and its kin as a user runs them, against a cluster on loopback: killed, and done again."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from nbship.cluster.manifest import has_canary
from nbship.workflow.deploy import deploy
from tests.deploying import KEY, pipeline_with, predict, publish_versions, serving
from tests.kubernetes_server import TOKEN, KubernetesServer, serve, write_kube_config
from tests.projects import write_project

pytestmark = pytest.mark.e2e
NBSHIP = [sys.executable, "-c", "from nbship.cli.main import main; main()"]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with serve(KubernetesServer(served=predict)) as server:
        monkeypatch.setenv("KUBECONFIG", str(write_kube_config(tmp_path / "kube", server.address)))
        yield server


@pytest.fixture
def root(project: Path) -> Path:
    """A project with two published versions, whose pipeline file says where to deploy."""
    write_project(project.parent / "other")
    publish_versions(project, 2)
    settings = yaml.safe_load((project.parent / "other/pipelines/line.yaml").read_text())
    deploy = pipeline_with().deploy.model_dump(mode="json", exclude_defaults=True)
    content = {**settings, "publish": {"target": "y"}, "deploy": deploy}
    (project / "pipelines/line.yaml").write_text(yaml.safe_dump(content))
    return project


def nbship(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run([*NBSHIP, *arguments], cwd=root, capture_output=True, text=True, check=False)
    assert TOKEN not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result


def test_a_model_comes_and_goes(root: Path, cluster: KubernetesServer) -> None:
    shown = nbship(root, "deploy", "line", "--to", "staging", "--version", "v1.0.0", "--dry-run")
    assert "kind: InferenceService" in shown.stdout
    assert cluster.services == {}
    first = nbship(root, "deploy", "line", "--to", "staging", "--version", "v1.0.0")
    assert first.returncode == 0, first.stderr
    assert first.stdout == (
        "line v1.0.0 in staging serves: http://line-models.example.org\nrecorded as line#staging#1\n"
    )
    second = nbship(root, "deploy", "line", "--to", "staging", "--json")
    told = json.loads(second.stdout)
    assert (told["version"], told["previous"], told["tag"]) == ("v1.1.0", "v1.0.0", "line#staging#2")
    back = nbship(root, "rollback", "line", "--to", "staging")
    assert back.stdout.startswith("line v1.0.0 in staging serves, instead of v1.1.0: ")
    listed = nbship(root, "deployments", "line").stdout.splitlines()
    assert listed[0] == "staging  serves v1.0.0  http://line-models.example.org"
    assert [line.split("  ")[-1] for line in listed[2:]] == [f"line#staging#{n}" for n in (3, 2, 1)]
    assert "never deployed" not in nbship(root, "deployments", "line", "--offline").stdout


def test_a_wrong_model_ends_with_1_and_the_reason(root: Path, cluster: KubernetesServer) -> None:
    nbship(root, "deploy", "line", "--to", "staging", "--version", "v1.0.0")
    cluster.served = lambda predictor, body: (200, {"predictions": [0]})
    result = nbship(root, "deploy", "line", "--to", "staging")
    assert result.returncode == 1
    assert "error: a wrong prediction: 0 instead of" in result.stderr
    assert serving(cluster) == {"v1.0.0": 100}
    assert nbship(root, "deploy", "line", "--to", "elsewhere").returncode == 2


def deploy_here(root: Path, kube_config: str) -> None:
    """The process that is ended: it deploys the champion."""
    os.environ["KUBECONFIG"] = kube_config
    with contextlib.suppress(KeyboardInterrupt):
        deploy(root, pipeline_with(), "staging")


@pytest.fixture(scope="module")
def processes() -> Any:
    """Forks from a process that has the libraries, so that each costs only its work."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "gto.api", "kubernetes.client", "kubernetes.config"])
    return context


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_ended_at_every_change_and_done_again(
    root: Path, cluster: KubernetesServer, processes: Any, mode: str, sent: signal.Signals
) -> None:
    """Before the first change to the cluster is carried out, and each of those that follow."""
    assert cluster.configuration
    cluster.configuration["deploy"]["defaultDeploymentMode"] = mode
    cluster.controllers.pod_start = cluster.controllers.route_lag = 0
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    begun = copy.deepcopy(cluster.controllers)
    for limit in itertools.count(1):
        cluster.controllers = copy.deepcopy(begun)
        changes = end_at(processes, root, cluster, limit, sent)
        shares = serving(cluster)
        assert sum(shares.values()) == 100, f"{limit}: {shares}"
        assert set(shares) <= {"v1.0.0", "v1.1.0"}
        if sent == signal.SIGINT:
            assert shares in ({"v1.0.0": 100}, {"v1.1.0": 100})
        deploy(root, pipeline_with(), "staging")
        assert serving(cluster) == {"v1.1.0": 100}
        assert not has_canary(cluster.services[KEY])
        if changes < limit:
            break
    # A dry run, the canary, three steps, the promotion; in Standard mode the old one is taken away then.
    assert limit == (8 if mode == "Standard" else 7)


def end_at(processes: Any, root: Path, cluster: KubernetesServer, limit: int, sent: signal.Signals) -> int:
    """Deploys, and sends a signal at a change; returns how many changes there were."""
    process = processes.Process(target=deploy_here, args=(root, os.environ["KUBECONFIG"]))
    changes = 0

    def count(line: str) -> None:
        nonlocal changes
        if line.startswith("PATCH"):
            changes += 1
            if changes == limit:
                os.kill(process.pid, sent)

    cluster.before = count
    process.start()
    process.join(timeout=60)
    cluster.before = lambda line: None
    return changes
