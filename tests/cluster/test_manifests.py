"""What kubernetes/ has is valid to the last key, can be applied twice, is safe, and leaves no secret."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.api import Api
from tests.cluster.apiserver import ROOT

KUBERNETES = ROOT / "kubernetes"
# In the order in which they are applied: what makes a namespace is before what is in it.
FOLDERS = (
    "pipelines/namespace",
    "pipelines",
    "pipelines/ingress",
    "serving/cluster",
    "serving/knative",
    "serving",
    "client",
    "chatops",
    "monitoring",
    "monitoring/collector",
    "flux",
)
MAKES_NAMESPACES = ("pipelines/namespace", "serving/cluster")
STORAGE = "/apis/serving.kserve.io/v1alpha1/clusterstoragecontainers"


def rendered(folder: str) -> list[dict[str, Any]]:
    command = ["kubectl", "kustomize", str(KUBERNETES / folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [each for each in yaml.safe_load_all(text) if each]


def apply(api: Api, folder: Path | str, *arguments: str) -> list[str]:
    """Applies a folder strictly; returns what kubectl says of each object."""
    done = api.kubectl("apply", "--validate=strict", *arguments, "--kustomize", str(KUBERNETES / folder))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout.splitlines()


def command_of_the_guide(word: str) -> list[str]:
    """The arguments of the one command of the guide that has a word in it, with paths of this project."""
    lines = (ROOT / "docs/deployment.md").read_text().replace("\\\n", " ").splitlines()
    (command,) = (line for line in lines if line.startswith("kubectl ") and word in line)
    return command.replace("kubernetes/", f"{KUBERNETES}/").split()[1:]


@pytest.fixture(scope="module")
def storage(api: Api) -> None:
    """KServe's own container for fetching models, patched as the guide has it."""
    content = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterStorageContainer",
        "spec": {
            "container": {"name": "storage-initializer", "image": "kserve/storage-initializer:v0.21.0"},
            "supportedUriFormats": [{"prefix": "s3://"}],
        },
    }
    api.make(STORAGE, "default", content)
    done = api.kubectl(*command_of_the_guide("clusterstoragecontainer"))
    assert done.returncode == 0, done.stderr


def test_every_kustomization_is_here() -> None:
    there = {str(path.parent.relative_to(KUBERNETES)) for path in KUBERNETES.rglob("kustomization.yaml")}
    assert there == set(FOLDERS)


def test_a_dry_run_passes_before_the_namespaces_exist(api: Api) -> None:
    """The API server refuses one in a namespace that is not there; so what makes them stands for itself."""
    for folder in MAKES_NAMESPACES:
        assert api.ask("GET", "/api/v1/namespaces/staging")[0] == 404
        lines = apply(api, folder, "--dry-run=server")
        assert all(line.endswith("(server dry run)") for line in lines)
        (name,) = (each["metadata"]["name"] for each in rendered(folder) if each["kind"] == "Namespace")
        assert all(each["metadata"].get("namespace", "kserve") != name for each in rendered(folder))


def write_all(path: Path, folders: Sequence[str]) -> Path:
    """Writes what is in some folders to one file, since each call of kubectl takes its time."""
    path.write_text(yaml.safe_dump_all([each for folder in folders for each in rendered(folder)]))
    return path


def versions(api: Api, file: Path) -> dict[str, str]:
    """The version of each object of a file, which the API server raises when anything of it changes."""
    done = api.kubectl("get", "--output", "json", "--filename", str(file))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    metadata = [each["metadata"] for each in found.get("items", [found])]
    return {each["uid"]: each["resourceVersion"] for each in metadata}


@pytest.fixture(scope="module")
def applied(api: Api, storage: None) -> Api:
    """A cluster to which all was applied, in the order of the guide."""
    for folder in FOLDERS:
        assert apply(api, folder)
    return api


def test_applied_again_nothing_changes(applied: Api, tmp_path: Path) -> None:
    file = write_all(tmp_path / "all.yaml", FOLDERS)
    before = versions(applied, file)
    assert len(before) == sum(len(rendered(folder)) for folder in FOLDERS)
    done = applied.kubectl("apply", "--validate=strict", "--filename", str(file))
    assert done.returncode == 0, done.stderr
    assert versions(applied, file) == before


def test_a_cluster_knows_every_key(anywhere: Api, tmp_path: Path) -> None:
    """As far as it knows the kinds: a user's cluster may have no Flux, or no KServe. Nothing is changed."""
    known = []
    for found in (each for folder in FOLDERS for each in rendered(folder)):
        group = found["apiVersion"]
        if anywhere.ask("GET", f"/{'apis' if '/' in group else 'api'}/{group}")[0] == 200:
            if "namespace" in found["metadata"]:
                # By another name, so that nothing there is in the way.
                name = found["metadata"]["name"]
                found["metadata"] |= {"namespace": anywhere.stage, "name": f"{name}-new"}
            known.append(found)
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(known))
    options = ["--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"]
    done = anywhere.kubectl("apply", *options, "--filename", str(file))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(known)


def test_a_key_that_nobody_knows_is_refused(applied: Api, tmp_path: Path) -> None:
    """The definitions are strict enough to prove something."""
    kinds = {"ServingRuntime": "serving", "PodDisruptionBudget": "client", "Kustomization": "flux"}
    wrong = []
    for kind, path in kinds.items():
        (found,) = (each for each in rendered(path) if each["kind"] == kind)
        found["spec"]["minReplica"] = 1
        wrong.append(found)
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump_all(wrong))
    done = applied.kubectl("apply", "--validate=strict", "--dry-run=server", "--filename", str(file))
    assert done.stderr.count('unknown field "spec.minReplica"') == len(kinds)


def test_kserves_container_keeps_what_it_had(applied: Api) -> None:
    container = applied.must("GET", f"{STORAGE}/default")["spec"]["container"]
    assert container["image"] == "kserve/storage-initializer:v0.21.0"
    assert container["securityContext"]["runAsNonRoot"]


def test_a_model_server_is_admitted_under_restricted_pod_security(applied: Api) -> None:
    """Its container as in the runtime, and KServe's, as its webhook makes it of the storage container."""
    (runtime,) = (each["spec"] for each in rendered("serving") if each["kind"] == "ServingRuntime")
    storage = applied.must("GET", f"{STORAGE}/default")["spec"]["container"]
    volumes = runtime["volumes"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "line"},
        "spec": {
            "serviceAccountName": "nbship-models",
            "initContainers": [storage],
            "containers": [{**runtime["containers"][0], "args": []}],
            "volumes": volumes,
        },
    }
    pods = "/api/v1/namespaces/staging/pods?dryRun=All&fieldValidation=Strict"
    status, answer = applied.ask("POST", pods, pod)
    assert status == 201, answer["message"]
    # The account's token is not mounted.
    assert [volume["name"] for volume in answer["spec"]["volumes"]] == ["temporary"]
    (container,) = answer["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["readinessProbe"] and container["livenessProbe"]
    pod["spec"]["initContainers"] = [{key: storage[key] for key in ("name", "image")}]
    status, answer = applied.ask("POST", pods, pod)
    assert status == 403 and "violates PodSecurity" in answer["message"]


def test_the_receiver_is_admitted_under_restricted_pod_security(applied: Api) -> None:
    (deployment,) = (each for each in rendered("chatops") if each["kind"] == "Deployment")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "receiver"}} | {
        "spec": deployment["spec"]["template"]["spec"] | {"serviceAccountName": "nbship-models"}
    }
    # The stage's namespace enforces what any may.
    pods = "/api/v1/namespaces/staging/pods?dryRun=All&fieldValidation=Strict"
    status, answer = applied.ask("POST", pods, pod)
    assert status == 201, answer["message"]
    assert [volume["name"] for volume in answer["spec"]["volumes"]] == ["queue", "temporary"]


def test_the_page_asks_an_address_that_stays(applied: Api) -> None:
    """A Service that stands for the stage, whatever its models' versions are."""
    (settings,) = (
        each["data"]
        for each in rendered("client")
        if each["metadata"]["name"].startswith("nbship-client-settings")
    )
    name, namespace, *rest = settings["MODEL_ADDRESS"].removeprefix("http://").split(".")
    assert rest == ["svc", "cluster", "local"]
    service = applied.must("GET", f"/api/v1/namespaces/{namespace}/services/{name}")
    assert service["spec"]["type"] == "ExternalName"
    assert settings["MODEL_HOST"].startswith(f"$model-{namespace}.")


def test_budgets_and_policies_concern_the_pods_that_are_meant(applied: Api) -> None:
    for folder in ("serving", "client", "chatops", "pipelines", "monitoring"):
        for each in rendered(folder):
            if each["kind"] in ("NetworkPolicy", "PodDisruptionBudget"):
                selector = each["spec"].get("podSelector") or each["spec"].get("selector")
                assert selector, f"{folder}: {each['kind']} concerns every pod of its namespace"


def test_a_secret_leaves_no_copy_in_an_annotation(applied: Api, tmp_path: Path) -> None:
    """As the guide applies it: on the server's side, which keeps no copy of what was last applied."""
    example = (KUBERNETES / "serving/secret.example.yaml").read_text()
    file = tmp_path / "secret.yaml"
    file.write_text(example.replace('SECRET_ACCESS_KEY: ""', 'SECRET_ACCESS_KEY: "s3-hunter2"'))
    arguments = command_of_the_guide("secret.yaml")
    for _ in range(2):
        done = applied.kubectl(*(str(file) if each == "secret.yaml" else each for each in arguments))
        assert done.returncode == 0, done.stderr
    made = applied.must("GET", "/api/v1/namespaces/staging/secrets/nbship-model-store")
    assert made["data"]["AWS_SECRET_ACCESS_KEY"]
    assert "hunter2" not in str(made["metadata"])


def test_a_further_stage_is_made_by_a_script(applied: Api, tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    command = ["bash", "kubernetes/serving/new-stage.sh", "production", "--runs", "team-a"]
    command += ["--runs-account", "runner"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    folder = tmp_path / "kubernetes/stages/production"
    first = write_all(tmp_path / "first.yaml", ["serving/cluster"])
    before = versions(applied, first)
    for part in (folder / "cluster", folder):
        apply(applied, part)
    runner = {"user": "system:serviceaccount:team-a:runner", "groups": ["system:serviceaccounts"]}
    for namespace, allowed in (("production", True), ("staging", False)):
        what = {
            "namespace": namespace,
            "verb": "patch",
            "group": "serving.kserve.io",
            "resource": "inferenceservices",
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {**runner, "resourceAttributes": what},
        }
        answer = applied.must("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        assert answer["status"]["allowed"] is allowed
    assert versions(applied, first) == before


def test_what_monitors_is_admitted_under_restricted_pod_security_and_may_do_nothing(applied: Api) -> None:
    """In a stage, where the server enforces it; whoever has the job's account has no right there either."""
    found = rendered("monitoring")
    (job,) = (each["spec"]["jobTemplate"]["spec"] for each in found if each["kind"] == "CronJob")
    (deployment,) = (each["spec"] for each in found if each["kind"] == "Deployment")
    for template in (job["template"], deployment["template"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": template["spec"]}
        pod["spec"] |= {"serviceAccountName": "nbship-models"}  # one that the stage has
        path = "/api/v1/namespaces/staging/pods?dryRun=All&fieldValidation=Strict"
        status, answer = applied.ask("POST", path, pod)
        assert status == 201, answer["message"]
        # No token of the account is mounted.
        assert not [each for each in answer["spec"].get("volumes", ()) if "projected" in each]
    assert not [each for each in found if "Role" in each["kind"]]
