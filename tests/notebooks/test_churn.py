"""The churn notebooks: the bar on the real table, and what must hold of any, on the made-up one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from pandas.util import hash_pandas_object
from tests.notebook_steps import ROOT, real_data, run_notebook

from nbship.config import load_pipeline
from nbship.local.execute import StepError

QUICK = {"folds": 2, "repeats": 1, "trees": 20}
AT_RISK = {
    "tenure": 1,
    "Contract": "Month-to-month",
    "PaymentMethod": "Electronic check",
    "MonthlyCharges": 95.75,
    "SeniorCitizen": 1,
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_notebook("churn/sample", tmp_path_factory.mktemp("sample"))[0]["table"]


@pytest.fixture(scope="module")
def prepared(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return run_notebook("churn/prepare", tmp_path_factory.mktemp("prepare"), {"table": sample})[0]


@pytest.fixture(scope="module")
def model(prepared: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = {"train_set": prepared["train_set"], **QUICK}
    return run_notebook("churn/train", tmp_path_factory.mktemp("train"), values)[0]["model"]


@pytest.fixture(scope="module")
def real_table() -> Path:
    return real_data("churn", "table")


@pytest.fixture(scope="module")
def trained_on_all(real_table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("real")
    sides, _ = run_notebook("churn/prepare", folder, {"table": real_table})
    whole = folder / "whole.csv"
    pd.concat([pd.read_csv(sides["train_set"]), pd.read_csv(sides["test_set"])]).to_csv(whole, index=False)
    paths, metrics = run_notebook("churn/train", folder, {"train_set": whole})
    return paths["model"], metrics


def test_cross_validation_reaches_the_bar(trained_on_all: tuple[Path, dict[str, Any]]) -> None:
    _, metrics = trained_on_all
    assert metrics["train_rows"] == 7043
    assert metrics["cv_roc_auc"] >= 0.849
    assert metrics["cv_pr_auc"] >= 0.666
    assert metrics["cv_log_loss"] <= 0.413


def test_the_thresholds_hold_on_an_unlucky_fifth(trained_on_all: tuple[Path, dict[str, Any]]) -> None:
    _, metrics = trained_on_all
    gate = load_pipeline(ROOT, "churn").gate
    assert gate is not None
    assert (gate.thresholds["roc_auc"].min or 1) <= metrics["cv_roc_auc_worst"] < metrics["cv_roc_auc"]
    assert (gate.thresholds["log_loss"].max or 0) >= metrics["cv_log_loss_worst"] > metrics["cv_log_loss"]


def test_a_new_customer_by_the_month_is_likely_to_leave(trained_on_all: tuple[Path, dict[str, Any]]) -> None:
    pipeline = joblib.load(trained_on_all[0])
    customer = pd.DataFrame([AT_RISK], columns=pipeline.feature_names_in_).astype(object)
    assert pipeline.predict(customer).tolist() == ["Yes"]
    loyal = customer.assign(tenure=60, Contract="Two year", MonthlyCharges=20, TotalCharges=1200)
    assert pipeline.predict(loyal).tolist() == ["No"]


def test_the_sample_has_the_words_of_the_real_table(sample: Path, real_table: Path) -> None:
    made, real = pd.read_csv(sample), pd.read_csv(real_table)
    assert list(made) == list(real)
    for column in set(real) - {"customerID", "tenure", "MonthlyCharges", "TotalCharges"}:
        assert set(made[column]) == set(real[column]), column
    assert not set(made["customerID"]) & set(real["customerID"])
    assert (made["TotalCharges"] == " ").sum() == (made["tenure"] == 0).sum() > 0


def test_the_same_sample_comes_out_twice(sample: Path, tmp_path: Path) -> None:
    again = run_notebook("churn/sample", tmp_path)[0]["table"]
    assert again.read_bytes() == sample.read_bytes()


def test_every_customer_is_on_one_side_and_stays_there(
    sample: Path, prepared: dict[str, Path], tmp_path: Path
) -> None:
    customers = pd.read_csv(sample)
    later = customers.assign(tenure=customers["tenure"] + 1, MonthlyCharges=50.0).sample(
        frac=1, random_state=0
    )
    later.loc[later["TotalCharges"] == " ", "TotalCharges"] = "50.0"
    later.to_csv(tmp_path / "later.csv", index=False)
    again, metrics = run_notebook("churn/prepare", tmp_path, {"table": tmp_path / "later.csv"})
    assert metrics["train_rows"] + metrics["test_rows"] == len(customers)
    held_out = hash_pandas_object(customers["customerID"], index=False) / 2**64 < 0.2
    for before, after in ((prepared["test_set"], held_out), (prepared["train_set"], ~held_out)):
        assert pd.read_csv(before)["tenure"].tolist() == customers.loc[after, "tenure"].tolist()
    assert len(pd.read_csv(again["test_set"])) == held_out.sum()
    assert "customerID" not in pd.read_csv(prepared["test_set"])


def test_the_model_takes_gaps_new_words_and_numbers_beyond(model: Path, prepared: dict[str, Path]) -> None:
    pipeline = joblib.load(model)
    customer = pd.read_csv(prepared["test_set"]).head(1)[list(pipeline.feature_names_in_)].astype(object)
    for column in customer:
        for value in (np.nan, "Telepathy" if isinstance(customer.at[0, column], str) else 9e9):
            chances = pipeline.predict_proba(customer.assign(**{column: [value]}).astype(object))
            assert chances.sum() == pytest.approx(1), column
            assert (chances > 1e-4).all(), column


def test_evaluate_measures_what_it_says(model: Path, prepared: dict[str, Path], tmp_path: Path) -> None:
    parameters = load_pipeline(ROOT, "churn").steps["evaluate"].parameters
    values = {"test_set": prepared["test_set"], "model": model, "resamples": 50, **parameters}
    paths, metrics = run_notebook("shared/evaluate-classification", tmp_path, values)
    rows, losses = pd.read_csv(prepared["test_set"]), pd.read_csv(paths["losses"])
    left = rows["Churn"] == "Yes"
    chance = joblib.load(model).predict_proba(rows)[:, 1]
    assert losses["row"].is_unique
    assert losses["loss"].to_numpy() == pytest.approx(-np.log(np.where(left, chance, 1 - chance)))
    assert metrics["log_loss"] == pytest.approx(losses["loss"].mean())
    pairs = chance[left][:, np.newaxis] - chance[~left]
    assert metrics["roc_auc"] == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2)
    assert metrics["cost"] == pytest.approx((5 * (left & (chance <= 0.2)) + (chance > 0.2)).mean())
    for name in ("accuracy", "log_loss", "roc_auc", "pr_auc"):
        assert metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"positive": "Maybe"}, "no class Maybe; it has No, Yes"),
        ({"costs": [[0, 1]]}, "costs: needs 2 lines of 2"),
    ],
)
def test_evaluate_refuses_what_does_not_fit_the_classes(
    model: Path, prepared: dict[str, Path], tmp_path: Path, values: dict[str, Any], says: str
) -> None:
    given = {"test_set": prepared["test_set"], "model": model, "target": "Churn", "resamples": 2, **values}
    with pytest.raises(StepError, match=says):
        run_notebook("shared/evaluate-classification", tmp_path, given)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows.drop(columns="Contract"), "no column Contract"),
        (lambda rows: rows.replace({"Contract": {"One year": "Three years"}}), "Contract is 'Three years'"),
        (lambda rows: rows.assign(tenure=-1), "tenure is not from 0 to 120 in row 1"),
        (lambda rows: rows.assign(TotalCharges=" ", tenure=3), "TotalCharges is not from"),
        (lambda rows: rows.assign(Churn=""), "Churn is ''"),
        (lambda rows: pd.concat([rows, rows.head(1)]), "is there twice"),
    ],
)
def test_prepare_refuses_a_table_that_is_not_it(sample: Path, tmp_path: Path, change: Any, says: str) -> None:
    wrong = tmp_path / "wrong.csv"
    change(pd.read_csv(sample)).to_csv(wrong, index=False)
    with pytest.raises(StepError, match=says):
        run_notebook("churn/prepare", tmp_path, {"table": wrong})


def test_the_numbers_of_older_clients_are_the_words_in_alphabetical_order(sample: Path) -> None:
    publish = load_pipeline(ROOT, "churn").publish
    assert publish is not None
    words = pd.read_csv(sample).drop(columns=["customerID", "TotalCharges", "Churn"])
    for column in words.select_dtypes(exclude="number"):
        expected = {str(code): word for code, word in enumerate(sorted(set(words[column])))}
        assert publish.columns[column].aliases == expected, column
