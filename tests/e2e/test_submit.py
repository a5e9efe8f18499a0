"""`nbship submit`, `schedule` and `runs --remote` as a user runs them, against a server on loopback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nbship.workflow.compile import compile_pipeline
from tests.kubeflow_runs import look
from tests.kubeflow_server import Fault, KubeflowServer, serve
from tests.projects import write_project
from tests.repositories import git

pytestmark = pytest.mark.e2e

PROJECT = Path(__file__).parents[2]
TOKEN = "correct-horse-battery-staple"  # noqa: S105
REPOSITORY = ("--set", "repository=https://git.example.org/cars.git")
NBSHIP = [sys.executable, "-c", "from nbship.cli.main import main; main()"]


@pytest.fixture
def server():
    with serve(
        KubeflowServer(allow=lambda headers: headers.get("Authorization") == f"Bearer {TOKEN}")
    ) as running:
        yield running


@pytest.fixture
def environment(server):
    own = {name: value for name, value in os.environ.items() if not name.startswith("NBSHIP_")}
    settings = {"HOST": server.address, "AUTH": "token", "TOKEN": TOKEN}
    return own | {f"NBSHIP_KUBEFLOW_{name}": value for name, value in settings.items()}


@pytest.fixture
def root(tmp_path):
    write_project(tmp_path)
    compile_pipeline(tmp_path, "line").write()
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "Begin")
    return tmp_path


def run(root, environment, *arguments):
    result = subprocess.run(
        [*NBSHIP, *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert TOKEN not in result.stdout + result.stderr
    return result


@pytest.mark.parametrize(("state", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELED", 1)])
def test_waiting_ends_as_the_run_does(server, environment, root, state, code):
    server.advance = [look(state, prepare=state)]
    result = run(root, environment, "submit", "line", "--set", "prepare.most=2", "--wait")
    assert result.returncode == code, result.stderr
    (submitted,) = server.runs.values()
    assert f"page        {server.address}/#/runs/details/{submitted['run_id']}\n" in result.stdout
    assert f"run         {state.lower()}\n" in result.stdout


def test_a_night_on_the_server(server, environment, root):
    """Scheduled, changed, looked at, paused; every request meets a server that is busy once."""
    server.faults = [Fault(f"{method} ", status=503) for method in ("GET", "POST", "DELETE")]
    created = run(root, environment, "schedule", "line", "--cron", "0 3 * * 1")
    assert (created.returncode, created.stdout.split()[0]) == (0, "created"), created.stderr
    assert created.stderr == ""
    assert run(root, environment, "schedule", "line", "--cron", "0 4 * * 1").stdout.startswith("updated")
    assert run(root, environment, "schedule", "line", "--pause").returncode == 0
    listed = json.loads(run(root, environment, "schedule", "--list", "--json").stdout)
    assert [(s["name"], s["cron"], s["enabled"]) for s in listed["schedules"]] == [
        ("line", "0 0 4 * * 1", False)
    ]


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_a_failure_shows_no_secret(server, environment, root, debug):
    server.faults = [Fault("GET", status=401, body=json.dumps({"message": f"no {TOKEN}"}), times=100)]
    result = run(root, environment, *debug, "submit", "line")
    assert result.returncode == 1
    assert "authentication failed (401, auth: token): no …" in result.stderr


def test_no_longer_waiting_leaves_the_run_alone(server, environment, root):
    server.advance = [look("RUNNING", prepare="RUNNING")]
    process = subprocess.Popen(
        [*NBSHIP, "submit", "line", "--wait"],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not server.lines("GET /apis/v2beta1/runs/") and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the run goes on" in errors
    assert [run["state"] for run in server.runs.values()] == ["RUNNING"]


def test_the_reference_pipeline_is_one_that_kubeflow_takes(server, environment):
    result = run(PROJECT, environment, "submit", "auto-mpg", "--experiment", "test", "--json", *REPOSITORY)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    listed = json.loads(run(PROJECT, environment, "runs", "--remote", "auto-mpg", "--json").stdout)
    assert [found["id"] for found in listed] == [told["run"]]
    spec = server.versions[told["version"]["version_id"]]["pipeline_spec"]
    assert {"prepare", "train", "evaluate"} <= set(spec["components"]["comp-exit-handler-1"]["dag"]["tasks"])
