"""kubernetes/pipelines: every reference is met, no right is a wildcard, no secret has a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nbship.config import Kubeflow

FOLDER = Path(__file__).parent.parent / "kubernetes" / "pipelines"
FOLDERS = [FOLDER, FOLDER / "ingress", FOLDER / "namespace"]
FORBIDDEN = {"delete", "deletecollection", "escalate", "bind", "impersonate", "*"}


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def kustomized(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl kustomize` makes of a folder that sets a namespace and nothing else."""
    (settings,) = documents(folder / "kustomization.yaml")
    assert settings.keys() - {"namespace"} == {"apiVersion", "kind", "resources"}
    found = [document for name in settings["resources"] for document in documents(folder / name)]
    for document in found:
        if "namespace" in settings:
            document["metadata"]["namespace"] = settings["namespace"]
    return found


def only(kind: str, folder: Path = FOLDER) -> dict[str, Any]:
    (found,) = (document for document in kustomized(folder) if document["kind"] == kind)
    return found


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_file_is_a_resource_once_or_the_shape_of_the_secret(folder: Path) -> None:
    listed = documents(folder / "kustomization.yaml")[0]["resources"]
    there = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "secret.yaml"}
    assert sorted(listed) == sorted(there)
    named = [(d["kind"], d["metadata"]["name"]) for d in kustomized(folder)]
    assert len(set(named)) == len(named)
    assert all(document["apiVersion"] for document in kustomized(folder))


def test_the_account_has_the_role_and_nothing_else_has() -> None:
    binding, role, account = only("RoleBinding"), only("Role"), only("ServiceAccount")
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": role["metadata"]["name"],
    }
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account["metadata"]["name"]}]
    assert not [document for document in kustomized(FOLDER) if document["kind"].startswith("Cluster")]


@pytest.mark.parametrize("rule", only("Role")["rules"], ids=lambda rule: ",".join(rule["resources"]))
def test_no_right_is_a_wildcard_or_takes_away(rule: dict[str, list[str]]) -> None:
    assert all("*" not in value for values in rule.values() for value in values)
    assert FORBIDDEN.isdisjoint(rule["verbs"])
    if "secrets" in rule["resources"]:
        assert rule["verbs"] == ["get"]
        assert Kubeflow().secret not in rule["resourceNames"]


def test_a_run_may_do_nothing_to_models_in_its_own_namespace() -> None:
    """Where it may deploy to is bound by each stage: kubernetes/serving/role-binding.yaml."""
    assert not [rule for rule in only("Role")["rules"] if "serving.kserve.io" in rule["apiGroups"]]
    serving = FOLDER.parent / "serving" / "role-binding.yaml"
    (binding,) = documents(serving)
    account = only("ServiceAccount")["metadata"]
    run = {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    assert run in binding["subjects"]


def test_the_secret_has_a_shape_and_no_values() -> None:
    (secret,) = documents(FOLDER / "secret.yaml")
    assert secret["metadata"]["name"] == Kubeflow().secret
    assert secret["stringData"] == dict.fromkeys(
        [
            "NBSHIP_GIT_TOKEN",
            "NBSHIP_GITLAB_TOKEN",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ENDPOINT_URL",
        ],
        "",
    )
    assert "data" not in secret


def test_a_pod_without_requests_is_admitted_under_the_quota() -> None:
    counted = {
        key.removeprefix("requests.")
        for key in only("ResourceQuota")["spec"]["hard"]
        if key[:8] == "requests"
    }
    (limits,) = only("LimitRange")["spec"]["limits"]
    assert counted - {"nvidia.com/gpu"} == limits["defaultRequest"].keys()
    assert not [key for key in only("ResourceQuota")["spec"]["hard"] if key.startswith("limits.")]


def test_the_ingress_asks_who_it_is_and_speaks_tls() -> None:
    ingress = only("Ingress", FOLDER / "ingress")
    notes = ingress["metadata"]["annotations"]
    assert "nginx.ingress.kubernetes.io/auth-url" in notes
    assert notes["nginx.ingress.kubernetes.io/force-ssl-redirect"] == "true"
    hosts = [host for tls in ingress["spec"]["tls"] for host in tls["hosts"]]
    assert hosts == [rule["host"] for rule in ingress["spec"]["rules"]]
