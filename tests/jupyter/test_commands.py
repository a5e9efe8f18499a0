"""The commands as Python functions, called as a script calls them, on a small project."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import joblib
import numpy as np
import pytest

import nbship
from nbship.errors import NbshipError, UsageError
from nbship.jupyter.arguments import as_choices, as_settings
from nbship.kernels import forkserver
from tests.engine import NAME, TRAIN, put_champion, write_points
from tests.projects import write_notebook


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    yield write_points(tmp_path_factory.mktemp("project"))
    forkserver.stop()


@pytest.fixture(autouse=True)
def root(project, monkeypatch):
    monkeypatch.chdir(project)
    return project


@pytest.fixture(scope="module")
def run(project):
    before = Path.cwd()
    os.chdir(project)
    try:
        return nbship.run(NAME)
    finally:
        os.chdir(before)


def test_a_run_gives_what_it_made_by_what_it_is(run):
    assert list(run) == [
        "prepare.rows",
        "prepare.count",
        "train.model",
        "evaluate.metrics",
        "evaluate.losses",
    ]
    assert run["prepare.rows"].columns.tolist() == ["x", "y"]
    assert run["prepare.count"] == 29
    assert run["train.model"] == 2.0
    assert run["evaluate.metrics"] == {"error": 1.0}
    assert "train.model" in run
    assert run.path("train.model").name == "model.json"
    assert (run.passed, run.state, run.pipeline) == (True, "done", NAME)
    assert run.metrics["evaluate.error"] == 1.0
    assert run.parameters == {"train.slope": 2.0}
    assert {path.suffix for path in run.notebooks.values()} == {".ipynb"}
    assert run.page.is_file()
    assert repr(run).startswith(f"Run {run.id} of points, ")


def test_a_run_is_found_again(run):
    assert nbship.Run.find(run.id)["train.model"] == 2.0


@pytest.mark.parametrize("name", ["train.modle", "model", "", "nothing.at.all"])
def test_what_a_run_did_not_make_is_told_with_what_it_did(run, name):
    with pytest.raises(UsageError) as caught:
        run[name]
    assert run.id in caught.value.message
    assert "train.model" in caught.value.hint


def test_a_file_that_is_not_what_the_run_made_is_not_loaded(run, tmp_path):
    """Else a pickle that somebody put there would run."""
    fired = tmp_path / "fired"

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (fired,))

    folder = tmp_path / "run"
    made = run.record.model_copy(deep=True)
    made.steps["train"].outputs["model"].path = "model.joblib"
    folder.mkdir()
    joblib.dump(Bomb(), folder / "model.joblib")
    other = nbship.Run(made, folder)
    with pytest.raises(NbshipError, match=r"model\.joblib: is not what the run made"):
        other["train.model"]
    assert not fired.exists()
    (folder / "model.joblib").unlink()
    with pytest.raises(NbshipError, match="No such file"):
        other["train.model"]


def test_a_rejected_model_is_a_run_as_well_and_everything_is_in_the_table(run, capsys):
    rejected = nbship.run(NAME, {"train.slope": 9.0}, jobs=2)
    told = [line.split()[:3] for line in capsys.readouterr().err.splitlines()]
    assert told[0] == ["≡", "prepare", "cached"]
    assert ["▸", "train", "running"] in told
    assert ["✓", "train", "done"] in told
    assert rejected.passed is False
    table = nbship.runs(NAME)
    assert table.index[0] == rejected.id
    first = table.loc[rejected.id]
    assert (first["verdict"], first["parameters.train.slope"]) == ("rejected", 9.0)
    assert first["metrics.evaluate.error"] == pytest.approx(rejected.metrics["evaluate.error"])
    assert str(table["started"].dtype).startswith("datetime64")
    assert nbship.runs(NAME, limit=1).shape[0] == 1
    differences = nbship.compare(run, rejected).set_index("name")
    assert differences.loc["train.slope", ["a", "b"]].tolist() == [2.0, 9.0]


def test_a_table_without_runs_has_its_columns(tmp_path, monkeypatch):
    monkeypatch.chdir(write_points(tmp_path))
    assert nbship.runs().columns.tolist() == ["pipeline", "started", "seconds", "state", "verdict"]
    with pytest.raises(UsageError, match="no pipeline 'other'"):
        nbship.runs("other")


def test_a_sweep_gives_its_table_and_the_best(root):
    found = nbship.sweep(NAME, {"train.slope": [2, 3, 9]}, metric="evaluate.error", goal="min")
    assert found.best == {"train.slope": 2.0}
    assert found.table["train.slope"].tolist() == [2.0, 3.0, 9.0]
    assert "train.slope" in found._repr_html_()


def test_a_pipeline_shows_itself(root):
    html = nbship.show(NAME, {"train.slope": 7})._repr_html_()
    assert "The pipeline points" in html
    assert "from prepare.rows" in html
    assert "7.0" in html


def test_what_a_command_finds_is_a_table(root):
    assert set(nbship.lint()["rule"]) == {"outputs", "editor-metadata", "unused-input"}


def test_failures_name_the_cell_and_a_wrong_name_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(write_points(tmp_path))
    write_notebook(tmp_path / "notebooks/train.ipynb", TRAIN, "1 / 0")
    with pytest.raises(NbshipError) as caught:
        nbship.run(NAME)
    shown = caught.value._render_traceback_()
    assert shown[0] == "error: step 'train': train.ipynb, cell 3: ZeroDivisionError: division by zero"
    assert shown[-1].startswith("hint:  the notebook so far: ")
    with pytest.raises(UsageError, match="no champion"):
        nbship.load_model(NAME)
    with pytest.raises(UsageError, match="wam"):
        nbship.run(NAME, kernel="wam")


def test_an_interrupted_run_ends_its_kernels_and_is_recorded(tmp_path, monkeypatch):
    root = write_points(tmp_path)
    monkeypatch.chdir(root)
    code = "import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(600)"
    write_notebook(root / "notebooks/train.ipynb", TRAIN, code)

    def interrupt() -> None:
        while not (root / "notebooks/begun").exists():
            threading.Event().wait(0.02)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        nbship.run(NAME)
    assert caught.value._render_traceback_()[0] == "interrupted; its kernels are ended"
    assert nbship.Run.find().state == "interrupted"


def test_settings_are_what_the_command_takes():
    values = {"a.b": "x=1", "a.c": 3, "a.d": True, "a.e": None, "a.f": {"k": [1.5]}, "a.g": np.float64(0.5)}
    assert as_settings(values) == ["a.b=x=1", "a.c=3", "a.d=true", "a.e=null", 'a.f={"k": [1.5]}', "a.g=0.5"]
    assert as_settings(["a.b=1"]) == ["a.b=1"]
    assert as_choices({"a.b": np.array([1, 2]), "a.c": ["x", "y"]}) == ["a.b=[1, 2]", 'a.c=["x", "y"]']
    for wrong in ("a.b=1", {"a.b": object()}):
        with pytest.raises(UsageError):
            as_settings(wrong)
    for wrong in ({"a.b": 3}, {"a.b": "xyz"}):
        with pytest.raises(UsageError):
            as_choices(wrong)


def test_a_champion_is_loaded_only_if_it_is_the_one_described(root):
    put_champion(root, 3.0)
    with pytest.raises(NbshipError, match=r"model\.json"):
        nbship.load_model(NAME)
