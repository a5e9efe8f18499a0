import json
import os

import pytest
import typer
from typer.testing import CliRunner

from nbship import __version__
from nbship.cli import runs as runs_command
from nbship.cli import schedule as schedule_command
from nbship.cli import submit as submit_command
from nbship.errors import NbshipError, UsageError
from nbship.workflow import waiting
from nbship.workflow.compile import compile_pipeline
from tests.kubeflow_runs import look, node_id, terminated
from tests.kubeflow_server import KubeflowServer, serve
from tests.projects import write_project

TOKEN = "correct-horse-battery-staple"  # noqa: S105
SUBMIT = ("submit", "line", "--experiment", "main")


@pytest.fixture
def server():
    with serve(
        KubeflowServer(allow=lambda headers: headers.get("Authorization") == f"Bearer {TOKEN}")
    ) as running:
        yield running


@pytest.fixture
def root(tmp_path, monkeypatch, server):
    for name in [name for name in os.environ if name.startswith("NBSHIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"HOST": server.address, "AUTH": "token", "TOKEN": TOKEN}.items():
        monkeypatch.setenv(f"NBSHIP_KUBEFLOW_{name}", value)
    monkeypatch.setattr(waiting, "_INTERVAL", 0.01)
    monkeypatch.chdir(write_project(tmp_path))
    compile_pipeline(tmp_path, "line").write()
    return tmp_path


def nbship(*arguments):
    """Returns what a command prints, and its exit code."""
    app = typer.Typer()
    for command in (submit_command, schedule_command, runs_command):
        command.register(app)
    result = CliRunner().invoke(app, arguments, standalone_mode=False)
    if result.exception:
        raise result.exception
    assert TOKEN not in result.output
    return result.output, result.return_value


def test_what_was_started(server, root):
    output, code = nbship(*SUBMIT, "--set", "prepare.note=a=b")
    (run,) = server.runs.values()
    assert code == 0
    assert output.splitlines()[1:] == [
        f"image       nbship:{__version__}",
        "experiment  main",
        f"run         {run['display_name']}",
        f"page        {server.address}/#/runs/details/{run['run_id']}",
    ]
    assert output.startswith("version     ")
    assert "(uploaded)" in output
    assert "(there already)" in nbship(*SUBMIT)[0]
    assert run["runtime_config"]["parameters"]["prepare_note"] == "a=b"


def test_waiting_shows_steps_in_plain_lines(server, root):
    server.advance = [look("RUNNING", prepare="RUNNING"), look("SUCCEEDED", prepare="SUCCEEDED")]
    output, code = nbship(*SUBMIT, "--wait")
    assert code == 0
    assert [line.split()[:3] for line in output.splitlines()[5:]] == [
        ["▸", "prepare", "running"],
        ["✓", "prepare", "done"],
        ["run", "succeeded"],
    ]


def test_waiting_for_a_run_that_fails(server, root):
    server.advance = [look("FAILED", resolve="FAILED", prepare="PENDING")]
    output, code = nbship(*SUBMIT, "--wait")
    assert code == 1
    assert "run         failed\nfailed      resolve\n" in output
    assert "runs notebook" not in output


def test_a_notebook_that_failed_can_be_brought_back(server, root):
    server.advance = [look("FAILED", resolve="SUCCEEDED", prepare="FAILED")]
    output, code = nbship(*SUBMIT, "--wait")
    (run,) = server.runs
    assert code == 1
    assert f"failing cell: nbship runs notebook {run} prepare --pipeline line\n" in output


def test_waiting_for_a_run_that_somebody_ended(server, root):
    for _ in range(2):
        server.advance += [look("RUNNING", prepare="RUNNING"), terminated(prepare="FAILED")]
    output, code = nbship(*SUBMIT, "--wait")
    assert code == 1
    assert [line.split()[:3] for line in output.splitlines()[5:]] == [
        ["▸", "prepare", "running"],
        ["!", "prepare", "interrupted"],
        ["run", "canceled"],
        ["its", "page", "has"],
    ]
    last = json.loads(nbship(*SUBMIT, "--wait", "--json")[0].splitlines()[-1])
    assert (last["state"], last["exit_code"]) == ("CANCELED", 1)


RESULT = {
    "verdict": {"passed": False, "reasons": ["rmse 3 is not ≤ 1"]},
    "metrics": {"evaluate.rmse": 3, "evaluate.rmse_low": 2.5, "evaluate.rmse_high": 3.5, "train.cv_rmse": 1},
    "step": "evaluate",
}


def log(result):
    return f"cell 1 of 1\nnbship-result {json.dumps(result)}\n"


def test_waiting_for_a_run_whose_model_is_rejected(server, root):
    server.advance = [look("SUCCEEDED", gate="SUCCEEDED", rejected="SUCCEEDED")]
    server.archived = {node_id("gate"): log(RESULT)}
    output, code = nbship(*SUBMIT, "--wait")
    assert code == 3
    assert output.splitlines()[-3:] == [
        "gate        rejected: rmse 3 is not ≤ 1",
        "metrics     rmse 3 (2.5 to 3.5)",
        "run         rejected by the gate; the champion stays",
    ]


def test_waiting_for_a_run_that_publishes(server, root):
    passed = RESULT | {"verdict": {"passed": True, "reasons": ["better"]}}
    server.archived = {node_id("gate"): log(passed), node_id("publish"): log({"version": "v1.2.0"})}
    for _ in range(2):
        server.advance.append(look("SUCCEEDED", gate="SUCCEEDED", publish="SUCCEEDED"))
    output, code = nbship(*SUBMIT, "--wait")
    assert code == 0
    assert output.splitlines()[-4:] == [
        "gate        passed: better",
        "metrics     rmse 3 (2.5 to 3.5)",
        "published   v1.2.0",
        "run         succeeded",
    ]
    last = json.loads(nbship(*SUBMIT, "--wait", "--json")[0].splitlines()[-1])
    assert last["verdict"]["passed"] is True
    assert last["metrics"]["train.cv_rmse"] == 1
    assert last["version"] == "v1.2.0"


def test_a_result_that_cannot_be_read_changes_no_exit_code(server, root):
    for _ in range(2):
        server.advance.append(look("SUCCEEDED", gate="SUCCEEDED", rejected="SUCCEEDED"))
    output, code = nbship(*SUBMIT, "--wait")
    assert code == 3
    assert "the verdict's reasons and the metrics are on its page alone: http://localhost" in output
    assert "the logs of its steps cannot be read: have them archived" in output
    last = json.loads(nbship(*SUBMIT, "--wait", "--json")[0].splitlines()[-3])
    assert last["exit_code"] == 3
    assert "verdict" not in last


def test_without_its_logs_a_run_that_passed_is_said_to_have_passed(server, root, tmp_path):
    server.advance.append(look("SUCCEEDED", gate="SUCCEEDED", passed="SUCCEEDED"))
    output, code = nbship(*SUBMIT, "--wait", "--published", str(tmp_path / "published"))
    assert code == 0
    assert "gate        passed\nrun         succeeded\n" in output
    assert not (tmp_path / "published").exists()


def test_a_published_version_that_nobody_tells_is_a_failure(server, root, tmp_path):
    server.advance.append(look("SUCCEEDED", gate="SUCCEEDED", publish="SUCCEEDED"))
    with pytest.raises(NbshipError, match="line: which version the run published cannot be read"):
        nbship(*SUBMIT, "--wait", "--published", str(tmp_path / "published"))


def test_waiting_in_json_lines(server, root):
    server.advance = [look("RUNNING", prepare="RUNNING"), look("FAILED", prepare="FAILED")]
    output, code = nbship(*SUBMIT, "--wait", "--json")
    events = [json.loads(line) for line in output.splitlines()]
    (run,) = server.runs.values()
    assert code == 1
    assert [event["event"] for event in events] == ["submitted", "step", "step", "run"]
    assert events[0]["run"] == events[3]["run"] == run["run_id"]
    assert [event["state"] for event in events[1:]] == ["running", "failed", "FAILED"]
    assert events[3]["exit_code"] == 1


def test_a_token_that_is_refused(server, root, monkeypatch):
    monkeypatch.setenv("NBSHIP_KUBEFLOW_TOKEN", "another-secret-token")
    with pytest.raises(NbshipError, match=r"authentication failed \(401, auth: token\)") as failed:
        nbship(*SUBMIT)
    assert "another-secret-token" not in f"{failed.value.message}{failed.value.hint}"


def test_no_server(root, monkeypatch):
    monkeypatch.delenv("NBSHIP_KUBEFLOW_HOST")
    with pytest.raises(UsageError, match="no Kubeflow server is named"):
        nbship(*SUBMIT)


def test_runs_on_the_server(server, root):
    assert nbship("runs", "--remote", "line")[0] == "no runs of line there; start one: nbship submit line\n"
    nbship(*SUBMIT)
    nbship(*SUBMIT)
    names = [run["display_name"] for run in server.runs.values()]
    lines = nbship("runs", "--remote")[0].splitlines()
    assert [line[: len(names[0])] for line in lines] == names[::-1]
    (newest,) = json.loads(nbship("runs", "line", "--remote", "--limit", "1", "--json")[0])
    assert newest["name"] == names[1]
    assert newest["link"].startswith(server.address)


def test_a_schedule(server, root):
    arguments = ("schedule", "line", "--experiment", "main", "--cron")
    assert nbship(*arguments, "0 3 * * 1")[0].splitlines() == [
        "created",
        "line                  on      0 3 * * 1",
    ]
    assert nbship(*arguments, "0 4 * * 1")[0].startswith("updated\n")
    assert nbship(*arguments, "0 4 * * 1")[0].startswith("unchanged\n")
    assert nbship("schedule", "line", "--pause")[0] == "line                  paused  0 4 * * 1\n"
    assert json.loads(nbship("schedule", "--list", "--json")[0])["schedules"][0]["enabled"] is False
    assert nbship("schedule", "line", "--resume")[0] == "line                  on      0 4 * * 1\n"
    assert nbship("schedule", "line", "--delete")[0] == "deleted\n"
    assert nbship("schedule", "--list")[0].startswith("no schedules")


@pytest.mark.parametrize(
    "arguments",
    [(), ("line",), ("--pause",), ("line", "--pause", "--resume"), ("line", "--list", "--cron", "0 3 * * *")],
)
def test_what_about_the_schedule(root, arguments):
    with pytest.raises(UsageError, match="no action on the schedule is given"):
        nbship("schedule", *arguments)
