"""The jobs of .gitlab-ci.yml as GitLab's runner would run them, against servers on loopback."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nbship.workflow.compile import compile_pipeline
from tests.gitlab_server import PROJECT, TOKEN, GitlabServer
from tests.gitlab_server import serve as serve_gitlab
from tests.kubeflow_server import KubeflowServer
from tests.kubeflow_server import serve as serve_kubeflow
from tests.projects import write_project
from tests.repositories import git
from tests.servers import TOKEN as GIT_TOKEN
from tests.servers import USER, Watch, git_server

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parents[2]
SETUP = ("requirements.lock", "pyproject.toml")


def test_the_file_is_what_gitlab_accepts():
    command = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", "vendor.gitlab-ci"]
    done = subprocess.run([*command, HERE / ".gitlab-ci.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_of_jobs_is_the_pythons_of_steps():
    variables = yaml.safe_load((HERE / ".gitlab-ci.yml").read_text())["variables"]
    version = re.search(r"python:(\d+\.\d+)", (HERE / "Dockerfile").read_text())
    assert version and version[1] == variables["PYTHON_VERSION"]


@pytest.fixture(scope="module")
def gitlab_ci_local() -> str:
    """The runner's package; skips where it cannot be had."""
    missing = [program for program in ("npx", "rsync", "make") if not shutil.which(program)]
    if missing:
        pytest.skip(f"gitlab-ci-local needs {', '.join(missing)}")
    name = re.search(r"gitlab-ci-local@[\d.]+", (HERE / "Makefile").read_text())
    assert name
    done = subprocess.run(["npx", "--yes", name[0], "--version"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npx cannot fetch {name[0]}: {done.stderr.strip().splitlines()[-1]}")
    return name[0]


@pytest.fixture
def gitlab():
    with serve_gitlab(GitlabServer()) as running:
        yield running


@pytest.fixture
def kubeflow():
    with serve_kubeflow(KubeflowServer()) as running:
        yield running


@pytest.fixture
def origin(tmp_path):
    """The address of an empty repository, with the credentials that GitLab gives a job."""
    git(tmp_path, "init", "--quiet", "--bare", f"served/{PROJECT}.git")
    with git_server(tmp_path / "served", Watch()) as address:
        yield f"{address.replace('://', f'://{USER}:{GIT_TOKEN}@')}/{PROJECT}.git"


@pytest.fixture
def root(tmp_path, origin, gitlab_ci_local):
    """A project with this one's jobs and environment."""
    folder = tmp_path / "cars"
    folder.mkdir()
    write_project(folder)
    compile_pipeline(folder, "line").write()
    for name in (".gitlab-ci.yml", "Makefile", ".gitignore", *SETUP):
        shutil.copy(HERE / name, folder / name)
    environment = folder / ".venv"
    environment.mkdir()
    (environment / "bin").symlink_to(Path(sys.prefix) / "bin")
    # Newer than what it was made from, so that nothing is installed.
    (environment / ".ready").touch()
    for name in SETUP:
        os.utime(folder / name, (0, 0))
    git(folder, "init", "--quiet")
    git(folder, "remote", "add", "origin", origin)
    commit(folder)
    git(folder, "push", "--quiet", "origin", "main")
    return folder


def commit(root):
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Change")
    return git(root, "rev-parse", "HEAD").strip()


def change(root, name, old, new):
    path = root / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    compile_pipeline(root, "line").write()
    return commit(root)


def told(gitlab):
    return {name: gitlab.environment[name] for name in ("NBSHIP_GITLAB_URL", "NBSHIP_GITLAB_TOKEN")}


def make(root, target, job, **variables):
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("NBSHIP_", "CI_", "GITLAB_"))
    }
    done = subprocess.run(
        ["make", target, f"JOBS={job}"],
        cwd=root,
        env={**own, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert TOKEN not in output
    return done.returncode, output


def test_a_merge_request_runs_what_changed_and_is_told(root, gitlab):
    git(root, "switch", "--quiet", "--create", "topic")
    gitlab.add_merge_request(5, "topic", [])
    head = change(root, "pipelines/line.yaml", "most: 4", "most: 2")
    code, output = make(root, "ci-merge-request", "run", **told(gitlab))
    assert code == 0, output
    (body,) = gitlab.bodies(5)
    assert "### ℹ️ line: Done" in body
    assert "| train-line | slope | 1 |" in body
    assert f"commit {head[:12]} ·" in body
    assert git(root, "status", "--porcelain") == ""


def test_a_merge_request_whose_run_fails_is_told_so(root, gitlab):
    git(root, "switch", "--quiet", "--create", "topic")
    gitlab.add_merge_request(5, "topic", [])
    change(root, "notebooks/train.ipynb", "slope = sum", "slope = summ")
    code, output = make(root, "ci-merge-request", "run", **told(gitlab))
    assert code != 0, output
    assert "FAIL  run" in output
    (body,) = gitlab.bodies(5)
    assert "### ❌ line: Failed in train-line" in body


def test_a_merge_request_that_concerns_no_pipeline_runs_none(root, gitlab):
    git(root, "switch", "--quiet", "--create", "topic")
    (root / "README.md").write_text("Cars\n")
    commit(root)
    code, output = make(root, "ci-merge-request", "run", **told(gitlab))
    assert code == 0, output
    assert "no pipeline is concerned" in output
    assert gitlab.seen == []
    assert not (root / "runs").exists()


# The runner's exit code says nothing of a job that may fail with one exit code; what it prints does.
@pytest.mark.parametrize(
    ("state", "published", "word"), [("SUCCEEDED", "line v1.10.0\n", "PASS"), ("FAILED", "", "FAIL")]
)
def test_a_merge_runs_what_changed_on_kubeflow(root, kubeflow, state, published, word):
    head = change(root, "pipelines/line.yaml", "most: 4", "most: 2")
    git(root, "push", "--quiet", "origin", "main")

    def publish(run):
        run["state"] = state
        for version in ("v1.9.0", "v1.10.0"):
            git(root.parent / f"served/{PROJECT}.git", "tag", "--message", version, f"line@{version}", head)

    kubeflow.advance = [publish]
    _, output = make(root, "ci-merge", "train", NBSHIP_KUBEFLOW_HOST=kubeflow.address)
    assert f"{word}  train" in output, output
    (run,) = kubeflow.runs.values()
    assert kubeflow.experiments[run["experiment_id"]]["display_name"] == "main feature"
    version = kubeflow.versions[run["pipeline_version_reference"]["pipeline_version_id"]]
    assert version["display_name"] == head
    assert (root / ".nbship/published.txt").read_text() == published


@pytest.mark.parametrize("stage", ["staging", "production"])
def test_what_was_published_is_deployed(root, stage):
    (root / ".venv/bin").unlink()
    program = root / ".venv/bin/nbship"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho $@ >> {root}/.nbship/called.txt\n")
    program.chmod(0o755)
    (root / ".nbship").mkdir()
    (root / ".nbship/published.txt").write_text("line v1.10.0\nother v1.0.0\n")
    code, output = make(
        root, "ci-merge", stage, NBSHIP_KUBEFLOW_HOST="https://kubeflow.example.org", BASE="HEAD"
    )
    assert code == 0, output
    assert (root / ".nbship/called.txt").read_text().splitlines() == [
        f"deploy line --to {stage} --version v1.10.0",
        f"deploy other --to {stage} --version v1.0.0",
    ]


def test_a_commit_of_a_model_starts_nothing(root, kubeflow):
    (root / "models/line").mkdir(parents=True)
    (root / "models/line/model.joblib.dvc").write_text("outs: []\n")
    commit(root)
    _, output = make(root, "ci-merge", "train", NBSHIP_KUBEFLOW_HOST=kubeflow.address)
    assert "PASS  train" in output, output
    assert "no pipeline is concerned" in output
    assert kubeflow.seen == []


def test_a_schedule_trains_again(root, kubeflow):
    kubeflow.advance = [lambda run: run.update(state="SUCCEEDED")]
    _, output = make(root, "ci-schedule", "train", NBSHIP_KUBEFLOW_HOST=kubeflow.address)
    assert "PASS  train" in output, output
    (experiment,) = kubeflow.experiments.values()
    assert experiment["display_name"] == "main schedule"


@pytest.mark.parametrize(
    ("source", "variables", "jobs"),
    [
        ("merge_request_event", ["NBSHIP_KUBEFLOW_HOST=h", "CI_REGISTRY=r"], "check test run"),
        (
            "push",
            ["NBSHIP_KUBEFLOW_HOST=h", "CI_REGISTRY=r"],
            "check image-name image-build train staging production",
        ),
        ("schedule", ["NBSHIP_KUBEFLOW_HOST=h", "CI_REGISTRY="], "check train staging production"),
        ("push", ["NBSHIP_KUBEFLOW_HOST=", "CI_REGISTRY="], "check"),
    ],
    ids=["merge request", "merge", "schedule", "without servers"],
)
def test_which_jobs_there_are(root, gitlab_ci_local, source, variables, jobs):
    command = ["npx", "--yes", gitlab_ci_local, "--list-csv", "--state-dir", ".nbship/ci"]
    options = [part for text in (f"CI_PIPELINE_SOURCE={source}", *variables) for part in ("--variable", text)]
    done = subprocess.run([*command, *options], cwd=root, capture_output=True, text=True, check=True)
    listed = [line.split(";")[0] for line in done.stdout.splitlines() if line.count(";") > 3]
    assert listed[1:] == jobs.split()
