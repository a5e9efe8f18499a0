"""The iris notebooks on scikit-learn's own table: the smallest pipeline, and three classes to judge."""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
from tests.notebook_steps import ROOT, run_notebook

from nbship.config import load_pipeline
from nbship.local.execute import StepError
from nbship.versions import dvc

TABLE = Path(sklearn.datasets.__file__).parent / "data" / "iris.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("iris")


@pytest.fixture(scope="module")
def prepared(folder: Path) -> dict[str, Path]:
    return run_notebook("iris/prepare", folder, {"table": TABLE})[0]


@pytest.fixture(scope="module")
def model(folder: Path, prepared: dict[str, Path]) -> Path:
    paths, metrics = run_notebook("iris/train", folder, {"train_set": prepared["train_set"], "repeats": 2})
    assert metrics["cv_accuracy"] >= 0.93
    return paths["model"]


def test_the_table_is_the_file_in_the_installed_scikit_learn() -> None:
    data = load_pipeline(ROOT, "iris").data["table"]
    tracked = dvc.read(ROOT / data.path)
    assert tracked is not None
    assert tracked.size == TABLE.stat().st_size
    assert data.source is not None
    assert data.source.version == sklearn.__version__


def test_every_flower_is_on_one_side(prepared: dict[str, Path]) -> None:
    train, test = pd.read_csv(prepared["train_set"]), pd.read_csv(prepared["test_set"])
    assert len(train) + len(test) == 149  # one of the 150 is there twice
    assert len(train.merge(test)) == 0
    assert set(test["species"]) == {0, 1, 2}


def test_flowers_in_the_order_of_the_columns_are_versicolors(model: Path) -> None:
    pipeline = joblib.load(model)
    flowers = pd.DataFrame([[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]], columns=pipeline.feature_names_in_)
    assert pipeline.predict(flowers).tolist() == [1, 1]


def test_three_classes_are_judged(folder: Path, prepared: dict[str, Path], model: Path) -> None:
    values = {"test_set": prepared["test_set"], "model": model, "resamples": 50}
    paths, metrics = run_notebook("shared/evaluate-classification", folder, values)
    rows = pd.read_csv(prepared["test_set"])
    shares = joblib.load(model).predict_proba(rows[rows.columns[:-1]])
    own = shares[np.arange(len(rows)), rows["species"]]
    assert pd.read_csv(paths["losses"])["loss"].to_numpy() == pytest.approx(-np.log(own))
    assert metrics["accuracy"] == pytest.approx((shares.argmax(axis=1) == rows["species"]).mean())
    assert metrics["accuracy"] >= 0.85
    assert 0.9 < metrics["roc_auc"] <= 1
    assert "cost" not in metrics


def test_a_class_that_the_model_does_not_know_is_named(
    tmp_path: Path, prepared: dict[str, Path], model: Path
) -> None:
    stranger = tmp_path / "stranger.csv"
    pd.read_csv(prepared["test_set"]).assign(species=3).to_csv(stranger, index=False)
    with pytest.raises(StepError, match="does not know the class 3; it knows 0, 1, 2"):
        run_notebook("shared/evaluate-classification", tmp_path, {"test_set": stranger, "model": model})


def test_rows_that_are_alike_are_told_apart(tmp_path: Path, prepared: dict[str, Path], model: Path) -> None:
    twice = tmp_path / "twice.csv"
    rows = pd.read_csv(prepared["test_set"])
    pd.concat([rows, rows]).to_csv(twice, index=False)
    values = {"test_set": twice, "model": model, "resamples": 2}
    losses = pd.read_csv(run_notebook("shared/evaluate-classification", tmp_path, values)[0]["losses"])
    assert losses["row"].is_unique
    assert losses["loss"][: len(rows)].tolist() == losses["loss"][len(rows) :].tolist()


def test_prepare_refuses_a_table_that_is_not_it(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(TABLE.read_text().replace("5.1,3.5,1.4,0.2,0", "5.1,3.5,1.4,0.2,7", 1))
    with pytest.raises(StepError, match="a species is none of 0, 1, 2"):
        run_notebook("iris/prepare", tmp_path, {"table": wrong})
