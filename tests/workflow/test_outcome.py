"""What is read of a run that has ended, where logs are there and where they are not."""

import json
from datetime import UTC, datetime

import pytest

from nbship.gate import Verdict
from nbship.kubeflow.api import Connection
from nbship.kubeflow.client import get_run
from nbship.kubeflow.server import Server
from nbship.package.description import Origin, Package
from nbship.package.schema import Column, Output
from nbship.workflow.incluster.result import Result
from nbship.workflow.outcome import read_outcome
from tests.kubeflow_runs import look, node_id
from tests.kubeflow_server import KubeflowServer, serve
from tests.projects import PIPELINE, write_project
from tests.repositories import git

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PUBLISHED = {"gate": "SUCCEEDED", "publish": "SUCCEEDED"}


@pytest.fixture(scope="module")
def server():
    with serve(KubeflowServer()) as running:
        yield running


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A project in a part of a repository; at its remote, others have published after COMMIT's run."""
    folder = tmp_path_factory.mktemp("repositories")
    git(folder, "init", "--quiet", "--bare", "--initial-branch", "main", "origin.git")
    project = folder / "clone/project"
    project.mkdir(parents=True)
    write_project(project, PIPELINE + "gate: {step: evaluate, thresholds: {rmse: {max: 5}}}\n")
    git(project.parent, "init", "--quiet", "--initial-branch", "main")
    git(project.parent, "remote", "add", "origin", "../origin.git")
    for version, revision in (("v1.9.0", "f" * 40), ("v1.10.0", COMMIT), ("v1.11.0", "e" * 40)):
        file = project / "models/line/model.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(description(revision).model_dump_json())
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "--message", version)
        git(project, "tag", "--annotate", "--message", version, f"line@{version}")
    git(project, "push", "--quiet", "--tags", "origin", "main")
    git(
        folder,
        "clone",
        "--quiet",
        "--no-tags",
        "--single-branch",
        "--depth=1",
        f"file://{folder}/origin.git",
        "ci",
    )
    return folder / "ci/project"


def description(revision):
    column = Column(name="y", type="number")
    return Package(
        name="line",
        sha256="0" * 64,
        origin=Origin(run="1", started=datetime(2026, 1, 1, tzinfo=UTC), revision=revision),
        inputs=[column],
        output=Output(kind="regression", target="y", reference=column),
        rows=4,
        metrics={"evaluate.rmse": 2.5, "train.cv_rmse": 3.0},
        verdict=Verdict(passed=True, reasons=("better",)),
        libraries={},
        golden=[],
    )


def outcome(server, root, commit=COMMIT, logs=None, **tasks):
    server.archived = {
        node_id(step): f"nbship-result {json.dumps(log)}\n" for step, log in (logs or {}).items()
    }
    server.runs = {"run-1": {"run_id": "run-1"}}
    look("SUCCEEDED", **tasks)(server.runs["run-1"])
    connection = Connection(Server(server.address, timeout=2, backoff=0.01), dict)
    return read_outcome(connection, root, "line", commit, get_run(connection, "run-1"))


def test_without_logs_git_tells_what_was_published(server, root):
    found = outcome(server, root, **PUBLISHED)
    expected = description(COMMIT)
    assert found == Result(
        version="v1.10.0", metrics=expected.metrics, verdict=expected.verdict, step="evaluate"
    )
    assert git(root, "tag") == ""


def test_a_version_of_another_commit_is_not_taken_for_this_runs(server, root):
    assert outcome(server, root, "a" * 40, **PUBLISHED) is None
    assert outcome(server, root, "", **PUBLISHED) is None


def test_what_was_not_published_is_not_looked_for(server, root, tmp_path):
    assert outcome(server, root, gate="SUCCEEDED", rejected="SUCCEEDED") is None
    assert outcome(server, root, gate="SUCCEEDED", publish="SKIPPED") is None
    assert outcome(server, tmp_path, **PUBLISHED) is None


def test_logs_go_before_git_and_git_adds_the_version_alone(server, root):
    gate = {"metrics": {"evaluate.rmse": 1.5}, "step": "evaluate"}
    assert (
        outcome(server, root, logs={"gate": gate, "publish": {"version": "v9.0.0"}}, **PUBLISHED).version
        == "v9.0.0"
    )
    found = outcome(server, root, logs={"gate": gate}, **PUBLISHED)
    assert (found.version, found.main_metrics) == ("v1.10.0", {"rmse": 1.5})


def test_a_run_that_judged_nothing_has_an_empty_outcome(server, root):
    assert outcome(server, root, prepare="SUCCEEDED") == Result()
