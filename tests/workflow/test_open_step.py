"""Opening a step with its real inputs: Run All works at once, and nobody's own files are lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nbship.errors import NbshipError, UsageError
from nbship.kernels import forkserver
from nbship.notebook import read_notebook
from nbship.workflow.open_step import open_step
from tests.engine import NAME, TRAIN, TRAIN_CODE, nbship, run_points, write_points
from tests.projects import write_notebook


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = write_points(tmp_path_factory.mktemp("project"))
    record, _ = run_points(root)
    forkserver.stop()
    return root, record


@pytest.fixture
def root(run, tmp_path):
    """A copy of the project with its run."""
    return Path(shutil.copytree(run[0], tmp_path / "project"))


def run_all(notebook: Path) -> None:
    """What Jupyter's Run All does with the code, in the notebook's folder."""
    read = read_notebook(notebook)
    code = "\n".join([read.parameters_source, *read.code])
    subprocess.run([sys.executable, "-c", code], cwd=notebook.parent, check=True)


def test_run_all_works_at_once(root):
    build = root / "notebooks/build"
    opened = open_step(root, "evaluate")
    assert opened.notebook == root / "notebooks/evaluate.ipynb"
    assert sorted(opened.filled) == ["notebooks/build/model.json", "notebooks/build/rows.csv"]
    run_all(opened.notebook)
    assert json.loads((build / "metrics.json").read_text()) == {"error": 1.0}
    again = open_step(root, "evaluate")
    assert (again.filled, sorted(again.there)) == ((), sorted(opened.filled))


def test_a_data_file_goes_where_the_notebook_looks_and_outputs_have_a_folder(root):
    opened = open_step(root, "prepare")
    assert opened.filled == ("notebooks/data.csv",)
    run_all(opened.notebook)
    assert (root / "notebooks/build/rows.csv").read_text() == (root / "data.csv").read_text()


def test_what_is_filled_in_is_the_users_and_not_the_runs(root, run):
    open_step(root, "train")
    mine = root / "notebooks/build/rows.csv"
    mine.write_text("changed\n")
    made = run[1].steps["prepare"].outputs["rows"].path
    assert "changed" not in (root / "runs" / NAME / run[1].id / made).read_text()


def test_a_file_of_ones_own_stays_unless_one_says_so(root):
    own = root / "notebooks/build/model.json"
    own.parent.mkdir()
    own.write_text("77")
    with pytest.raises(UsageError, match=r"notebooks/build/model\.json: is there already") as caught:
        open_step(root, "evaluate")
    assert "--replace" in caught.value.hint
    assert own.read_text() == "77"
    assert not (own.parent / "rows.csv").exists()
    assert "notebooks/build/model.json" in open_step(root, "evaluate", replace=True).filled
    assert json.loads(own.read_text()) == 2.0


def test_what_another_run_made_is_replaced(root):
    open_step(root, "evaluate")
    record, _ = run_points(root, "train.slope=3.0")
    forkserver.stop()
    opened = open_step(root, "evaluate")
    assert (opened.run, opened.filled) == (record.id, ("notebooks/build/model.json",))
    assert open_step(root, "train").parameters == {"slope": 3.0}


def test_a_step_that_failed_is_the_one_to_open(root):
    write_notebook(root / "notebooks/train.ipynb", TRAIN, "1 / 0")
    with pytest.raises(NbshipError):
        run_points(root)
    forkserver.stop()
    write_notebook(root / "notebooks/train.ipynb", TRAIN, TRAIN_CODE)
    opened = open_step(root, "train")
    assert opened.filled == ("notebooks/build/rows.csv",)
    run_all(opened.notebook)


def test_a_file_of_the_run_that_was_changed_is_not_taken(root, run):
    made = root / "runs" / NAME / run[1].id / run[1].steps["prepare"].outputs["rows"].path
    made.chmod(0o644)
    made.write_text("other\n")
    with pytest.raises(NbshipError, match=r"rows\.csv: was changed after run"):
        open_step(root, "train")
    made.unlink()
    with pytest.raises(NbshipError, match="was removed after run"):
        open_step(root, "train")
    assert not (root / "notebooks/build").exists()


def test_which_step_and_which_run_is_told(root, run, tmp_path):
    with pytest.raises(UsageError) as caught:
        open_step(root, "trian")
    assert (caught.value.message, caught.value.hint) == ("no run has a step 'trian'", "did you mean 'train'?")
    with pytest.raises(UsageError, match="there is no run nothing"):
        open_step(root, "train", run_id="nothing")
    assert open_step(root, "train", run_id=run[1].id[:12], pipeline=NAME).run == run[1].id
    new = TRAIN + 'more: "Input[Dataset]" = "build/more.csv"  # new\n'
    write_notebook(root / "notebooks/train.ipynb", new, TRAIN_CODE)
    with pytest.raises(UsageError, match="no run got as far as step 'train' with all that"):
        open_step(root, "train")
    with pytest.raises(UsageError, match="no run has a step") as caught:
        open_step(write_points(tmp_path / "fresh"), "train")
    assert "nbship run" in caught.value.hint


def test_the_command_says_what_to_open(root):
    done = nbship("open", "evaluate", cwd=root / "notebooks")
    assert done.returncode == 0, done.stderr
    assert "filled    notebooks/build/model.json\n" in done.stdout
    assert "notebook  evaluate.ipynb\n" in done.stdout
    as_json = json.loads(nbship("open", "evaluate", "--json", cwd=root).stdout)
    assert as_json["notebook"] == os.fspath(root / "notebooks/evaluate.ipynb")
