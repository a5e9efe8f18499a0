"""Sweeping parameters: what is run, what is chosen, what is written."""

import json
import shutil
import threading

import pytest

from nbship.errors import NbshipError, UsageError
from nbship.local.runner import STANDARD_KERNEL, Event, Options
from nbship.record import State
from nbship.workflow import sweep as workflow
from nbship.workflow.sweep import SweepRequest, sweep, write_best
from tests.projects import TRAIN, TRAIN_CODE, write_notebook, write_project

PIPELINE = """\
name: line  # fits a line
data: {table: {path: data.csv}}
steps:
  prepare: {notebook: notebooks/prepare.ipynb}
  train:
    notebook: notebooks/train.ipynb
    # tuned by hand
    parameters: {scale: 2.0}  # divides
publish: {model: train.model, reference: prepare.rows, target: y}
"""


MEASURE = 'json.dump({"cv_error": abs(slope - 1), "cv_error_std": 0.1}, open(metrics, "w"))\n'


@pytest.fixture
def line(tmp_path):
    """A project whose training measures how far the slope is from 1; it divides by the scale."""
    root = write_project(tmp_path, PIPELINE)
    write_notebook(root / "notebooks/train.ipynb", TRAIN, TRAIN_CODE + MEASURE)
    return root


def ran(events):
    return sorted(event.step for event in events if event.state is State.DONE)


@pytest.mark.e2e
def test_the_best_is_found_and_what_is_shared_is_run_once(line):
    events: list[Event] = []
    record, folder = sweep(line, SweepRequest("line", ["train.scale=1,2,4,0"], jobs=2), events.append)

    assert ran(events) == ["prepare", "train-1", "train-2", "train-3"]
    assert [trial.parameters["train.scale"] for trial in record.trials] == [2.0, 4.0, 1.0, 0.0]
    best, *_, failed = record.trials
    assert (record.metric, record.goal, record.state) == ("train.cv_error", "min", State.DONE)
    assert best.value is not None and best.value < 0.2 and best.spread == 0.1
    assert failed.state is State.FAILED and "ZeroDivisionError" in failed.error and failed.value is None
    assert json.loads((folder / "sweep.json").read_text())["trials"][0]["parameters"] == {"train.scale": 2.0}
    page = (folder / "index.html").read_text()
    assert "train.scale = 2" in page and "ZeroDivisionError" in page and "<svg" in page
    assert (folder / best.html).is_file()

    events.clear()
    again, _ = sweep(line, SweepRequest("line", ["train.scale=1,2,8"]), events.append)
    assert ran(events) == ["train-3"]
    assert again.trials[0].parameters == {"train.scale": 2.0}


@pytest.mark.e2e
def test_an_interrupted_sweep_tells_what_it_has_and_goes_on_later(line, monkeypatch):
    measured = threading.Event()

    def stop(event: Event) -> None:
        if event.step == "train-2" and event.state is State.RUNNING:
            measured.set()
            raise KeyboardInterrupt

    monkeypatch.setattr(
        workflow.runner, "Options", lambda **options: Options(**options, kernel=STANDARD_KERNEL)
    )
    with pytest.raises(KeyboardInterrupt):
        sweep(line, SweepRequest("line", ["train.scale=1,2"]), stop)
    assert measured.is_set()
    (folder,) = (line / "runs/line/sweeps").iterdir()
    assert json.loads((folder / "sweep.json").read_text())["state"] == "interrupted"
    events: list[Event] = []
    record, _ = sweep(line, SweepRequest("line", ["train.scale=1,2"]), events.append)
    assert "prepare" not in ran(events)
    assert record.best is not None


@pytest.mark.e2e
def test_the_best_is_written_and_nothing_else(line):
    before = (line / "pipelines/line.yaml").read_text()
    record, _ = sweep(line, SweepRequest("line", ["train.scale=2,4", "prepare.most=2"], goal="max"))
    assert record.trials[0].parameters == {"train.scale": 4.0, "prepare.most": 2}
    assert write_best(line, record) == "pipelines/line.yaml"
    after = (line / "pipelines/line.yaml").read_text()
    assert after == before.replace("scale: 2.0", "scale: 4.0").replace(
        "prepare.ipynb}", "prepare.ipynb, parameters: {most: 2}}"
    )


@pytest.mark.e2e
def test_where_nothing_can_be_measured(line):
    with pytest.raises(NbshipError, match="ZeroDivisionError"):
        sweep(line, SweepRequest("line", ["train.scale=0"]))
    with pytest.raises(NbshipError, match="no such metric") as error:
        sweep(line, SweepRequest("line", ["train.scale=1"], metric="train.cv_eror"))
    assert error.value.hint == "did you mean 'cv_error'?"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": []}, "nothing to vary"),
        ({"settings": ["train.scale"]}, "not of the form"),
        ({"settings": ["trian.scale=1"]}, "no step 'trian'"),
        ({"settings": ["train.scal=1"]}, "no parameter 'scal'"),
        ({"settings": ["train.scale=1,words"]}, "parameter 'scale' is 'words'"),
        ({"settings": ["train.scale=1"], "metric": "prepare.x"}, "does not depend on it"),
        ({"settings": ["train.scale=1"], "metric": "trian.x"}, "no step 'trian'"),
        ({"pipeline": "lin"}, "no pipeline 'lin'"),
    ],
)
def test_what_cannot_be_understood_is_told_before_anything_runs(line, changes, message):
    with pytest.raises(UsageError, match=message):
        sweep(line, SweepRequest(**{"pipeline": "line", "settings": ["train.scale=1"], **changes}))
    assert not (line / "runs").exists()


def test_a_pipeline_that_does_not_say_what_it_trains(line):
    path = line / "pipelines/line.yaml"
    path.write_text("".join(text for text in path.read_text().splitlines(True) if "publish" not in text))
    with pytest.raises(UsageError, match="which metric"):
        sweep(line, SweepRequest("line", ["train.scale=1"]))
    shutil.rmtree(line)


@pytest.mark.parametrize(
    ("metric", "goal"),
    [
        ("cv_rmse", "min"),
        ("cv_log_loss", "min"),
        ("roc_auc", "max"),
        ("cv_r2", "max"),
        ("cv_brier_score", "min"),
    ],
)
def test_whether_less_is_better_follows_from_the_name(metric, goal):
    assert workflow._goal(None, f"train.{metric}", None, []) == goal


def test_a_metric_whose_name_says_nothing():
    with pytest.raises(UsageError, match="more or less of"):
        workflow._goal(None, "train.wonder", None, [])
    assert workflow._goal("max", "train.wonder", None, []) == "max"
