"""The notebooks that are written for a table, run as they are: how they read, split and validate."""

import contextlib
import json

import joblib
import numpy as np
import pandas as pd
import pytest

from nbship.templates.splits import SplitWish
from nbship.workflow.new import begin
from tests.templates.tables import write

ROWS = 300
RANDOM = np.random.default_rng(5)
PLAIN = pd.DataFrame({"u": RANDOM.normal(size=ROWS), "v": RANDOM.choice(["a", "b", "c"], ROWS)})
CODES = [f"c{i:04}" for i in RANDOM.permutation(ROWS)]


@pytest.fixture(autouse=True)
def without_screen(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")


def execute(root, name, step, **values):
    """Runs the code of a notebook beside it, with other values of its parameters."""
    path = root / "notebooks" / name / f"{step}.ipynb"
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    names = {}
    with contextlib.chdir(path.parent):
        for cell in cells:
            exec("".join(cell["source"]), names)  # noqa: S102
            names |= values if "parameters" in cell["metadata"].get("tags", ()) else {}
    return names


def sides(root, name, **values):
    names = execute(root, name, "prepare", **values)
    return names["train"], names["test"]


def new(root, folder, table, target="y", task="regression", wish=None, suffix=".csv", **options):
    begun = begin(root, "mine", write(folder / f"table{suffix}", table, **options), target, task, wish)
    return " ".join(begun.notes)


@pytest.mark.parametrize("with_key", [True, False])
def test_new_columns_and_corrected_targets_move_no_row(project, tmp_path, with_key):
    table = PLAIN.assign(y=RANDOM.normal(size=ROWS), **({"code": CODES} if with_key else {}))
    new(project, tmp_path, table)
    _, before = sides(project, "mine")
    changed = table.assign(more=1).sample(frac=1, random_state=0)
    changed.loc[::2, "y"] += 1
    write(project / "data/mine.csv", changed)
    train, after = sides(project, "mine")
    assert sorted(after["u"]) == sorted(before["u"])
    assert 0.1 < len(after) / ROWS < 0.3
    assert not with_key or "code" not in train


def test_rows_with_equal_inputs_are_on_one_side(project, tmp_path):
    table = pd.concat([PLAIN] * 3, ignore_index=True)
    new(project, tmp_path, table.assign(y=RANDOM.normal(size=3 * ROWS)))
    train, test = sides(project, "mine")
    assert not {*train["u"]} & {*test["u"]}
    parts = execute(project, "mine", "train", trees=2, folds=3)["parts"]
    assert all(not {*train["u"].iloc[learn]} & {*train["u"].iloc[judge]} for learn, judge in parts)


def test_groups_that_the_model_would_know_by_heart_are_held_out_whole(project, tmp_path):
    who = np.repeat(np.arange(30), 10)
    noise = pd.DataFrame(RANDOM.normal(size=(ROWS, 3))[:, :3]).add_prefix("x").round(3)
    table = noise.assign(
        patient=who, age=RANDOM.integers(20, 80, 30)[who], sick=RANDOM.permutation(30)[who] % 2
    )
    assert "whole groups of 'patient'" in new(project, tmp_path, table, "sick", "classification")
    train, test = sides(project, "mine")
    assert not {*train["patient"]} & {*test["patient"]}
    names = execute(project, "mine", "train", trees=10, folds=3)
    assert names["result"]["cv_skill"] < 0.02
    assert "patient" not in names["vote"].feature_names_in_


@pytest.mark.parametrize("column", ["day", "number"])
def test_the_latest_rows_are_held_out(project, tmp_path, column):
    days = pd.date_range("2023-01-01", periods=ROWS // 2).repeat(2)
    table = PLAIN.assign(day=days.strftime("%d/%m/%Y"), number=np.arange(ROWS) // 2)
    table["y"] = table["number"] + RANDOM.normal(size=ROWS)
    new(project, tmp_path, table.sample(frac=1, random_state=0), wish=SplitWish(time=column))
    train, test = sides(project, "mine")
    assert train["number"].max() < test["number"].min()
    assert len(test) == pytest.approx(ROWS / 5, abs=2)
    parts = execute(project, "mine", "train", trees=2, folds=3)["parts"]
    assert len(parts) == 3
    for learn, judge in parts:
        assert train["number"].iloc[learn].max() < train["number"].iloc[judge].min()


def test_a_class_that_comes_late_does_no_harm(project, tmp_path):
    classes = np.repeat(np.array(["a", "b"], dtype=object), ROWS // 2)
    classes[: ROWS // 2 : 9] = "b"
    classes[ROWS // 3 :: 7], classes[-5:] = "late", "unseen"
    days = pd.date_range("2023-01-01", periods=ROWS).strftime("%Y-%m-%d")
    new(project, tmp_path, PLAIN.assign(day=days, y=classes), task="classification")
    _, test = sides(project, "mine")
    assert {*test["y"]} <= {"a", "b", "late"}
    assert np.isfinite(execute(project, "mine", "train", trees=2)["result"]["cv_log_loss"])


def test_money_is_a_number_and_the_target_may_be_money(project, tmp_path):
    numbers = RANDOM.lognormal(8, 1, ROWS).round(2)
    table = PLAIN.assign(
        price=[f"${n:,.2f}" for n in numbers], share=[f"{i / 10} %" for i in range(ROWS)], y=""
    )
    asked = (numbers * RANDOM.lognormal(0, 0.5, ROWS)).round(2)
    table["y"] = [f"{n:,.2f} €".translate(str.maketrans(",.", ".,")) for n in asked]
    notes = new(project, tmp_path, table, task="", sep="\t", suffix=".tsv")
    assert "regression of 'y'" in notes
    assert "like 1,234.5: price, share" in notes
    assert "like 1.234,5: y" in notes
    train, test = sides(project, "mine")
    found = pd.concat([train, test]).sort_index()
    assert found["price"].tolist() == numbers.tolist()
    assert found["share"].tolist() == [i / 10 for i in range(ROWS)]
    assert found["y"].tolist() == asked.tolist()


@pytest.mark.parametrize("suffix", [".csv.gz", ".parquet", ".xlsx"])
def test_formats_of_files(project, tmp_path, suffix):
    table = PLAIN.assign(day=pd.date_range("2023-01-01", periods=ROWS), y=RANDOM.normal(size=ROWS))
    path = tmp_path / f"odd name{suffix.replace('.csv.gz', '')}"
    if suffix == ".csv.gz":
        table.to_csv(path, index=False, compression="gzip")
    elif suffix == ".parquet":
        pytest.importorskip("pyarrow")
        table.assign(v=table["v"].astype("category"), many=[[1, 2]] * ROWS).to_parquet(path)
    else:
        pytest.importorskip("openpyxl")
        table.to_excel(path, index=False)
    begun = begin(project, "mine", path, "y", wish=SplitWish(time=None))
    assert begun.written[0] == f"data/mine{suffix}"
    train, test = sides(project, "mine")
    found = pd.concat([train, test]).sort_index()
    assert found["day"].tolist() == table["day"].dt.strftime("%Y-%m-%d").tolist()
    assert found["v"].tolist() == PLAIN["v"].tolist()
    execute(project, "mine", "experiment")


def test_what_was_noticed_stands_in_the_notebooks(project, tmp_path):
    target = np.where(PLAIN["u"] > 0, "yes", "no")
    table = PLAIN.assign(code=(target == "yes").astype(int), y=target)
    assert "'code' is 'y' in other words: left out." in new(project, tmp_path, table, task="classification")
    for step in ("experiment", "prepare"):
        cells = json.loads((project / f"notebooks/mine/{step}.ipynb").read_text())["cells"]
        assert any("`code` is `y` in other words" in "".join(cell["source"]) for cell in cells)
    assert "code" not in sides(project, "mine")[0]


def test_the_model_of_words_dates_and_gaps_takes_what_it_has_not_seen(project, tmp_path):
    days = pd.date_range("2023-01-01", periods=ROWS).strftime("%Y-%m-%d").to_series(index=range(ROWS))
    table = PLAIN.assign(town=RANDOM.choice([f"t {i}" for i in range(40)], ROWS), day=days, y=PLAIN["u"] * 2)
    table.loc[::7, ["u", "town", "day"]] = None
    new(project, tmp_path, table.assign(y=PLAIN["u"] * 2), wish=SplitWish(time=None))
    sides(project, "mine")
    names = execute(project, "mine", "train", trees=5, folds=3)
    model = joblib.load(project / "notebooks/mine/build/model.joblib")
    odd = pd.DataFrame({"u": [1.0, None], "v": ["zz", None], "town": ["T", None], "day": ["never", None]})
    assert np.isfinite(model.predict(odd)).all()
    assert 0 <= names["result"]["share_of_trees"] <= 1
