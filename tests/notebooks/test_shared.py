"""The notebooks that all pipelines share, on tables that are made for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tests.notebook_steps import run_notebook

from nbship.gate import Refits, compare_recipes, read_losses, read_refits


def table(count: int = 120) -> pd.DataFrame:
    random = np.random.default_rng(0)
    x, z = random.standard_normal((2, count))
    return pd.DataFrame({"x": x, "z": z, "y": 3 * x + z + random.standard_normal(count)})


def compared(folder: Path, candidate: Any, champion: Any, rows: pd.DataFrame, **values: Any) -> Refits:
    half = len(rows) // 2
    rows[:half].to_csv(folder / "train.csv", index=False)
    rows[half:].to_csv(folder / "test.csv", index=False)
    for name, model in (("candidate", candidate), ("champion", champion)):
        joblib.dump(model, folder / f"{name}.joblib")
    given = {
        "train_set": folder / "train.csv",
        "test_set": folder / "test.csv",
        "candidate": folder / "candidate.joblib",
        "champion": folder / "champion.joblib",
        "target": rows.columns[-1],
        "folds": 5,
        "repeats": 2,
    }
    return read_refits(run_notebook("shared/compare-recipes", folder, {**given, **values})[0]["refits"])


def fitted(model: Any, rows: pd.DataFrame, *columns: str) -> Any:
    return model.fit(rows[list(columns)], rows[rows.columns[-1]])


def test_recipes_are_fitted_again_to_the_same_folds(tmp_path: Path) -> None:
    rows = table()
    # As it was fitted, this one is useless; what counts is how it is made.
    spoilt = fitted(Ridge(1.0), rows.assign(y=0), "x", "z")
    refits = compared(tmp_path, spoilt, fitted(make_pipeline(StandardScaler(), Ridge(1.0)), rows, "x"), rows)
    assert refits.reason == ""
    assert [(fold.train_rows, fold.rows) for fold in refits.folds] == [(96, 24)] * 10
    comparison = compare_recipes(refits)
    assert comparison.outcome == "better"
    assert comparison.candidate == pytest.approx(1, abs=0.3)
    assert comparison.champion == pytest.approx(2, abs=0.5)


def test_equal_recipes_are_exactly_equal(tmp_path: Path) -> None:
    rows = table()
    models = (fitted(Ridge(1.0), part, "x", "z") for part in (rows, rows[:30]))
    comparison = compare_recipes(compared(tmp_path, *models, rows))
    assert (comparison.difference, comparison.outcome, comparison.power) == (0, "no worse", 1)


def test_classes_are_judged_by_their_log_loss(tmp_path: Path) -> None:
    rows = table().assign(y=lambda t: np.where(t["y"] > 0, "high", "low"))
    rows.loc[0, "y"] = "once"  # a class that most folds do not learn
    models = (fitted(LogisticRegression(C=c), rows, "x", "z") for c in (1.0, 1e-4))
    comparison = compare_recipes(compared(tmp_path, *models, rows))
    assert comparison.candidate < comparison.champion < 1.5


@pytest.mark.parametrize(
    ("champion", "values", "told"),
    [
        (Ridge(), {"most_rows": 100}, "of 120 rows, more than 100, recipes are not compared"),
        ("no model", {}, "the champion cannot be fitted again: "),
        (FrozenEstimator(fitted(Ridge(), table(), "x")), {}, "a part of it is fitted already"),
        (
            fitted(Ridge(), table().rename(columns={"z": "gone"}), "x", "gone"),
            {},
            "the champion cannot be fitted",
        ),
    ],
)
def test_what_cannot_be_fitted_again_is_told(
    tmp_path: Path, champion: Any, values: dict[str, Any], told: str
) -> None:
    refits = compared(tmp_path, fitted(Ridge(), table(), "x"), champion, table(), **values)
    assert refits.folds == ()
    assert told in refits.reason


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_rows_that_are_there_twice_are_judged_one_by_one(tmp_path: Path, task: str) -> None:
    rows = table(40)
    rows = pd.concat([rows, rows[:5], rows[:5]], ignore_index=True)
    model: Any = Ridge()
    if task == "classification":
        rows["y"], model = rows["y"] > 0, LogisticRegression()
    rows.to_csv(tmp_path / "test.csv", index=False)
    joblib.dump(fitted(model, rows, "x", "z"), tmp_path / "model.joblib")
    values = {"test_set": tmp_path / "test.csv", "model": tmp_path / "model.joblib", "target": "y"}
    values |= {"groups": ["x"], "unit": "m"} if task == "regression" else {"resamples": 20}
    paths, metrics = run_notebook(f"shared/evaluate-{task}", tmp_path, values)
    losses = read_losses(paths["losses"])
    assert len(losses) == metrics["rows"] == 50
    assert list(losses.values())[:5] == pytest.approx(list(losses.values())[-5:])


def test_images_that_are_there_twice_are_judged_one_by_one(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    image, label = random.integers(0, 255, (20, 28, 28), dtype="uint8"), np.arange(20) % 2
    image, label = np.concatenate([image, image[:3]]), np.concatenate([label, label[:3]])
    np.savez(tmp_path / "test.npz", image=image, label=label)
    flat = FunctionTransformer(np.reshape, kw_args={"shape": (-1, 784)})
    joblib.dump(make_pipeline(flat, DummyClassifier()).fit(image, label), tmp_path / "model.joblib")
    values = {"test_set": tmp_path / "test.npz", "model": tmp_path / "model.joblib", "resamples": 20}
    paths, metrics = run_notebook("fashion-mnist/evaluate", tmp_path, values)
    assert len(read_losses(paths["losses"])) == metrics["rows"] == 23
