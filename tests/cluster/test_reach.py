"""A version's own server is reached in both of KServe's modes, through the API server's real proxy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nbship.cluster import kserve, rollout, services
from nbship.cluster.manifest import Mode, Release
from nbship.cluster.rollout import Rollout
from nbship.config import Deploy, Stage
from tests.cluster.api import Api, write_kube_config
from tests.cluster.conftest import apply
from tests.cluster.pods import answering, make_pod, make_service

RELEASE = Release("line", "v1.0.0", "s3://models/line/v1.0.0", "", "", "run")
REVISION = "line-predictor-00001"
KNATIVE = "knative-serving"


@pytest.fixture
def wakeful(stage: Api) -> Iterator[None]:
    """What an administrator may apply, so that revisions that sleep are woken."""
    apply(stage, "serving/knative")
    yield
    apply(stage, "serving/knative", "delete")


@pytest.fixture
def cluster(stage: Api, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> services.Cluster:
    """The stage as the account of a deployment sees it."""
    token = stage.token("staging", "nbship-deployer")
    monkeypatch.setenv("KUBECONFIG", str(write_kube_config(tmp_path / "config", stage, token)))
    return services.connect(Stage(namespace="staging"))


@pytest.fixture(scope="module")
def server(stage: Api) -> Iterator[tuple[str, int]]:
    """A model server; which one, its answer tells by what it was told."""

    def answer(path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        woken = headers.get("Knative-Serving-Revision", "")
        return 200, {"predictions": [path], "woken": woken}

    with answering(answer) as where:
        yield where


def backend_of(mode: Mode) -> Any:
    service = {
        "metadata": {"name": "line", "namespace": "staging"},
        "spec": {"predictor": {"name": RELEASE.canary} if mode == "Standard" else {}},
        "status": {"components": {"predictor": {"latestReadyRevision": REVISION}}},
    }
    way = Rollout(RELEASE, Deploy(), Stage(namespace="staging"), mode)
    return rollout.live_backend(way, service)


def ask(cluster: services.Cluster, mode: Mode) -> tuple[int, bytes]:
    answer = kserve.ask_backend(cluster, backend_of(mode), "line")({"instances": []})
    return answer.status, answer.body


def test_in_standard_mode(stage: Api, cluster: services.Cluster, server: tuple[str, int]) -> None:
    make_service(stage, "staging", "line-v1-0-0-predictor", [make_pod(stage, "staging", "line-1", server)])
    assert ask(cluster, "Standard") == (200, b'{"predictions": ["/v1/models/line:predict"], "woken": ""}')


def knative(api: Api, server: tuple[str, int], awake: bool) -> None:
    """A revision as Knative makes it by default: its public Service has the activator behind it."""
    activator = make_pod(api, KNATIVE, "activator", server)
    own = [make_pod(api, "staging", "line-2", server)] if awake else []
    make_service(api, KNATIVE, "activator-service", [activator])
    make_service(api, "staging", REVISION, [activator])
    make_service(api, "staging", f"{REVISION}-private", own)


def test_the_proxy_refuses_the_pods_of_another_namespace(stage: Api, server: tuple[str, int]) -> None:
    """The rule by which Knative's public Services cannot be asked, whoever asks."""
    knative(stage, server, awake=True)
    path = f"/api/v1/namespaces/staging/services/http:{REVISION}:80/proxy/v1/models/line:predict"
    status, answer = stage.ask("POST", path, {})
    assert status == 503 and "no endpoints available" in answer["message"]


def test_in_knative_mode(stage: Api, cluster: services.Cluster, server: tuple[str, int]) -> None:
    knative(stage, server, awake=True)
    assert ask(cluster, "Knative") == (200, b'{"predictions": ["/v1/models/line:predict"], "woken": ""}')


@pytest.mark.usefixtures("wakeful")
def test_a_revision_that_sleeps_is_woken(
    stage: Api, cluster: services.Cluster, server: tuple[str, int]
) -> None:
    knative(stage, server, awake=False)
    assert ask(cluster, "Knative") == (
        200,
        f'{{"predictions": ["/v1/models/line:predict"], "woken": "{REVISION}"}}'.encode(),
    )


def test_a_revision_that_sleeps_and_may_not_be_woken_is_told_from_one_that_fails(
    stage: Api, cluster: services.Cluster, server: tuple[str, int]
) -> None:
    knative(stage, server, awake=False)
    status, said = ask(cluster, "Knative")
    assert status == 503
    assert said.startswith(b"no server runs, and we may not ask knative-serving/activator-service")


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("http:models:80", "/v1/models/line:predict"),
        ("http:line-v1-0-0-predictor:8080", "/v1/models/line:predict"),
        ("https:line-v1-0-0-predictor:80", "/v1/models/line:predict"),
        ("http:line-v1-0-0-predictor:80", "/v2/repository/models/line/load"),
        ("http:line-v1-0-0-predictor:80", "/v1/models/line:predict/../../../docs"),
    ],
)
def test_nothing_else_of_the_stage_is_asked(stage: Api, service: str, path: str) -> None:
    """What the role would allow, the policy does not."""
    token = stage.token("staging", "nbship-deployer")
    url = f"/api/v1/namespaces/staging/services/{service}/proxy{path}"
    status, answer = stage.ask("POST", url, {}, token=token)
    assert status == 403, answer
    assert "ValidatingAdmissionPolicy 'nbship-proxy'" in answer["message"]
