"""A project with published versions, and a cluster to deploy them to."""

import shutil

import pytest

from nbship.cluster import services
from nbship.workflow import watching
from tests.conftest import ROOT
from tests.deploying import predict, publish_versions
from tests.kubernetes_server import KubernetesServer, serve, write_kube_config
from tests.repositories import git


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """A project with three versions; copied for each test, since publishing takes its time."""
    root = tmp_path_factory.mktemp("published") / "project"
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


@pytest.fixture
def root(published, tmp_path):
    return shutil.copytree(published, tmp_path / "project", symlinks=True)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setattr(services, "_POLL", (0.005, 0.02))
    monkeypatch.setattr(services, "_PAUSE", (0.005, 0.05))
    monkeypatch.setattr(watching, "_PAUSE", 0.02)
    with serve(KubernetesServer(served=predict)) as server:
        monkeypatch.setenv("KUBECONFIG", str(write_kube_config(tmp_path / "kube", server.address)))
        yield server
