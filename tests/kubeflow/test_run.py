"""Compiled pipelines run by KFP itself, on this machine."""

import json
from pathlib import Path

import pytest

import nbship
from nbship import files
from nbship.config import load_pipeline
from nbship.workflow.data import ensure
from tests.kubeflow.conftest import run_here
from tests.projects import TRAIN, TRAIN_CODE, graph_of, write_notebook, write_project

PROJECT = Path(nbship.__file__).parents[2]

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore")]


def logged(folder, step, artifact="metrics"):
    """The metrics that KFP's page would show."""
    output = json.loads((folder / step / "executor_output.json").read_text())
    return output["artifacts"][artifact]["artifacts"][0]["metadata"]


def test_it_measures_what_the_local_engine_measures(tmp_path, submit):
    root = write_project(tmp_path / "project")
    folder = submit(root, "line")

    assert logged(folder, "train-line") == run_here(root, "line")["train-line"]
    assert logged(folder, "train-line") == {"slope": pytest.approx(64 / 30 / 4), "rows": 4, "kind": "line"}
    assert json.loads((folder / "train-line/metrics").read_text()) == logged(folder, "train-line")
    assert "<title>Fit the line</title>" in (folder / "train-line/executed_notebook").read_text()


def test_parameters_are_taken_at_submission(tmp_path, submit):
    root = write_project(tmp_path / "project")
    folder = submit(root, "line", prepare_most=2, prepare_names=[])
    assert logged(folder, "train-line")["rows"] == 2


def test_a_failing_cell_fails_the_pipeline_and_its_notebook_is_kept(tmp_path, submit, capfd):
    root = write_project(tmp_path / "project")
    write_notebook(root / "notebooks/train.ipynb", TRAIN, "print('came so far')", "1 / 0", TRAIN_CODE)
    with pytest.raises(RuntimeError, match="train-line"):
        submit(root, "line")
    assert "error: train.ipynb, cell 4: ZeroDivisionError" in capfd.readouterr().out
    (page,) = (tmp_path / "kfp").glob("*/train-line/executed_notebook")
    assert "came so far" in page.read_text()


def test_texts_that_mean_something_to_shells_and_templates_arrive(tmp_path, submit):
    text = "\"\"\" ''' \\ $HOME `id` {{$}} {{workflow.name}} $$ $(HOME) %s größer 🚗 \t"
    root = write_project(
        tmp_path / "project", "name: line\nsteps: {only: {notebook: notebooks/prepare.ipynb}}\n"
    )
    parameters = f'note: str = {text!r}\nsaid: "Output[str]" = ""\nsize: "Output[bool]" = False'
    write_notebook(
        root / "notebooks/prepare.ipynb", parameters, f"said = {text!r}\nsize = said == note", text=text
    )
    graph = graph_of(root)
    assert graph.steps["only"].parameters == {"note": text}

    folder = submit(root, "line", only_note="set")

    assert (folder / "only/said").read_text() == text
    assert (folder / "only/size").read_text() == "false"


def test_auto_mpg_measures_what_the_local_engine_measures(tmp_path, submit):
    root = tmp_path / "project"
    ensure(PROJECT, load_pipeline(PROJECT, "auto-mpg"))
    for path in (
        "pipelines/auto-mpg.yaml",
        "data.csv.dvc",
        "data.csv",
        "notebooks/auto-mpg",
        "notebooks/shared",
    ):
        files.copy(PROJECT / path, root / path)
    path = root / "pipelines/auto-mpg.yaml"
    path.write_text(path.read_text().partition("\npublish:")[0])

    folder = submit(root, "auto-mpg")

    here = run_here(root, "auto-mpg")
    assert here["evaluate"]["rmse"] > 0
    assert {step: logged(folder, step) for step in ("train", "evaluate")} == {
        step: here[step] for step in ("train", "evaluate")
    }
    assert logged(folder, "gate")["verdict"] == "passed"
    assert logged(folder, "gate")["evaluate.rmse"] == here["evaluate"]["rmse"]
    assert (folder / "passed").is_dir()
