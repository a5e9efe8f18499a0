"""The jobs of .gitlab-ci.yml as GitLab's runner would run them, against servers on loopback."""

from __future__ import annotations

import json
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


CI_FILE = HERE / ".gitlab-ci.yml"
JOBS, DEFAULT, DEPLOY = (HERE / f".gitlab/nbship/{name}.yml" for name in ("jobs", "default", "deploy"))


def deployments(**published):
    """The pipeline that `train` writes."""
    models = [DEPLOY.read_text().replace("NAME", name).replace("VERSION", v) for name, v in published.items()]
    return DEFAULT.read_text() + "".join(models)


def test_the_files_are_what_gitlab_accepts(tmp_path):
    (tmp_path / "deployments.yml").write_text(deployments(cars="v1.0.0", churn="v2.1.0"))
    command = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", "vendor.gitlab-ci"]
    files = [CI_FILE, JOBS, DEFAULT, tmp_path / "deployments.yml"]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_of_jobs_is_the_pythons_of_steps():
    jobs = yaml.safe_load(DEFAULT.read_text())
    for text in ((HERE / "Dockerfile").read_text(), jobs[".nbship"]["image"]):
        version = re.search(r"python:(\d+\.\d+)", text)
        assert version and version[1] == jobs[".nbship"]["variables"]["PYTHON_VERSION"]


def test_images_are_pinned_by_digest():
    jobs = yaml.safe_load(JOBS.read_text()) | yaml.safe_load(DEFAULT.read_text())
    images = [job["image"] for job in jobs.values() if isinstance(job, dict) and "image" in job]
    images += re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (HERE / "Dockerfile").read_text(), re.MULTILINE)
    page = yaml.safe_load((HERE / "kubernetes/client/deployment.yaml").read_text())
    images += [each["image"] for each in page["spec"]["template"]["spec"]["containers"]]
    assert len(images) == 4
    assert all(re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", image) for image in images), images


def test_nothing_of_the_default_branch_is_cancelled_by_the_next_merge():
    rules = yaml.safe_load(JOBS.read_text())["workflow"]["rules"]
    (merged,) = [rule for rule in rules if "$CI_DEFAULT_BRANCH" in rule["if"]]
    assert merged["auto_cancel"] == {"on_new_commit": "none"}


# GitLab refuses a deployment once a later one has gone to the environment of the same name.
def test_each_model_has_environments_of_its_own():
    jobs = yaml.safe_load(deployments(cars="v1.0.0", churn="v2.1.0"))
    environments = {name: job["environment"]["name"] for name, job in jobs.items() if "environment" in job}
    assert environments == {
        f"{s} {m}": f"{s}/{m}" for m in ("cars", "churn") for s in ("staging", "production")
    }
    assert all(
        job["resource_group"] == job["environment"]["name"] for job in jobs.values() if "script" in job
    )


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
    shutil.copytree(HERE / ".gitlab", folder / ".gitlab")
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
    assert "no pipeline is affected" in output
    assert gitlab.seen == []
    assert not (root / "runs").exists()


def train(root, kubeflow, **variables):
    """Runs the job `train` as after a merge: compared with what was trained last."""
    git(root, "push", "--quiet", "origin", "HEAD:main")
    return make(root, "ci-merge", "train", NBSHIP_KUBEFLOW_HOST=kubeflow.address, BASE="", **variables)[1]


def ends(kubeflow, state, version=""):
    """Makes the next run end, with a version published if one is named."""

    def change(run):
        tasks = {
            "gate": {"verdict": {"passed": True, "reasons": ["better"]}},
            "publish": {"version": version},
        }
        run["state"] = state
        run["run_details"] = {
            "task_details": [
                {
                    "display_name": name,
                    "state": state,
                    "child_tasks": [{"pod_name": f"{run['run_id']}-{name}"}],
                }
                for name in (tasks if version else ["gate"])
            ]
        }
        for name, result in tasks.items():
            kubeflow.archived[f"{run['run_id']}-{name}"] = f"nbship-result {json.dumps(result)}\n"

    kubeflow.advance.append(change)


def trained(kubeflow):
    """The commits that were trained, in order."""
    ids = [run["pipeline_version_reference"]["pipeline_version_id"] for run in kubeflow.runs.values()]
    return [kubeflow.versions[each]["display_name"].partition("-")[0] for each in ids]


# The runner's exit code says nothing of a job that may fail with one exit code; what it prints does.
@pytest.mark.parametrize(
    ("state", "version", "word"), [("SUCCEEDED", "v1.9.0", "PASS"), ("FAILED", "", "FAIL")]
)
def test_a_merge_runs_what_changed_on_kubeflow(root, kubeflow, state, version, word):
    before = git(root, "rev-parse", "HEAD").strip()
    head = change(root, "pipelines/line.yaml", "most: 4", "most: 2")
    # Another run published this one, and it is the newest.
    git(root.parent / f"served/{PROJECT}.git", "tag", "--message", "another", "line@v1.10.0", before)
    ends(kubeflow, state, version)
    output = train(root, kubeflow)
    assert f"{word}  train" in output, output
    (run,) = kubeflow.runs.values()
    assert kubeflow.experiments[run["experiment_id"]]["display_name"] == "main feature"
    assert trained(kubeflow) == [head]
    assert (root / ".nbship/published.txt").read_text() == (f"line {version}\n" if version else "")
    jobs = yaml.safe_load((root / ".nbship/deployments.yml").read_text())
    deploying = [name for name, job in jobs.items() if "environment" in job]
    assert deploying == (["staging line", "production line"] if version else [])
    assert any("script" in job for job in jobs.values())


def test_quick_merges_and_failures_leave_nothing_untrained(root, kubeflow):
    first = change(root, "pipelines/line.yaml", "most: 4", "most: 2")
    ends(kubeflow, "FAILED")
    assert "FAIL  train" in train(root, kubeflow)
    (root / "README.md").write_text("Cars\n")
    second = commit(root)
    ends(kubeflow, "SUCCEEDED")
    assert "PASS  train" in train(root, kubeflow)
    assert trained(kubeflow) == [first, second]
    # The job of the first merge, which had to wait; and a merge that concerns no pipeline.
    (root / "README.md").write_text("Fast cars\n")
    commit(root)
    assert "PASS  train" in train(root, kubeflow)
    assert trained(kubeflow) == [first, second]
    # A rewritten history: what was trained last is no part of it.
    git(root, "reset", "--quiet", "--hard", first)
    rewritten = change(root, "pipelines/line.yaml", "most: 2", "most: 3")
    git(root, "push", "--quiet", "--force", "origin", "HEAD:main")
    ends(kubeflow, "SUCCEEDED")
    output = train(root, kubeflow)
    assert "PASS  train" in output, output
    assert trained(kubeflow) == [first, second, rewritten]


def test_the_image_that_ci_built_is_what_runs(root, kubeflow):
    head = change(root, "pipelines/line.yaml", "most: 4", "most: 2")
    built = f"registry.example.org/cars@sha256:{'5' * 64}"
    ends(kubeflow, "SUCCEEDED")
    output = train(root, kubeflow, IMAGE_BUILT=built)
    assert "PASS  train" in output, output
    (run,) = kubeflow.runs.values()
    version = kubeflow.versions[run["pipeline_version_reference"]["pipeline_version_id"]]
    assert version["display_name"].startswith(f"{head}-")
    images = re.findall(r"'image': '([^']+)'", str(version["pipeline_spec"]))
    assert set(images) == {built}


@pytest.mark.parametrize("stage", ["staging", "production"])
def test_what_was_published_is_deployed(root, gitlab_ci_local, stage):
    (root / ".venv/bin").unlink()
    program = root / ".venv/bin/nbship"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho $@ >> {root}/.nbship/called.txt\n")
    program.chmod(0o755)
    (root / ".nbship").mkdir()
    (root / ".nbship/deployments.yml").write_text(deployments(line="v1.10.0", other="v1.0.0"))
    command = ["npx", "--yes", gitlab_ci_local, "--file", ".nbship/deployments.yml", "--force-shell-executor"]
    done = subprocess.run(
        [*command, "--state-dir", ".nbship/ci", f"{stage} line"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    called = (root / ".nbship/called.txt").read_text().splitlines()
    assert called == [f"deploy line --to {stage} --version v1.10.0 --unless-newer"]


def test_a_commit_of_a_model_starts_nothing(root, kubeflow):
    (root / "models/line").mkdir(parents=True)
    (root / "models/line/model.joblib.dvc").write_text("outs: []\n")
    commit(root)
    _, output = make(root, "ci-merge", "train", NBSHIP_KUBEFLOW_HOST=kubeflow.address)
    assert "PASS  train" in output, output
    assert "no pipeline is affected" in output
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
            "check image-name image-build train deployments",
        ),
        ("schedule", ["NBSHIP_KUBEFLOW_HOST=h", "CI_REGISTRY="], "check train deployments"),
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
