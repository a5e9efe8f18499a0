"""Compiled pipelines run by KFP itself, on this machine."""

import json

import pytest

from tests.kubeflow.conftest import run_here
from tests.projects import TRAIN, TRAIN_CODE, graph_of, write_notebook, write_project

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
