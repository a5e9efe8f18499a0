"""A project with published versions, and a cluster to deploy them to."""

import shutil

import pytest

from nbship.cluster import services
from nbship.workflow import watching
from tests.deploying import predict, published_project
from tests.kubernetes_server import KubernetesServer, serve, write_kube_config


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """A project with three versions; copied for each test, since publishing takes its time."""
    return published_project(tmp_path_factory.mktemp("published") / "project")


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
