"""What models of every kind take and give: published as what they are, or refused in words."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from nbship import package
from nbship.config import ColumnSettings
from nbship.errors import NbshipError, UsageError
from nbship.package import Package, schema
from nbship.package.records import Values, check
from nbship.package.reference import as_json_has_it, read_reference
from nbship.package.schema import describe_column
from nbship.serving import protocol
from nbship.serving.predictor import Predictor, load_predictor
from tests.package.packages import ORIGIN

NUMBERS = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "b"]).round(2)
TEXTS = pd.Series(np.random.default_rng(1).choice(["good film", "bad film", "ugly, bad"], 60), name="text")
KIND = pd.Series(np.where(NUMBERS["a"] > 0, "yes", "no"), name="y")


def published(folder: Path, model: Any, rows: pd.DataFrame, target: str = "y", **more: Any) -> Predictor:
    built(folder, model, rows, target, **more)
    return load_predictor(folder)


def built(folder: Path, model: Any, rows: pd.DataFrame, target: str = "y", **more: Any) -> Package:
    joblib.dump(model, folder / "fitted.joblib")
    rows.to_csv(folder / "rows.csv", index=False)
    paths = {"model": folder / "fitted.joblib", "reference": folder / "rows.csv"}
    return package.build(
        folder, name="m", target=target, origin=ORIGIN, metrics={}, verdict=None, **(paths | more)
    )


def ask(predictor: Predictor, *records: dict[str, Any]) -> Any:
    values = {c.name: [record.get(c.name) for record in records] for c in predictor.columns}
    checked = check(predictor.columns, values, len(records))
    assert not checked.errors.told
    return predictor.predict(checked)


def test_a_model_that_takes_a_series_of_texts(tmp_path: Path) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, KIND)
    predictor = published(tmp_path, model, pd.DataFrame({"id": range(60), "text": TEXTS, "y": KIND}))
    assert [(column.name, column.alone) for column in predictor.columns] == [("text", True)]
    asked = ["good film", "quite new", "bad"]
    predicted = ask(predictor, *({"text": text} for text in asked))
    assert predicted.values == model.predict(asked).tolist()
    assert [golden.prediction for golden in predictor.package.golden] == [
        model.predict([golden.record["text"]])[0] for golden in predictor.package.golden
    ]


def test_a_series_of_which_texts_must_be_known(tmp_path: Path) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, KIND)
    rows = pd.DataFrame({"title": TEXTS, "text": TEXTS, "y": KIND})
    with pytest.raises(NbshipError, match="does not say which: title, text") as failure:
        built(tmp_path, model, rows)
    assert "make_column_transformer" in failure.value.hint


@pytest.mark.parametrize("model", [Ridge(), MultiOutputClassifier(LogisticRegression())])
def test_several_targets_are_refused(tmp_path: Path, model: Any) -> None:
    targets = (NUMBERS > 0).astype(int).rename(columns={"a": "y", "b": "z"})
    with pytest.raises(NbshipError, match="the model predicts 2 columns at once") as failure:
        built(tmp_path, model.fit(NUMBERS, targets), NUMBERS.join(targets))
    assert failure.value.hint == "publish a model, and a pipeline, for each target"


def test_a_target_that_is_a_table_of_one_column(tmp_path: Path) -> None:
    targets = pd.DataFrame({"y": 2 * NUMBERS["a"]})
    predictor = published(tmp_path, LinearRegression().fit(NUMBERS, targets), NUMBERS.join(targets))
    assert predictor.package.golden[0].prediction == pytest.approx(targets["y"][0])
    assert ask(predictor, {"a": 1.0, "b": 0.0}).values == pytest.approx([2.0])


@pytest.mark.parametrize("model", [make_pipeline(StandardScaler(), KMeans(3)), GaussianMixture(3)])
def test_clusters_are_classes(tmp_path: Path, model: Any) -> None:
    predictor = published(tmp_path, model.fit(NUMBERS), NUMBERS, target="group")
    output = predictor.package.output
    assert (output.kind, output.classes, output.interval) == ("classification", [0, 1, 2], None)
    assert output.reference.name == "group"
    assert ask(predictor, *NUMBERS.to_dict("records")).values == model.predict(NUMBERS).tolist()


def test_anomalies_come_with_a_score(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), IsolationForest(n_estimators=5, random_state=0)).fit(NUMBERS)
    predictor = published(tmp_path, model, NUMBERS, target="ordinary")
    output = predictor.package.output
    assert (output.classes, output.scores, output.interval) == ([-1, 1], True, None)
    predicted = ask(predictor, {"a": 0.0, "b": 0.0}, {"a": 99.0, "b": 99.0})
    assert predicted.values == [1, -1]
    assert predicted.scores[1] < predicted.scores[0]
    answer = protocol.answer_v1(output, Values(2, {}, named=True), predicted)
    assert answer == {"predictions": [1, -1], "scores": predicted.scores}
    tensors = {each["name"]: each for each in protocol.answer_v2("m", "", output, {}, predicted)["outputs"]}
    assert tensors["scores"]["data"] == predicted.scores


def test_a_supervised_model_needs_its_target(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no column 'y'"):
        built(tmp_path, Ridge().fit(NUMBERS, NUMBERS["a"]), NUMBERS)


def test_classes_that_json_does_not_have(tmp_path: Path) -> None:
    model = LogisticRegression().fit(NUMBERS, KIND)
    model.classes_ = np.array([date(2024, 1, 1), date(2024, 1, 2)])
    with pytest.raises(NbshipError, match="the model's classes are of type date"):
        built(tmp_path, model, NUMBERS.join(KIND))


def test_classes_that_are_numbers_have_their_datatype(tmp_path: Path) -> None:
    predictor = published(
        tmp_path, LogisticRegression().fit(NUMBERS, [1.0, 2.0] * 30), NUMBERS.assign(y=[1.0, 2.0] * 30)
    )
    assert protocol.output_tensors(predictor.package.output)[0]["datatype"] == "FP64"


def test_what_is_missing_in_held_out_rows_may_be_missing(tmp_path: Path) -> None:
    """And what the model cannot do without may not, whatever is missing where."""
    inputs = make_column_transformer((SimpleImputer(), ["a"]), ("passthrough", ["b"]))
    model = make_pipeline(inputs, Ridge()).fit(NUMBERS, NUMBERS["b"])
    held_out = NUMBERS.assign(
        a=NUMBERS["a"].where(NUMBERS.index > 2), b=NUMBERS["b"].where(NUMBERS.index > 9)
    )
    held_out.to_csv(tmp_path / "test.csv", index=False)
    (tmp_path / "pictures.csv").mkdir()
    paths = [tmp_path / "test.csv", tmp_path / "pictures.csv", tmp_path / "gone.csv"]
    predictor = published(tmp_path, model, NUMBERS.assign(y=NUMBERS["b"]), held_out=paths)
    assert {c.name: (c.missing, c.missing_held_out, c.required) for c in predictor.columns} == {
        "a": (0, 3, False),
        "b": (0, 0, True),
    }
    assert predictor.compiled.session, predictor.compiled.why_not
    expected = model.predict(pd.DataFrame({"a": [np.nan, 0.1], "b": [0.1, 0.2]}))
    assert ask(predictor, {"b": 0.1}, {"a": 0.1, "b": 0.2}).values == pytest.approx(expected, abs=1e-4)


def test_an_infinite_number_is_in_no_golden_record(tmp_path: Path) -> None:
    rows = NUMBERS.assign(y=KIND)
    tame = FunctionTransformer(np.clip, kw_args={"a_min": -9, "a_max": 9})
    model = make_pipeline(tame, LogisticRegression()).fit(NUMBERS, KIND)
    rows.loc[[0, 59], "a"] = np.inf
    golden = built(tmp_path, model, rows).golden
    assert len(golden) == 5
    assert all(np.isfinite(each.record["a"]) for each in golden)


def test_whole_numbers_are_typed_as_in_training_whatever_else_is_asked(tmp_path: Path) -> None:
    """A model that writes numbers as text would otherwise see 8 alone, and 8.0 beside a missing value."""
    rows = pd.DataFrame({"cyl": [4, 6, None] * 20, "n": range(60), "y": KIND})
    words = FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": str})
    model = make_pipeline(words, OneHotEncoder(handle_unknown="ignore"), LogisticRegression(C=1e3))
    predictor = published(tmp_path, model.fit(rows[["cyl", "n"]], KIND), rows)
    record = {"cyl": 4, "n": 7}
    alone, together = ask(predictor, record), ask(predictor, record, {"cyl": None, "n": 8})
    expected = model.predict_proba(rows[["cyl", "n"]].assign(cyl=4.0, n=7))[0, 0]
    assert [alone.probabilities[0][0], together.probabilities[0][0]] == pytest.approx([expected] * 2)


def test_an_optional_gap_changes_nothing_for_the_other_records(tmp_path: Path) -> None:
    rows = pd.DataFrame({"cyl": [4, 6, 8] * 20, "flag": [True, False] * 30, "y": KIND})
    inputs = rows[["cyl", "flag"]]
    words = FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": str})
    model = make_pipeline(words, OneHotEncoder(handle_unknown="ignore"), LogisticRegression(C=1e3))
    optional = {"cyl": ColumnSettings(optional=True), "flag": ColumnSettings(optional=True)}
    predictor = published(tmp_path, model.fit(inputs, KIND), rows, columns=optional)
    records: list[dict[str, Any]] = [{"cyl": 4, "flag": True}, {"cyl": None, "flag": True}]
    records += [{"cyl": 6, "flag": None}, {"cyl": 8, "flag": False}, {}, {"cyl": 4, "flag": False}]
    together = ask(predictor, *records)
    alone = [ask(predictor, record) for record in records]
    assert together.values == [each.values[0] for each in alone]
    assert together.probabilities[0] == pytest.approx([each.probabilities[0][0] for each in alone])
    expected = model.predict_proba(pd.DataFrame({"cyl": [4, 8, 4], "flag": [True, False, False]}))[:, 0]
    assert [together.probabilities[0][at] for at in (0, 3, 5)] == pytest.approx(expected)


def test_whole_numbers_beyond_53_bits_keep_their_digits() -> None:

    column = schema.Column(name="id", type="integer", minimum=0, maximum=2.0**62)
    table = schema.to_table([column], [{"id": 2**60 + 1}, {"id": 3}])
    assert isinstance(table, pd.DataFrame)
    assert table["id"].tolist() == [2**60 + 1, 3]


def test_a_table_that_is_not_text_becomes_what_json_has() -> None:
    table = pd.DataFrame(
        {
            "day": pd.to_datetime(["2024-01-31", None, "2024-02-01"]),
            "choice": pd.Categorical(["x", "y", None]),
            "code": pd.Categorical([1, 2, 1]),
            "price": [Decimal("1.5"), None, Decimal("2.5")],
            "birth": [date(1999, 12, 31), None, None],
            "whole": pd.array([1, None, 3], dtype="Int64"),
            "small": np.array([1, 2, 3], dtype="float32"),
            "flag": [True, False, True],
            3: ["a", "b", "c"],
        }
    )
    found = as_json_has_it(table)
    assert {name: describe_column(found[name]).type for name in found} == {
        "day": "text",
        "choice": "text",
        "code": "integer",
        "price": "number",
        "birth": "text",
        "whole": "integer",
        "small": "number",
        "flag": "boolean",
        "3": "text",
    }
    assert found["day"].tolist()[0] == "2024-01-31"
    gaps = {"day": 1, "choice": 1, "price": 1, "birth": 2, "whole": 1}
    assert {name: count for name, count in found.isna().sum().items() if count} == gaps


def test_a_parquet_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = NUMBERS.assign(y=KIND, when=pd.Timestamp("2024-01-31"))
    model = make_pipeline(make_column_transformer(("passthrough", ["a"])), LogisticRegression())
    model.fit(rows[["a", "when"]], KIND)
    path = tmp_path / "rows.parquet"
    with monkeypatch.context() as without:
        for library in ("pyarrow", "fastparquet"):
            without.setitem(__import__("sys").modules, library, None)
        path.write_bytes(b"PAR1")
        with pytest.raises(NbshipError, match="no library here reads Parquet"):
            read_reference(path)
    pytest.importorskip("pyarrow")
    with pytest.raises(NbshipError, match="not a Parquet table"):
        read_reference(path)
    rows.to_parquet(path)
    found = built(tmp_path, model, rows, reference=path)
    assert found.golden[0].record == {"a": rows["a"][0], "when": "2024-01-31"}
