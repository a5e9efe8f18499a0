"""Each account may do what its commands do, and nothing else: a table of what is needed, granted and used.

Granted is what the API server says that a token may do; used is what its audit log says that the commands
asked for. Both are held against the table, so a right that nobody uses is found, and one that lacks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbship.cluster.backends import KNATIVE
from nbship.cluster.check import CheckError
from nbship.workflow.deploy import deploy, plan
from nbship.workflow.deployments import list_deployments
from nbship.workflow.rollback import rollback
from tests.cluster.api import Api
from tests.cluster.conftest import RUNS, STAGE
from tests.cluster.controllers import Controllers
from tests.deploying import make_stage, pipeline_with

SERVICES = "serving.kserve.io/inferenceservices"
# What an account needs, as (verb, resource, namespace); and by name, where RBAC can name it.
DEPLOYER = {
    *((verb, SERVICES, STAGE) for verb in ("get", "watch", "create", "patch", "delete")),
    ("get", "serving.kserve.io/servingruntimes", STAGE),
    ("get", "gateway.networking.k8s.io/httproutes", STAGE),
    ("get", "apps/deployments", STAGE),
    ("list", "pods", STAGE),
    ("get", "pods/log", STAGE),
    ("create", "services/proxy", STAGE),
    ("get", "configmaps:inferenceservice-config", "kserve"),
    ("get", "serving.kserve.io/clusterservingruntimes:nbship-sklearn", ""),
}
NEEDED = {
    "staging:nbship-deployer": DEPLOYER,
    "nbship:nbship": DEPLOYER
    | {
        ("create", "argoproj.io/workflowtaskresults", RUNS),
        ("patch", "argoproj.io/workflowtaskresults", RUNS),
        ("get", "configmaps:kfp-launcher", RUNS),
        ("get", "secrets:mlpipeline-minio-artifact", RUNS),
    },
    "staging:nbship-models": set(),
    "staging:default": set(),
    "flux-system:flux-models": {(verb, SERVICES, STAGE) for verb in ("get", "create", "patch")},
}
# What everybody may who is known: ask what the API has, and who one is.
ANYBODY = {"authentication.k8s.io", "authorization.k8s.io"}


def granted(api: Api, account: str, namespace: str) -> set[tuple[str, str, str]]:
    """What the API server says that an account may do in a namespace, besides what anybody may."""
    url = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    request = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    answer = api.must("POST", url, request, token=api.token(*account.split(":")))
    return {
        (verb, f"{group}/{resource}".lstrip("/") + (f":{name}" if name else ""), namespace)
        for rule in answer["status"]["resourceRules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames") or [""]
        if group not in ANYBODY
    }


@pytest.mark.parametrize("account", NEEDED)
def test_what_is_granted_is_what_is_needed(stage: Api, account: str) -> None:
    everywhere = [each["metadata"]["name"] for each in stage.must("GET", "/api/v1/namespaces")["items"]]
    anywhere = {(verb, resource) for verb, resource, namespace in NEEDED[account] if not namespace}
    for namespace in everywhere:
        needed = {each for each in NEEDED[account] if each[2] == namespace}
        needed |= {(verb, resource, namespace) for verb, resource in anywhere}
        assert granted(stage, account, namespace) == needed


@contextlib.contextmanager
def runtime_of_the_cluster(api: Api) -> Iterator[None]:
    """Has the ServingRuntime be one of the whole cluster, and the stage have none."""
    own = f"/apis/serving.kserve.io/v1alpha1/namespaces/{STAGE}/servingruntimes"
    everybodys = "/apis/serving.kserve.io/v1alpha1/clusterservingruntimes"
    runtime = api.must("GET", f"{own}/nbship-sklearn")
    content = {"apiVersion": runtime["apiVersion"], "spec": runtime["spec"]}
    api.must("DELETE", f"{own}/nbship-sklearn")
    api.make(everybodys, "nbship-sklearn", {**content, "kind": "ClusterServingRuntime"})
    yield
    api.must("DELETE", f"{everybodys}/nbship-sklearn")
    api.make(own, "nbship-sklearn", {**content, "kind": "ServingRuntime"})


def test_every_command_does_with_its_account(
    stage: Api, kserve: Controllers, published: Path, use: Callable[[str], None]
) -> None:
    """What they ask for, by both accounts and in both of KServe's modes, is granted; and is the table."""
    stage.forget()
    place, asked = make_stage(namespace=STAGE), set()
    for account, mode in (("staging:nbship-deployer", "Standard"), ("nbship:nbship", "Knative")):
        use(account)
        pipeline = pipeline_with(place, kserve=mode, timeout=30)
        assert plan(published, pipeline, "staging", "v1.0.0").difference
        assert deploy(published, pipeline, "staging", "v1.0.0").changed
        assert deploy(published, pipeline, "staging", "v1.1.0").previous == "v1.0.0"
        assert rollback(published, pipeline, "staging").version == "v1.0.0"
        assert list_deployments(published, pipeline).serving[0].version == "v1.0.0"
        stage.must("DELETE", f"/apis/serving.kserve.io/v1beta1/namespaces/{STAGE}/inferenceservices/line")
        kserve.wrong.add("v1.2.0")
        with pytest.raises(CheckError, match="a wrong prediction"):
            deploy(published, pipeline, "staging", "v1.2.0")
        kserve.wrong.clear()
        kserve.known.stuck[f"{place.storage}/line/v1.2.0"] = "no such file"
        with pytest.raises(CheckError, match="cannot be served"):
            deploy(published, pipeline, "staging", "v1.2.0")
        kserve.known.stuck.clear()
        with runtime_of_the_cluster(stage):
            assert plan(published, pipeline, "staging", "v1.0.0").difference
        asked |= {each for each in stage.asked(account) if each[1].partition("/")[0] not in ANYBODY}
    # What wakes a revision may be asked where an administrator allows it; a refusal is no matter.
    asked = {each for each in asked if each[2] != KNATIVE}
    assert {each for each in asked if each[3] in (401, 403)} == set()
    needed = {(verb, resource.partition(":")[0], namespace) for verb, resource, namespace in DEPLOYER}
    assert {each[:3] for each in asked} == needed
