"""Beginning a pipeline for a table: what is written, and that it works."""

import json

import joblib
import numpy as np
import pandas as pd
import pytest

from nbship import files
from nbship.config import load_pipeline
from nbship.errors import NbshipError, UsageError
from nbship.graph import read_graph
from nbship.linting import check_notebook
from nbship.versions import dvc
from nbship.workflow.compile import compile_pipeline
from nbship.workflow.new import begin, guess_task
from nbship.workflow.run import RunRequest, run
from tests.repositories import git
from tests.templates.tables import ROWS, flats, write


def listed(root):
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if not {".git", ".dvc"} & set(p.parts)}


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_what_is_written(project, task):
    begun = begin(project, "flats", task=task)
    assert list(begun.written) == [
        "data/flats.csv",
        "data/flats.csv.dvc",
        f"notebooks/shared/evaluate-{task}.ipynb",
        "notebooks/shared/compare-recipes.ipynb",
        *(f"notebooks/flats/{name}.ipynb" for name in ("experiment", "prepare", "train")),
        "pipelines/flats.yaml",
    ]
    assert dvc.state(project / "data/flats.csv") is dvc.FileState.SAME
    assert "data/flats.csv" not in git(project, "status", "--porcelain", "--untracked-files=all").split()
    assert list(read_graph(project, load_pipeline(project, "flats")).steps) == [
        "prepare",
        "train",
        "evaluate",
    ]
    for path in (project / "notebooks/flats").glob("*.ipynb"):
        assert check_notebook(path) == []
        cells = json.loads(path.read_text())["cells"]
        assert max(len(line.rstrip("\n")) for cell in cells for line in cell["source"]) <= 110
    assert "comp-train" in compile_pipeline(project, "flats").text


def test_the_shared_notebook_is_left_as_it_is(project, tmp_path):
    begin(project, "one")
    shared = project / "notebooks/shared/evaluate-regression.ipynb"
    shared.write_text(shared.read_text() + "\n")
    before = shared.read_text()
    begun = begin(project, "two", write(tmp_path / "mine.csv", flats()), "rent")
    assert shared.read_text() == before
    assert "notebooks/shared/evaluate-regression.ipynb" not in begun.written
    assert (project / "data/two.csv").read_bytes() == (tmp_path / "mine.csv").read_bytes()


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (np.arange(50) / 7, "regression"),
        (np.arange(50), "regression"),
        (list(range(12)) * 5, "regression"),  # rentals in an hour
        (list(range(10)) * 5, "classification"),  # digits
        ([str(i / 3) for i in range(49)] + ["?"], "regression"),
        ([0, 1] * 25, "classification"),
        ([0.0, 1.0, None] * 20, "classification"),
        ([0.5, 1.5] * 25, "classification"),
        (["a", "b"] * 25, "classification"),
        ([True, False] * 25, "classification"),
    ],
)
def test_the_task_follows_from_the_target(values, task):
    assert guess_task(pd.Series(values)) == task


def test_names_that_cannot_be_used(project, tmp_path):
    path = write(tmp_path / "a.csv", flats())
    begin(project, "taken")
    for name in ("taken", "Flats", "a_b", "a--b", "-a", "", "a/b", "x" * 51):
        before = listed(project)
        with pytest.raises(UsageError):
            begin(project, name, path, "rent")
        assert listed(project) == before


def test_a_table_without_names_is_told_apart_from_a_mistyped_name(project, tmp_path):
    path = tmp_path / "a.csv"
    flats().to_csv(path, index=False, header=False)
    with pytest.raises(UsageError, match="no column 'rent'") as caught:
        begin(project, "flats", path, "rent")
    assert caught.value.hint.startswith("the first line must name the columns, and is: ")


@pytest.mark.parametrize(
    ("changes", "target", "message"),
    [
        ({}, "rant", "no column 'rant'"),
        ({"rent": 1}, "rent", "is always 1"),
        ({"rent": [1.5] * 5 + [None] * (ROWS - 5)}, "rent", f"only 5 of {ROWS} rows"),
        ({"rent": [f"r{i}" for i in range(ROWS)]}, "rent", "not classes"),
        ({"Fläche m²": 1, "district": "a", "listed": range(ROWS)}, "rent", "no column to predict"),
    ],
)
def test_tables_that_teach_nothing_leave_nothing_behind(project, tmp_path, changes, target, message):
    before = listed(project)
    with pytest.raises(UsageError, match=message) as error:
        begin(project, "flats", write(tmp_path / "a.csv", flats(**changes)), target)
    assert error.value.hint
    assert listed(project) == before


@pytest.mark.parametrize("failing", [".dvc", "train.ipynb", "flats.yaml"])
@pytest.mark.parametrize("error", [NbshipError("the disk is full"), KeyboardInterrupt()])
def test_all_or_nothing(project, monkeypatch, failing, error):
    whole = files.write_text

    def write_text(path, text):
        if path.name.endswith(failing):
            raise error
        whole(path, text)

    before = listed(project)
    monkeypatch.setattr(files, "write_text", write_text)
    with pytest.raises(type(error)):
        begin(project, "flats")
    assert listed(project) == before
    monkeypatch.undo()
    begin(project, "flats")


def odd(kind):
    """A table with what nobody prepared."""
    random = np.random.default_rng(2)
    if kind == "mixed":
        table = flats(id=range(ROWS), same="x", empty=None, codes=["n/k", 1, 2] * (ROWS // 3)).astype(object)
        for column, (step, value) in enumerate([(7, "?"), (9, None), (11, "no date"), (13, None)]):
            table.iloc[::step, column] = value
        table["flag"] = [None if i % 5 == 0 else bool(i % 2) for i in range(ROWS)]
        return table, "rent"
    if kind == "wide":
        table = pd.DataFrame(random.normal(size=(ROWS, 200)).round(3)).add_prefix("column ")
        return table.assign(y=np.where(table["column 0"] + table["column 1"] > 0, "yes", "no")), "y"
    if kind == "text":
        words = ["good", "bad", "fine", "ugly", "car", "blue", "red"]
        texts = [" ".join(random.choice(words, random.integers(4, 12))) for _ in range(ROWS)]
        likes = [text.count("good") > text.count("bad") for text in texts]
        return pd.DataFrame({"review": texts, "stars": random.integers(1, 5, ROWS), "likes": likes}), "likes"
    table = pd.DataFrame({"u": random.normal(size=ROWS), "v": random.choice(["x", "y"], ROWS)})
    if kind == "alike":  # four different rows, each many times
        table["u"] = table["u"] > 0
        return table.assign(y=np.where(table["u"] ^ (random.random(ROWS) < 0.1), "a", "b")), "y"
    table["class"] = np.where(table["u"] > 0, 1.0, 0.0)  # rare: one row, three rows, and rows without
    table.loc[0, "class"], table.loc[1:3, "class"], table.loc[::10, "class"] = 2, 3, None
    return table, "class"


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["mixed", "wide", "text", "rare", "alike"])
def test_it_runs_and_passes_its_baseline_at_once(project, tmp_path, kind):
    table, target = odd(kind)
    begin(project, kind, write(tmp_path / "table.csv", table), target)

    record, folder = run(project, RunRequest(kind, ["train.trees=20", "train.folds=3"]))

    assert record.verdict is not None and record.verdict.passed
    assert record.metrics["train.cv_skill"] > 0.2
    model = joblib.load(folder / record.steps["train"].outputs["model"].path)
    rows = pd.read_csv(folder / record.steps["prepare"].outputs["train_set"].path)
    empty = rows[model.feature_names_in_].head(0).reindex(range(3))
    assert len(model.predict(empty)) == 3
