"""The auto-mpg notebooks on the real table: the bar they must reach, and what must not leak."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import nbformat
import pandas as pd
import papermill
import pytest

from nbship.config import load_pipeline
from nbship.local.artifacts import check_outputs
from nbship.local.execute import StepError, execute
from nbship.notebook import read_notebook
from nbship.workflow.data import ensure

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "notebooks" / "auto-mpg"


def run(name: str, folder: Path, values: Mapping[str, Any]) -> tuple[dict[str, Path], dict[str, Any]]:
    notebook = read_notebook(FOLDER / f"{name}.ipynb")
    paths = {
        key: folder / name / Path(output.default).name for key, output in notebook.signature.outputs.items()
    }
    given = {
        key: str(value) if isinstance(value, Path) else value for key, value in {**values, **paths}.items()
    }
    execute(notebook, given, folder / f"{name}.ipynb", kernel="nbship", folder=FOLDER)
    return paths, check_outputs(notebook, paths)


@pytest.fixture(scope="module")
def table() -> Path:
    return ensure(ROOT, load_pipeline(ROOT, "auto-mpg"))["table"]


@pytest.fixture(scope="module")
def prepared(table: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return run("prepare", tmp_path_factory.mktemp("prepare"), {"table": table})[0]


@pytest.fixture(scope="module")
def trained(
    prepared: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("train")
    paths, metrics = run("train", folder, {"train_set": prepared["train_set"]})
    return paths["model"], metrics


def test_every_car_is_on_one_side(table: Path, prepared: dict[str, Path]) -> None:
    train, test = pd.read_csv(prepared["train_set"]), pd.read_csv(prepared["test_set"])
    assert len(pd.merge(train, test)) == 0
    both = pd.concat([train, test]).sort_values(list(train)).reset_index(drop=True)
    whole = pd.read_csv(table).sort_values(list(train)).reset_index(drop=True)
    pd.testing.assert_frame_equal(both, whole[list(both)])


def test_a_held_out_car_stays_held_out_when_the_table_grows(
    table: Path, prepared: dict[str, Path], tmp_path: Path
) -> None:
    cars = pd.read_csv(table)
    new = cars.sample(20, random_state=0).assign(weight=lambda rows: rows["weight"] + 1, hp=None)
    grown = tmp_path / "grown.csv"
    pd.concat([new, cars]).sample(frac=1, random_state=1).to_csv(grown, index=False)
    again, _ = run("prepare", tmp_path, {"table": grown})
    before, after = pd.read_csv(prepared["test_set"]), pd.read_csv(again["test_set"])
    assert len(pd.merge(before, after)) == len(before)
    assert len(pd.merge(after, pd.read_csv(prepared["train_set"]))) == 0


@pytest.fixture(scope="module")
def trained_on_all(table: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run("train", tmp_path_factory.mktemp("whole"), {"train_set": table})[1]


def test_cross_validation_of_the_whole_table_reaches_the_bar(trained_on_all: dict[str, Any]) -> None:
    metrics = trained_on_all
    assert metrics["train_rows"] == 392
    assert metrics["cv_rmse"] <= 2.52
    assert metrics["cv_r2"] >= 0.89


def test_the_thresholds_hold_on_an_unlucky_fifth(trained_on_all: dict[str, Any]) -> None:
    metrics = trained_on_all
    gate = load_pipeline(ROOT, "auto-mpg").gate
    assert gate is not None
    assert (gate.thresholds["rmse"].max or 0) >= metrics["cv_rmse_worst"] > metrics["cv_rmse"]
    assert (gate.thresholds["r2"].min or 1) <= metrics["cv_r2_worst"] < metrics["cv_r2"]


def test_the_same_model_comes_out_twice(
    prepared: dict[str, Path], trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    paths, metrics = run("train", tmp_path, {"train_set": prepared["train_set"]})
    assert metrics == trained[1]
    cars = pd.read_csv(prepared["test_set"])
    first, second = joblib.load(trained[0]), joblib.load(paths["model"])
    assert (first.predict(cars) == second.predict(cars)).all()


@pytest.mark.parametrize("column", ["cyl", "displ", "hp", "weight", "accel", "yr", "origin"])
def test_the_model_takes_raw_columns_with_gaps(
    prepared: dict[str, Path], trained: tuple[Path, dict[str, Any]], column: str
) -> None:
    model = joblib.load(trained[0])
    car = pd.read_csv(prepared["test_set"]).head(1)[list(model.feature_names_in_)]
    assert column in model.feature_names_in_
    whole, gap = model.predict(car), model.predict(car.assign(**{column: float("nan")}))
    assert 5 < gap[0] < 60
    assert abs(gap[0] - whole[0]) < 15
    assert 5 < model.predict(car.assign(origin=7))[0] < 60


def test_evaluate_judges_the_held_out_cars(
    prepared: dict[str, Path], trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    paths, metrics = run(
        "../shared/evaluate-regression",
        tmp_path / "run",
        {"test_set": prepared["test_set"], "model": trained[0]},
    )
    cars, losses = pd.read_csv(prepared["test_set"]), pd.read_csv(paths["losses"])
    errors = cars["mpg"] - joblib.load(trained[0]).predict(cars)
    assert losses["row"].is_unique
    assert losses["loss"].to_numpy() == pytest.approx((errors**2).to_numpy())
    assert metrics["rmse"] == pytest.approx((errors**2).mean() ** 0.5)
    assert metrics["mae"] == pytest.approx(errors.abs().mean())
    for name in ("rmse", "mae", "r2"):
        assert metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"]
    executed = nbformat.read(tmp_path / "shared" / "evaluate-regression.ipynb", as_version=4)
    outputs = [output for cell in executed.cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda cars: cars.drop(columns="hp"), "no column hp"),
        (lambda cars: cars.assign(weight=cars["weight"] / 2.2), "weight is not from"),
        (lambda cars: cars.assign(mpg=cars["mpg"].where(cars.index > 3)), "mpg is missing in 4 rows"),
    ],
)
def test_prepare_refuses_a_table_that_is_not_it(table: Path, tmp_path: Path, change: Any, says: str) -> None:
    wrong = tmp_path / "wrong.csv"
    change(pd.read_csv(table)).to_csv(wrong, index=False)
    with pytest.raises(StepError, match=says):
        run("prepare", tmp_path, {"table": wrong})


@pytest.mark.e2e
def test_the_experiment_runs_on_a_small_setting(table: Path, tmp_path: Path) -> None:
    papermill.execute_notebook(
        FOLDER / "experiment.ipynb",
        tmp_path / "experiment.ipynb",
        {"table": str(table), "folds": 2, "repeats": 1},
        engine_name="nbship",
        kernel_name="nbship",
        progress_bar=False,
    )
