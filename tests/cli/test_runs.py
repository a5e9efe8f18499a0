import json
import webbrowser
from datetime import UTC, datetime, timedelta

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from nbship.cli import runs as runs_command
from nbship.errors import UsageError
from tests.records import every_state, make_record, write_run

IDS = ("20260301-120000-aaaa", "20260301-130000-bbbb")


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/auto-mpg.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def two_runs(root):
    now = datetime.now(UTC)
    write_run(root, make_record(id=IDS[0], started=now - timedelta(hours=3)))
    record = every_state()["worse"].model_copy(update={"id": IDS[1], "started": now - timedelta(minutes=5)})
    record.steps["train"].parameters["folds"] = 5
    record.steps["train"].metrics["cv_rmse"] = 2.7
    write_run(root, record)
    return root


def nbship(*arguments):
    app = typer.Typer()
    app.callback()(lambda: None)
    runs_command.register(app)
    result = CliRunner().invoke(app, arguments, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.output


def lines(output):
    return [" ".join(line.split()) for line in output.splitlines() if line.strip()]


def test_list(two_runs):
    assert lines(nbship("runs")) == [
        "run when outcome took metrics page",
        f"{IDS[1]} 5 min ago rejected 4.20 s rmse 2.313, r2 0.9043 runs/auto-mpg/{IDS[1]}/index.html",
        f"{IDS[0]} 3 h ago passed 4.20 s rmse 2.313, r2 0.9043 runs/auto-mpg/{IDS[0]}/index.html",
        f"newest page: runs/auto-mpg/{IDS[1]}/index.html",
        f"open it: nbship runs open {IDS[1]}",
    ]


def test_the_pipeline_is_named_where_there_are_several(two_runs):
    write_run(two_runs, make_record(id="20260301-110000-cccc", pipeline="churn"))
    assert lines(nbship("runs"))[0].startswith("run pipeline when")
    assert lines(nbship("runs", "auto-mpg"))[0].startswith("run when")


def test_list_fits_a_terminal(two_runs, monkeypatch):
    terminal = Console(highlight=False, soft_wrap=True, force_terminal=True, width=80, no_color=True)
    monkeypatch.setattr(runs_command, "console", terminal)
    terminal.begin_capture()
    runs_command.list_runs()
    shown = terminal.end_capture()
    table = [line for line in shown.splitlines() if IDS[0] in line]
    assert len(table) == 1
    assert "rmse 2.313, r2 0.9043" in table[0]
    assert max(len(line.replace("\x1b[2m", "").replace("\x1b[0m", "")) for line in shown.splitlines()) <= 80


@pytest.mark.parametrize("arguments", [(), ("auto-mpg",), ("list", "auto-mpg")])
def test_list_as_json(two_runs, arguments):
    runs = json.loads(nbship("runs", *arguments, "--json"))
    assert [run["id"] for run in runs] == [IDS[1], IDS[0]]
    assert runs[0]["verdict"] == "rejected"
    assert runs[0]["metrics"] == {"rmse": 2.3127, "r2": 0.9043}
    assert datetime.fromisoformat(runs[0]["started"]).tzinfo
    assert runs[0]["page"] == f"runs/auto-mpg/{IDS[1]}/index.html"


def test_limit(two_runs):
    assert len(json.loads(nbship("runs", "--limit", "1", "--json"))) == 1


def test_no_runs_yet(root):
    assert nbship("runs") == "no runs yet; start one: nbship run NAME\n"
    assert nbship("runs", "auto-mpg") == "no runs of auto-mpg yet; start one: nbship run auto-mpg\n"
    assert nbship("runs", "--json") == "[]\n"


@pytest.mark.parametrize(("typed", "meant"), [("auto-mgp", "auto-mpg"), ("comapre", "compare")])
def test_a_mistyped_name(root, typed, meant):
    with pytest.raises(UsageError) as error:
        nbship("runs", typed)
    assert error.value.hint == f"did you mean '{meant}'?"


def test_compare(two_runs):
    shown = lines(nbship("runs", "compare"))
    assert shown[0].startswith(f"A {IDS[0]} auto-mpg, 20")
    assert shown[1].startswith(f"B {IDS[1]} auto-mpg, 20")
    assert shown[2:] == [
        "outcome",
        "A B",
        "verdict passed rejected",
        "parameters",
        "A B",
        "train.folds 10 5",
        "metrics",
        "A B",
        "train.cv_rmse 2.485 2.7 +8.6 %",
    ]


def test_compare_as_json(two_runs):
    found = json.loads(nbship("runs", "compare", IDS[0], "latest", "--json"))
    assert (found["a"], found["b"]) == IDS
    assert found["parameters"] == [{"name": "train.folds", "a": 10, "b": 5}]
    assert found["metrics"] == [{"name": "train.cv_rmse", "a": 2.4853, "b": 2.7}]
    assert found["data"] == found["code"] == found["steps"] == found["environment"] == []


def test_compare_shortens_hashes_and_marks_what_is_missing(two_runs):
    record = make_record(id="20260301-140000-cccc", champion=False)
    record.steps["prepare"].inputs["table"].hash = "f" * 64
    record.steps["train"].metrics["note"] = "[red]x[/]"
    write_run(two_runs, record)
    shown = lines(nbship("runs", "compare", IDS[0], "latest"))
    assert "evaluate-champion has it —" in shown
    assert any(line.startswith("table ") and line.endswith(" " + "f" * 12) for line in shown)
    assert "train.note — [red]x[/]" in shown


def test_nothing_differs(two_runs):
    assert nbship("runs", "compare", "latest", "latest").endswith(
        "\nnothing differs: same parameters, data, code, environment and metrics\n"
    )


def test_open_prints_the_path_and_opens_no_browser_in_a_pipe(two_runs, monkeypatch):
    monkeypatch.setattr(webbrowser, "open", pytest.fail)
    page = two_runs / "runs/auto-mpg" / IDS[0] / "index.html"
    page.touch()
    assert nbship("runs", "open", IDS[0]) == f"{page}\n"


def test_help_has_an_example_of_each(root):
    for command in ("list", "compare", "open"):
        assert "Example: nbship runs" in nbship("runs", command, "--help")
    assert "compare" in nbship("runs", "--help")
