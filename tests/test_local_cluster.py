"""scripts/local-cluster, with programs that note what they are asked to do; no cluster is made here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.repositories import git

ROOT = Path(__file__).parent.parent
STEPS = [
    "cluster",
    "Kubeflow Pipelines 2.17.0",
    "KServe v0.20.0 in Standard mode",
    "image",
    "stage staging",
    "train and publish line",
    "deploy",
    "prediction",
    "Kubeflow Pipelines is ready",
]
# Notes its call; fails if that holds $FAILS; answers as the real one would.
PROGRAM = """\
#!/bin/sh
call="$(basename "$0") $*"
echo "$call" >> "$CALLS"
if [ -n "$FAILS" ]; then case "$call" in *"$FAILS"*) echo "no luck" >&2; exit 7;; esac; fi
case "$call" in
"kind get clusters") cat "$STATE/clusters" 2>/dev/null || true;;
"kind create"*) echo nbship > "$STATE/clusters";;
"docker image inspect"*) test -e "$STATE/image";;
"docker build"*) touch "$STATE/image";;
"nbship image"*) echo registry.example.org:5000/cars:5337d51e;;
"nbship publish"*) mkdir -p "$NBSHIP_MODEL_STORE/line/v1.0.0" models/line
    echo '{"golden": [{"record": {"x": "1"}}]}' > models/line/model.json;;
*jsonpath*) echo http://line-staging.example.com;;
*owning-gateway-name*) echo service/envoy-kserve;;
*port-forward*) exec sleep 60;;
curl*) echo '{"predictions": [4.0]}';;
esac
"""


@pytest.fixture
def root(tmp_path):
    """A project with a commit, in a folder with a space; and the programs."""
    root = tmp_path / "my cars"
    for folder in ("pipelines", "kubernetes/serving/cluster", ".dvc"):
        (root / folder).mkdir(parents=True)
    for path in ("pipelines/line.yaml", "Dockerfile", "kubernetes/serving/kustomization.yaml", ".dvc/config"):
        (root / path).write_text("")
    (root / ".gitignore").write_text("/.nbship/\n/bin/\n")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Begin")
    for name in ("docker", "kind", "minikube", "kubectl", "helm", "nbship", "curl"):
        (root / "bin").mkdir(exist_ok=True)
        (root / "bin" / name).write_text(PROGRAM)
        (root / "bin" / name).chmod(0o755)
    return root


def local_cluster(root, *arguments, fails="", without=""):
    """Runs the script; returns it with its calls since the last time."""
    calls = root.parent / "calls"
    calls.write_text("")
    if without:
        (root / "bin" / without).unlink()
    programs = root.parent / "system"
    programs.mkdir(exist_ok=True)
    names = ("bash", "sh", "basename", "sed", "mkdir", "cat", "grep", "git", "rm", "ls", "chmod")
    for name in (*names, "touch", "sleep"):
        found = shutil.which(name)
        if not (programs / name).exists():
            (programs / name).symlink_to(str(found))
    if not (programs / "python3").exists():
        (programs / "python3").symlink_to(sys.executable)
    environment = {key: value for key, value in os.environ.items() if key.startswith("GIT_")} | {
        "PATH": f"{root / 'bin'}:{programs}",
        "HOME": str(root.parent),
        "CALLS": str(calls),
        "STATE": str(root.parent),
        "FAILS": fails,
    }
    command = [ROOT / "scripts/local-cluster", *arguments]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    return done, calls.read_text().splitlines()


def steps(done):
    return [line.removeprefix("▸ ") for line in done.stdout.splitlines() if line.startswith("▸ ")]


@pytest.mark.parametrize("tool", ["kind", "minikube"])
def test_it_ends_with_a_prediction(root, tool):
    done, calls = local_cluster(root, tool, "line")
    assert done.returncode == 0, done.stderr
    assert steps(done) == STEPS
    assert '{"predictions": [4.0]}' in done.stdout
    context = {"kind": "kind-nbship", "minikube": "nbship"}[tool]
    for call in calls:  # no other cluster of the user's is touched
        name = call.split()[0]
        assert name not in ("kubectl", "helm") or f"context {context} " in call, call
    order = [
        f"{tool} {'create' if tool == 'kind' else 'start'}",
        "cluster-scoped-resources?ref=2.17.0",
        "wait crd/",
        "env/platform-agnostic?ref=2.17.0",
        "--install cert-manager",
        "--install eg ",
        "--install kserve-crd",
        "gateway.yaml",
        "--install kserve oci",
        "docker build --tag registry.example.org:5000/cars:5337d51e",
        f"{'kind load docker-image' if tool == 'kind' else 'minikube image load'} registry",
        "kubernetes/serving/cluster",
        "local-cluster/stage",
        "nbship run line",
        "nbship publish line --push",
        "nbship deploy line --to staging",
        "curl",
    ]
    places = [next(i for i, call in enumerate(calls) if part in call) for part in order]
    assert places == sorted(places)
    assert [call for call in calls if "port-forward" in call]  # beside curl, which tries until it is there
    (asked,) = [call for call in calls if call.startswith("curl")]
    assert "Host: line-staging.example.com " in asked and "/v1/models/line:predict" in asked
    question = json.loads((root / ".nbship/local-cluster/question.json").read_text())
    assert question == {"instances": [{"x": "1"}]}
    assert git(root, "status", "--short") == ""  # the project is only read
    assert git(root / ".nbship/local-cluster/project", "log", "--format=%s") == "Begin\n"


def test_repeated_it_makes_nothing_twice(root):
    local_cluster(root, "kind", "line")
    done, calls = local_cluster(root, "kind", "line")
    assert done.returncode == 0 and steps(done) == STEPS
    once = ("kind create", "docker build", "nbship run", "nbship publish")
    assert not [call for call in calls if call.startswith(once)]
    assert [call for call in calls if " install " in call] == []  # upgrade --install goes on where it was


@pytest.mark.parametrize(
    ("fails", "step"),
    [
        ("kind create", "cluster"),
        ("wait crd/", "Kubeflow Pipelines 2.17.0"),
        ("--install kserve oci", "KServe v0.20.0 in Standard mode"),
        ("docker build", "image"),
        ("kind load", "image"),
        ("local-cluster/stage", "stage staging"),
        ("nbship run", "train and publish line"),
        ("nbship deploy", "deploy"),
        ("curl", "prediction"),
        ("wait deployment", "Kubeflow Pipelines is ready"),
    ],
)
def test_a_failed_step_ends_it_by_its_name_and_a_repeat_goes_on(root, fails, step):
    done, calls = local_cluster(root, "kind", "line", fails=fails)
    assert done.returncode == 1
    assert steps(done)[-1] == step
    assert fails in calls[-1] or "port-forward" in calls[-1]  # which is beside the others
    assert f"error: stopped at: {step}\n" in done.stderr and "no luck" in done.stderr
    assert local_cluster(root, "kind", "line")[0].returncode == 0


def test_what_is_missing_is_told_before_anything_is_made(root):
    for without in ("helm", "kind"):
        done, calls = local_cluster(root, "kind", "line", without=without)
        assert (done.returncode, calls) == (1, [])
        assert f"error: {without} is not installed" in done.stderr
        shutil.copy(root / "bin/docker", root / "bin" / without)
    done, calls = local_cluster(root, "kind", "lime")
    assert calls == [] and "no pipelines/lime.yaml" in done.stderr
    (root / "Dockerfile").unlink()
    assert "nbship init --image --kubernetes" in local_cluster(root, "kind", "line")[0].stderr
    assert local_cluster(root, "k3d", "line")[0].returncode == 2


def test_it_can_be_taken_away(root):
    done, calls = local_cluster(root, "kind", "--delete")
    assert (done.returncode, calls) == (0, ["kind delete cluster --name nbship"])


@pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl")
def test_its_stage_is_that_of_the_project_with_the_image_that_was_built(root):
    shutil.rmtree(root / "kubernetes/serving")
    shutil.copytree(ROOT / "kubernetes/serving", root / "kubernetes/serving")
    local_cluster(root, "kind", "line")
    folder = root / ".nbship/local-cluster"
    built = subprocess.run(
        ["kubectl", "kustomize", str(folder / "stage")], capture_output=True, text=True, check=True
    )
    kinds = {each["kind"]: each for each in yaml.safe_load_all(built.stdout)}
    (container,) = kinds["ServingRuntime"]["spec"]["containers"]
    assert container["image"] == "registry.example.org:5000/cars:5337d51e"
    volume, claim = kinds["PersistentVolume"], kinds["PersistentVolumeClaim"]
    assert "namespace" not in volume["metadata"] and claim["metadata"]["namespace"] == "staging"
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
    (node,) = yaml.safe_load((folder / "kind.yaml").read_text())["nodes"]
    assert node["extraMounts"][0]["hostPath"] == str(folder / "store")
    assert node["extraMounts"][0]["containerPath"] == volume["spec"]["hostPath"]["path"]
    gateway = list(yaml.safe_load_all((folder / "gateway.yaml").read_text()))[1]
    assert (
        f"{gateway['metadata']['namespace']}/{gateway['metadata']['name']}"
        in ((ROOT / "scripts/local-cluster").read_text().split("kserveGateway=")[1].split()[0])
    )
