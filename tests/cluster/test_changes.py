"""Changes that meet others' changes, as a real API server settles them."""

from __future__ import annotations

import dataclasses
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbship.cluster import manifest, services
from nbship.cluster.manifest import Release
from nbship.cluster.services import KubernetesError
from nbship.config import Deploy, Stage
from tests import kserve_controller
from tests.cluster.api import MERGE, Api, write_kube_config


@pytest.fixture
def cluster(anywhere: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> services.Cluster:
    """The stage as the account of a deployment sees it."""
    token = anywhere.token(anywhere.stage, "nbship-deployer")
    monkeypatch.setenv("KUBECONFIG", str(write_kube_config(tmp_path / "config", anywhere, token)))
    return services.connect(Stage(namespace=anywhere.stage))


def services_of(api: Api) -> str:
    return f"/apis/serving.kserve.io/v1beta1/namespaces/{api.stage}/inferenceservices"


def wanted(name: str, namespace: str) -> dict[str, Any]:
    release = Release(name, "v1.0.0", f"s3://models/{name}/v1.0.0", "", "", "run")
    return manifest.inference_service(release, Deploy(), Stage(namespace=namespace), "Standard")


@pytest.fixture
def name(anywhere: Api, cluster: services.Cluster) -> Iterator[str]:
    """A service of this test's own."""
    name = f"line-{uuid.uuid4().hex[:8]}"
    assert services.create(cluster, wanted(name, anywhere.stage))
    yield name
    anywhere.ask("DELETE", f"{services_of(anywhere)}/{name}")


def change_as_another(anywhere: Api, name: str, note: str) -> None:
    patch = {"metadata": {"annotations": {f"example.org/{note}": "there"}}}
    anywhere.must("PATCH", f"{services_of(anywhere)}/{name}", patch, kind=MERGE)


def test_every_key_of_a_release_is_known(anywhere: Api) -> None:
    """The API server refuses what its definitions do not have; by default it would leave it out."""
    strict = f"{services_of(anywhere)}?fieldValidation=Strict&dryRun=All"
    anywhere.must("POST", strict, wanted("strict", anywhere.stage))
    wrong = kserve_controller.merge(
        wanted("strict", anywhere.stage), {"spec": {"predictor": {"minReplica": 1}}}
    )
    status, answer = anywhere.ask("POST", strict, wrong)
    assert status == 400 and 'unknown field "spec.predictor.minReplica"' in answer["message"]


def test_of_two_that_create_one_does(anywhere: Api, cluster: services.Cluster, name: str) -> None:
    assert services.create(cluster, wanted(name, anywhere.stage)) is None


def test_a_change_that_meets_another_is_worked_out_again(
    anywhere: Api, cluster: services.Cluster, name: str
) -> None:
    """Others change the service between each of our first looks and what follows from it."""
    seen = []

    def patch_for(service: dict[str, Any]) -> dict[str, Any]:
        seen.append(sorted(service["metadata"].get("annotations") or {}))
        if len(seen) < 3:
            change_as_another(anywhere, name, str(len(seen)))
        return {"metadata": {"annotations": {"example.org/ours": "there"}}}

    changed = services.change(cluster, name, patch_for)
    notes = {note for note in changed["metadata"]["annotations"] if note.startswith("example.org/")}
    assert notes == {"example.org/1", "example.org/2", "example.org/ours"}
    assert len(seen) == 3


def test_a_dry_run_changes_nothing(anywhere: Api, cluster: services.Cluster, name: str) -> None:
    before = anywhere.must("GET", f"{services_of(anywhere)}/{name}")
    answer = services.change(cluster, name, lambda _: {"spec": {"predictor": {"minReplicas": 3}}}, True)
    assert answer["spec"]["predictor"]["minReplicas"] == 3
    assert anywhere.must("GET", f"{services_of(anywhere)}/{name}") == before


def test_what_is_not_known_here_is_not_deleted(anywhere: Api, cluster: services.Cluster, name: str) -> None:
    known = services.get(cluster, name)
    assert known
    # Another of the same name, made after this one was known.
    anywhere.must("DELETE", f"{services_of(anywhere)}/{name}")
    assert services.create(cluster, wanted(name, anywhere.stage))
    uid = known["metadata"]["uid"]
    assert not services.delete(cluster, name, lambda service: service["metadata"]["uid"] == uid)
    assert services.get(cluster, name)
    assert services.delete(cluster, name, lambda _: True)
    assert services.get(cluster, name) is None


def test_what_others_still_hold_is_waited_for(anywhere: Api, cluster: services.Cluster, name: str) -> None:
    """KServe's finalizer keeps a service until what belongs to it is gone."""
    patch = {"metadata": {"finalizers": ["example.org/cleanup"]}}
    anywhere.must("PATCH", f"{services_of(anywhere)}/{name}", patch, kind=MERGE)
    free = {"metadata": {"finalizers": None}}
    release = threading.Timer(
        0.5, lambda: anywhere.must("PATCH", f"{services_of(anywhere)}/{name}", free, kind=MERGE)
    )
    release.start()
    assert services.delete(cluster, name, lambda _: True)
    release.join()
    assert services.get(cluster, name) is None


def test_a_token_that_has_ended_is_told(
    anywhere: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(write_kube_config(tmp_path / "config", anywhere, "no-token")))
    with pytest.raises(KubernetesError, match="authentication failed"):
        services.get(services.connect(Stage(namespace=anywhere.stage)), "line")


def test_another_stage_is_forbidden(anywhere: Api, cluster: services.Cluster) -> None:
    elsewhere = dataclasses.replace(cluster, namespace="default")
    with pytest.raises(KubernetesError, match="the cluster does not allow it"):
        services.get(elsewhere, "line")
