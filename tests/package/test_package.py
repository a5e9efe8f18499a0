"""Model packages: what is written, read back, and refused."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from nbship import package
from nbship.errors import NbshipError, UsageError
from nbship.gate import Verdict
from nbship.package.schema import to_table

ORIGIN = package.Origin(
    run="20250101-000000-abcd", started=datetime(2025, 1, 1, tzinfo=UTC), revision="c0ffee"
)


def make_rows(count: int = 60) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "weight": [1500 + 37 * i for i in range(count)],
            "power": [None if i == 7 else 60.5 + i for i in range(count)],
            "origin": [("usa", "japan", "europe")[i % 3] for i in range(count)],
            "name": [f"car {i}" for i in range(count)],
            "mpg": [40.0 - i / 3 for i in range(count)],
            "heavy": [i > count / 2 for i in range(count)],
        }
    )


def fit(estimator: Any, target: str, rows: pd.DataFrame) -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    transform = make_column_transformer(
        (numbers, ["weight", "power"]), (OneHotEncoder(handle_unknown="ignore"), ["origin"])
    )
    return make_pipeline(transform, estimator).fit(rows[["weight", "power", "origin"]], rows[target])


def build(folder: Path, model: Any, target: str, rows: pd.DataFrame, **changes: Any) -> package.Package:
    joblib.dump(model, folder / "fitted.joblib")
    rows.to_csv(folder / "train_set.csv", index=False)
    (folder / "package").mkdir(exist_ok=True)
    arguments: dict[str, Any] = {
        "name": "auto-mpg",
        "model": folder / "fitted.joblib",
        "reference": folder / "train_set.csv",
        "target": target,
        "origin": ORIGIN,
        "metrics": {"evaluate.rmse": 2.5, "evaluate.skew": float("nan")},
        "verdict": Verdict(passed=True, reasons=("first model",)),
    }
    return package.build(folder / "package", **{**arguments, **changes})


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return make_rows()


@pytest.fixture(scope="module")
def regression(rows: pd.DataFrame) -> Any:
    return fit(LinearRegression(), "mpg", rows)


def test_a_regression(tmp_path: Path, regression: Any, rows: pd.DataFrame) -> None:
    built = build(tmp_path, regression, "mpg", rows)
    assert package.read_package(tmp_path / "package") == built
    assert {column.name: column.type for column in built.inputs} == {
        "weight": "integer",
        "power": "number",
        "origin": "category",
    }
    assert (built.output.kind, built.output.target, built.output.classes) == ("regression", "mpg", [])
    assert built.output.reference.maximum == 40
    assert built.metrics == {"evaluate.rmse": 2.5}, "NaN is no JSON"
    assert built.rows == 60
    assert set(built.libraries) == {"python", "nbship", "scikit-learn", "numpy", "pandas", "joblib"}


def test_golden_records_are_what_the_loaded_model_predicts(
    tmp_path: Path, regression: Any, rows: pd.DataFrame
) -> None:
    build(tmp_path, regression, "mpg", rows)
    read = package.read_package(tmp_path / "package")
    model = package.load_model(tmp_path / "package")
    records = [golden.record for golden in read.golden]
    taken = [(record["weight"] - 1500) // 37 for record in records]
    assert taken == [0, 7, 15, 30, 44, 59], "from all over the table, and the one row with a missing value"
    assert records[1]["power"] is None
    predicted = model.predict(to_table(read.inputs, records)).tolist()
    assert predicted == [golden.prediction for golden in read.golden]
    assert predicted == pytest.approx(model.predict(rows)[taken].tolist())


def test_a_classification(tmp_path: Path, rows: pd.DataFrame) -> None:
    built = build(tmp_path, fit(LogisticRegression(), "heavy", rows), "heavy", rows)
    assert (built.output.kind, built.output.classes) == ("classification", [False, True])
    assert built.output.probabilities
    assert built.golden[0].prediction is False
    assert sum(built.golden[0].probabilities) == pytest.approx(1)
    assert package.read_package(tmp_path / "package") == built


def test_the_description_is_json_for_any_reader(tmp_path: Path, regression: Any, rows: pd.DataFrame) -> None:
    build(tmp_path, regression, "mpg", rows)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = json.loads((tmp_path / "package/model.json").read_text(), parse_constant=refuse)
    assert read["format"] == 1
    assert read["origin"]["revision"] == "c0ffee"


def test_a_model_that_was_exchanged_is_not_unpickled(
    tmp_path: Path, regression: Any, rows: pd.DataFrame
) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    build(tmp_path, regression, "mpg", rows)
    joblib.dump(Trap(), tmp_path / "package/model.joblib")
    for read in (package.read_package, package.load_model):
        with pytest.raises(NbshipError, match=r"is not the model that model\.json describes"):
            read(tmp_path / "package")
    assert not (tmp_path / "sprung").exists()


def test_another_scikit_learn_is_refused(tmp_path: Path, regression: Any, rows: pd.DataFrame) -> None:
    build(tmp_path, regression, "mpg", rows)
    path = tmp_path / "package/model.json"
    description = json.loads(path.read_text())
    description["libraries"]["scikit-learn"] = "1.5.1"
    path.write_text(json.dumps(description))
    with pytest.raises(NbshipError, match=r"fitted with scikit-learn 1\.5\.1, and this is") as failure:
        package.load_model(tmp_path / "package")
    assert "scikit-learn==1.5.1" in failure.value.hint


@pytest.mark.parametrize("missing", ["model.joblib", "model.json"])
def test_half_a_package(tmp_path: Path, regression: Any, rows: pd.DataFrame, missing: str) -> None:
    build(tmp_path, regression, "mpg", rows)
    (tmp_path / "package" / missing).unlink()
    for read in (package.read_package, package.load_model):
        with pytest.raises(NbshipError, match=missing):
            read(tmp_path / "package")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}'])
def test_a_description_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(NbshipError, match="not a model's description"):
        package.read_package(tmp_path)


def test_a_model_made_of_what_only_its_notebook_knows(tmp_path: Path) -> None:
    script = "import joblib, sys\ndef transform(table): return table\njoblib.dump(transform, sys.argv[1])"
    path = tmp_path / "made-in-main.joblib"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    with pytest.raises(NbshipError, match=r"cannot be loaded outside its notebook: .*transform"):
        package.build(tmp_path, "auto-mpg", path, tmp_path / "rows.csv", "mpg", ORIGIN, {}, None)


def test_what_cannot_predict_is_no_model(tmp_path: Path, rows: pd.DataFrame) -> None:
    with pytest.raises(NbshipError, match="a dict cannot predict"):
        build(tmp_path, {"slope": 1}, "mpg", rows)


def test_a_target_that_is_not_there(tmp_path: Path, regression: Any, rows: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match=r"train_set\.csv has no column 'mgp'") as failure:
        build(tmp_path, regression, "mgp", rows)
    assert failure.value.hint == "did you mean 'mpg'?"


def test_a_model_that_takes_its_target(tmp_path: Path, regression: Any, rows: pd.DataFrame) -> None:
    with pytest.raises(NbshipError, match="takes 'weight', which it is to predict"):
        build(tmp_path, regression, "weight", rows)


def test_a_reference_without_a_column_of_the_model(
    tmp_path: Path, regression: Any, rows: pd.DataFrame
) -> None:
    with pytest.raises(UsageError, match="no column 'power', which the model takes"):
        build(tmp_path, regression, "mpg", rows.drop(columns="power"))


def test_a_transform_left_outside_the_model(tmp_path: Path, rows: pd.DataFrame) -> None:
    model = LinearRegression().fit(rows[["weight"]].assign(origin=0.0), rows["mpg"])
    with pytest.raises(NbshipError, match="cannot predict a record of raw columns") as failure:
        build(tmp_path, model, "mpg", rows)
    assert "put every transform into the model" in failure.value.hint


@pytest.mark.parametrize(("text", "message"), [("mpg,weight\n", "has no rows"), ("", "not a CSV table")])
def test_a_reference_that_is_empty(
    tmp_path: Path, regression: Any, rows: pd.DataFrame, text: str, message: str
) -> None:
    (tmp_path / "empty.csv").write_text(text)
    with pytest.raises(NbshipError, match=message):
        build(tmp_path, regression, "mpg", rows, reference=tmp_path / "empty.csv")


def test_a_reference_of_one_row(tmp_path: Path, regression: Any, rows: pd.DataFrame) -> None:
    assert len(build(tmp_path, regression, "mpg", rows[:1]).golden) == 1
