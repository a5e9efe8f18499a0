"""What a real API server does with watches and quantities."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from nbship.cluster import kserve, manifest, services
from nbship.cluster.manifest import Release
from nbship.config import Deploy, Stage
from tests.cluster.api import Api, write_kube_config

STAGE = "staging"
LINES = f"/apis/serving.kserve.io/v1beta1/namespaces/{STAGE}/inferenceservices"
MERGE = "application/merge-patch+json"
QUANTITIES = (
    "1000m",
    "1.5",
    "1024Mi",
    "0.5Gi",
    "1.5Ki",
    "1000",
    "500m",
    "2",
    "1500M",
    "1Ti",
    "1.5G",
    "2048Ki",
)


@pytest.fixture
def cluster(stage: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> services.Cluster:
    """The stage as the account of a deployment sees it."""
    token = stage.token(STAGE, "nbship-deployer")
    monkeypatch.setenv("KUBECONFIG", str(write_kube_config(tmp_path / "config", stage, token)))
    return services.connect(Stage(namespace=STAGE))


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_change_wakes_who_waits_for_it(
    stage: Api, cluster: services.Cluster, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(services, "_POLL", (0.0, 60.0))
    release = Release("watched", "v1.0.0", "s3://models/watched/v1.0.0", "", "", "run")
    wanted = manifest.inference_service(release, Deploy(), Stage(namespace=STAGE), "Standard")
    made = services.create(cluster, wanted)
    state = kserve.observe(cluster, "watched")
    assert made and state and not state.deployments and state.route is None
    acted = threading.Event()

    def act() -> None:
        acted.set()
        if method == "DELETE":
            stage.must("DELETE", f"{LINES}/watched")
        else:
            note = {"metadata": {"annotations": {"example.org/note": "there"}}}
            stage.must("PATCH", f"{LINES}/watched", note, kind=MERGE)

    timer = threading.Timer(0.5, act)
    timer.start()
    services.await_change(cluster, made)
    assert acted.is_set()
    timer.join()
    assert services.delete(cluster, "watched", lambda _: True) == (method == "PATCH")
    assert services.get(cluster, "watched") is None


@pytest.mark.parametrize("text", QUANTITIES)
def test_quantities_are_written_as_kubernetes_does(stage: Api, text: str) -> None:
    limits = {"limits": [{"type": "Container", "max": {"memory": text}}]}
    body = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "quantity"}, "spec": limits}
    made = stage.must("POST", "/api/v1/namespaces/default/limitranges?dryRun=All", body)
    assert made["spec"]["limits"][0]["max"]["memory"] == manifest.quantity(text)
