"""A real API server for the tests that ask for one, which stops when they are done."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from nbship.cluster import services
from tests.cluster import definitions
from tests.cluster.api import Api, users_cluster, write_kube_config
from tests.cluster.apiserver import ROOT, MissingError, find_server, running
from tests.cluster.controllers import Controllers, controllers
from tests.deploying import published_project

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# The namespaces of a cluster that has KServe, Knative, Kubeflow and Flux.
THERE = ("kserve", "knative-serving", "kubeflow", "flux-system")
USERS_CLUSTER = "NBSHIP_TEST_KUBECONFIG"
STAGE, RUNS = "staging", "nbship"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API server that knows KServe and the others, and has nothing of nbship yet."""
    with _installed(tmp_path_factory) as api:
        yield api


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A cluster to which all of kubernetes/ that gives rights is applied, with KServe's settings."""
    with _installed(tmp_path_factory) as api:
        for folder in ("pipelines/namespace", "pipelines", "serving/cluster", "serving", "flux"):
            apply(api, folder)
        for namespace in (STAGE, RUNS):
            api.account(namespace, "default")
        settings = {"deploy": {"defaultDeploymentMode": "Standard"}, "ingress": {"enableGatewayApi": True}}
        data = {key: json.dumps(value) for key, value in settings.items()}
        content = {"apiVersion": "v1", "kind": "ConfigMap", "data": data}
        api.make("/api/v1/namespaces/kserve/configmaps", "inferenceservice-config", content)
        yield api


@pytest.fixture(scope="session")
def anywhere(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The stage; or, in a cluster of the user's, a namespace of the tests' own that is one for their time."""
    if not os.environ.get(USERS_CLUSTER):
        yield request.getfixturevalue("stage")
        return
    api = users_cluster(Path(os.environ[USERS_CLUSTER]))
    api.stage = f"nbship-test-{uuid.uuid4().hex[:8]}"
    copy = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "kubernetes", copy / "kubernetes")
    command = ["bash", "kubernetes/serving/new-stage.sh", api.stage]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    api.namespace(api.stage)
    try:
        # What is the whole cluster's is not touched: the role is one of the namespace here.
        role = next(yaml.safe_load_all((ROOT / "kubernetes/serving/cluster/role.yaml").read_text()))
        base = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{api.stage}"
        api.make(f"{base}/roles", "nbship-deployer", {**role, "kind": "Role"})
        binding = copy / "kubernetes/serving/role-binding.yaml"
        binding.write_text(binding.read_text().replace("kind: ClusterRole", "kind: Role"))
        apply(api, str(copy / "kubernetes/stages" / api.stage))
        yield api
    finally:
        api.must("DELETE", f"/api/v1/namespaces/{api.stage}")


@pytest.fixture(scope="module")
def kserve(stage: Api) -> Iterator[Controllers]:
    with controllers(stage, STAGE) as working:
        yield working


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published_project(tmp_path_factory.mktemp("published") / "project")


@pytest.fixture
def use(stage: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has nbship use the token of an account, and nothing else."""
    monkeypatch.setattr(services, "_POLL", (0.02, 0.5))

    def use(account: str) -> None:
        token = stage.token(*account.split(":"))
        monkeypatch.setenv("KUBECONFIG", str(write_kube_config(tmp_path / "kube", stage, token)))

    return use


def apply(api: Api, folder: str, verb: str = "apply") -> None:
    """Applies a folder of kubernetes/, or deletes what is in it."""
    done = api.kubectl(verb, "--kustomize", str(ROOT / "kubernetes" / folder))
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def _installed(folders: pytest.TempPathFactory) -> Iterator[Api]:
    """Runs an API server with the definitions and namespaces of what nbship works with."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl on this machine")
    try:
        find_server()
    except MissingError as error:
        pytest.skip(str(error))
    wanted = [*definitions.kserve(), *definitions.prometheus(), *definitions.others()]
    with running(folders.mktemp("apiserver")) as api:
        for each in wanted:
            api.must("POST", f"{DEFINITIONS}?fieldValidation=Strict", each)
        for name in THERE:
            api.namespace(name)
        deadline = time.monotonic() + 60
        while len(_established(api)) < len(wanted):
            assert time.monotonic() < deadline, "the definitions are not established"
            time.sleep(0.1)
        yield api


def _established(api: Api) -> list[str]:
    return [
        each["metadata"]["name"]
        for each in api.must("GET", DEFINITIONS)["items"]
        for condition in (each.get("status") or {}).get("conditions") or ()
        if condition["type"] == "Established" and condition["status"] == "True"
    ]
