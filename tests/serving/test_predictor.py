"""Loaded models: the compiled one answers as the pipeline does, or is not asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from nbship import package
from nbship.config import ColumnSettings
from nbship.errors import NbshipError, UsageError
from nbship.package import DESCRIPTION, comparison, compilation, compiled
from nbship.package.prediction import Prediction
from nbship.package.records import check
from nbship.package.reference import read_reference
from nbship.package.schema import to_table
from nbship.serving.errors import RequestError
from nbship.serving.predictor import Predictor, load_predictor
from tests.package.packages import ORIGIN, classification, make_cars, make_images, make_package, regression


def predict(predictor: Predictor, *records: dict[str, Any]) -> Prediction:
    values = {c.name: [record.get(c.name) for record in records] for c in predictor.columns}
    return predictor.predict(check(predictor.columns, values, len(records)))


def records(count: int) -> list[dict[str, Any]]:
    cars = make_cars(count)[["weight", "power", "origin"]].astype(object)
    return cars.where(cars.notna(), None).to_dict("records")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("cars") / "cars"
    make_package(folder, regression())
    return load_predictor(folder)


@pytest.fixture(scope="module")
def buyers(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("buyers") / "cars"
    make_package(folder, classification(), "sells")
    return load_predictor(folder)


def test_a_compiled_regression_predicts_as_its_pipeline(cars: Predictor) -> None:
    assert cars.compiled.session, cars.compiled.why_not
    given = records(100)
    expected = cars.estimator.predict(to_table(cars.columns, given))
    assert predict(cars, *given).values == pytest.approx(expected.tolist(), rel=comparison.RELATIVE)


def test_a_compiled_vote_predicts_as_its_pipeline(buyers: Predictor) -> None:
    assert buyers.compiled.session, buyers.compiled.why_not
    given = records(100)
    table = to_table(buyers.columns, given)
    predicted = predict(buyers, *given)
    assert predicted.values == buyers.estimator.predict(table).tolist()
    assert np.allclose(
        predicted.probabilities, buyers.estimator.predict_proba(table).T, atol=comparison.PROBABILITY
    )


def test_golden_records_come_back(cars: Predictor, buyers: Predictor) -> None:
    for predictor in (cars, buyers):
        golden = predictor.package.golden
        predicted = predict(predictor, *(each.record for each in golden))
        if predictor is cars:
            assert predicted.values == pytest.approx([g.prediction for g in golden], rel=1e-4)
        else:
            assert predicted.values == [each.prediction for each in golden]


def test_what_is_unlike_training_is_answered_by_the_pipeline_itself(cars: Predictor) -> None:
    far = {"weight": 9000, "power": 99.5, "origin": "mars"}
    expected = cars.estimator.predict(to_table(cars.columns, [far])).tolist()
    assert predict(cars, far).values == expected, "not a digit differs"


def test_a_regression_comes_with_an_interval(cars: Predictor) -> None:
    interval = cars.package.output.interval
    assert interval is not None
    assert interval.coverage == pytest.approx(0.9, abs=0.03)
    predicted = predict(cars, *records(3))
    assert predicted.intervals == [interval.around(value) for value in predicted.values]
    around = zip(predicted.values, predicted.intervals, strict=True)
    assert all(low < value < high for value, (low, high) in around)
    fresh = make_cars(2000)[200:]
    table = fresh[["weight", "power", "origin"]]
    low, high = np.array([interval.around(value) for value in cars.estimator.predict(table)]).T
    inside = ((low <= fresh["mpg"]) & (fresh["mpg"] <= high)).mean()
    assert 0.8 < inside < 0.97, "it holds for rows that nobody has seen"


def test_a_model_that_differs_when_compiled_is_not_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_package(tmp_path / "cars", regression())
    monkeypatch.setattr(comparison, "RELATIVE", 0)
    monkeypatch.setattr(comparison, "OF_RANGE", 0)
    predictor = load_predictor(tmp_path / "cars")
    assert "predictions differ" in predictor.compiled.why_not
    given = records(5)
    assert (
        predict(predictor, *given).values
        == predictor.estimator.predict(to_table(predictor.columns, given)).tolist()
    )


def test_a_function_that_onnx_does_not_know_is_not_compiled(tmp_path: Path) -> None:
    model = regression()
    model.set_params(columntransformer__pipeline__functiontransformer__func=np.cbrt)
    make_package(tmp_path / "cars", model)
    predictor = load_predictor(tmp_path / "cars")
    assert "cbrt is not compiled" in predictor.compiled.why_not
    assert len(predict(predictor, *records(2)).values) == 2


def test_a_large_model_is_not_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "_BYTES_AT_MOST", 10)
    make_package(tmp_path / "cars", regression())
    assert load_predictor(tmp_path / "cars").compiled.why_not == "the model is too large"


def test_a_model_that_cannot_take_unseen_categories_has_them_refused(tmp_path: Path) -> None:
    make_package(tmp_path / "cars", regression(handle_unknown="error"))
    predictor = load_predictor(tmp_path / "cars")
    assert {c.name: c.unseen for c in predictor.columns}["origin"] == "refuse"


def test_what_the_model_cannot_predict_is_refused_by_record_and_field(cars: Predictor) -> None:
    broken = {"weight": 0, "power": 100.5, "origin": "usa"}  # whose logarithm is infinite
    with pytest.raises(RequestError, match=r"record 7, weight: cannot be predicted \(") as refused:
        predict(cars, *records(7), broken, *records(20))
    assert refused.value.status == 422
    (problem,) = refused.value.problems
    assert (problem.instance, problem.field, problem.given) == (7, "weight", 0)


def test_what_two_values_are_to_blame_for_is_refused_by_record(cars: Predictor) -> None:
    with pytest.raises(RequestError, match="record 1: the model cannot predict it: ") as refused:
        predict(cars, *records(1), {"weight": 0, "power": 0.0, "origin": "usa"})
    assert refused.value.problems == []


def test_a_failure_of_the_compiled_model_is_the_pipelines_business(cars: Predictor) -> None:
    class Failing:
        def run(self, *_: Any) -> Any:
            raise OSError("with the record in it")

    class Infinite:
        def run(self, *_: Any) -> Any:
            return [np.array([[np.inf]] * 3)]

    given = records(3)
    expected = cars.estimator.predict(to_table(cars.columns, given)).tolist()
    for session, name in ((Failing(), "OSError"), (Infinite(), "ArithmeticError")):
        predicted = predict(replace(cars, compiled=compiled.Compiled(session)), *given)
        assert (predicted.values, predicted.failure) == (expected, name)
        assert predicted.intervals
    assert predict(cars, *given).failure == ""


def test_words_of_the_pipeline_file_reach_the_columns(tmp_path: Path) -> None:
    known = {"weight": ColumnSettings(description="with a full tank", unit="lb", aliases={"heavy": 4000})}
    built = make_package(tmp_path / "cars", regression(), columns=known)
    weight = built.inputs[0]
    assert (weight.description, weight.unit, weight.aliases) == ("with a full tank", "lb", {"heavy": 4000})
    assert built.description == "Cars and what they burn."
    with pytest.raises(
        UsageError, match=r"publish\.columns: the model neither takes nor predicts a column 'wieght'"
    ) as failure:
        make_package(tmp_path / "cars", regression(), columns={"wieght": ColumnSettings()})
    assert failure.value.hint == "did you mean 'weight'?"


def test_a_model_of_images(tmp_path: Path) -> None:
    built = make_images(tmp_path / "images")
    (column,) = built.inputs
    assert (column.name, column.type, column.shape) == ("image", "array", (3, 2))
    assert built.output.classes == [0, 1]
    predictor = load_predictor(tmp_path / "images")
    predicted = predict(predictor, *(each.record for each in built.golden))
    assert predicted.values == [each.prediction for each in built.golden]
    bright, dark = ([[shade, 100], [100, 100], [100, 100]] for shade in (250, 2))
    assert predict(predictor, {"image": bright}, {"image": dark}).values == [1, 0]
    assert json.loads((tmp_path / "images" / DESCRIPTION).read_text())["golden"][0]["record"]["image"]


def test_arrays_beside_other_columns_are_refused(tmp_path: Path) -> None:
    model = make_pipeline(FunctionTransformer(), LogisticRegression())
    model.fit([[0.0], [1.0]], [0, 1])
    joblib.dump(model, tmp_path / "m.joblib")
    np.savez(tmp_path / "rows.npz", image=np.zeros((4, 2, 2)), size=np.arange(4), y=[0, 1, 0, 1])
    with pytest.raises(NbshipError, match="takes the array 'image' and other columns"):
        package.build(tmp_path, "m", tmp_path / "m.joblib", tmp_path / "rows.npz", "y", ORIGIN, {}, None)


def test_an_archive_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "rows.npz").write_text("weight,mpg\n1,2\n")
    with pytest.raises(NbshipError, match="not an archive of arrays of one length"):
        read_reference(tmp_path / "rows.npz")
    np.savez(tmp_path / "odd.npz", a=np.zeros(3), b=np.zeros(4))
    with pytest.raises(NbshipError, match="not an archive of arrays of one length"):
        read_reference(tmp_path / "odd.npz")
