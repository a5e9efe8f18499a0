"""Each account may do what its commands do, and nothing else: a table of what is needed, granted and used.

Granted is what the API server says that a token may do; used is what its audit log says that the commands
asked for. Both are held against the table, so a right that nobody uses is found, and one that lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nbship.cluster.check import CheckError
from nbship.errors import NbshipError
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
    ("get", SERVICES, STAGE),
    ("create", SERVICES, STAGE),
    ("patch", SERVICES, STAGE),
    ("delete", SERVICES, STAGE),
    ("get", "serving.kserve.io/servingruntimes", STAGE),
    ("create", "services/proxy", STAGE),
    ("get", "configmaps:inferenceservice-config", "kserve"),
    ("get", "serving.kserve.io/clusterservingruntimes:kserve-sklearnserver", ""),
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
# What Argo's executor, and KFP's driver and launcher do, and Flux: others' programs, that are not run here.
NOT_OURS = {"argoproj.io/workflowtaskresults", "configmaps:kfp-launcher", "secrets:mlpipeline-minio-artifact"}
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


def test_every_command_does_with_its_account(
    stage: Api, kserve: Controllers, published: Path, use: Callable[[str], None]
) -> None:
    """What they ask for, in both of KServe's modes, is the table; and none of it is refused."""
    stage.forget()
    for account, mode in (("staging:nbship-deployer", "Standard"), ("nbship:nbship", "Knative")):
        use(account)
        place: Any = make_stage(namespace=STAGE)
        pipeline = pipeline_with(place, kserve=mode, timeout=30)
        assert plan(published, pipeline, "staging", "v1.0.0").difference
        assert deploy(published, pipeline, "staging", "v1.0.0").changed
        assert deploy(published, pipeline, "staging", "v1.1.0").previous == "v1.0.0"
        assert rollback(published, pipeline, "staging").version == "v1.0.0"
        assert list_deployments(published, pipeline).serving[0].version == "v1.0.0"
        stage.must("DELETE", f"/apis/serving.kserve.io/v1beta1/namespaces/{STAGE}/inferenceservices/line")
        stock = pipeline_with(place, kserve=mode, runtime="kserve-sklearnserver")
        with pytest.raises(NbshipError, match="has scikit-learn 1"):
            plan(published, stock, "staging", "v1.0.0")
        kserve.wrong.add("v1.2.0")
        with pytest.raises(CheckError, match="a wrong prediction"):
            deploy(published, pipeline, "staging", "v1.2.0")
        asked = stage.asked(account)
        assert {status for *_, status in asked if status in (401, 403)} == set()
        used = {each[:3] for each in asked if each[1].partition("/")[0] not in ANYBODY}
        needed = {
            (verb, resource.partition(":")[0], namespace)
            for verb, resource, namespace in NEEDED[account]
            if resource not in NOT_OURS
        }
        assert used == needed
