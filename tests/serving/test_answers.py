"""Whatever a record holds, a model answers or says what is wrong; compiled or not, it answers the same."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from nbship import package
from nbship.config import load_pipeline
from nbship.package import comparison
from nbship.package.compiled import Compiled
from nbship.package.prediction import Prediction
from nbship.package.records import check
from nbship.package.schema import Column, Output, typical_record
from nbship.serving import metrics, openapi, protocol
from nbship.serving.errors import RequestError, error_content
from nbship.serving.model import Answer, PackagedModel, ServerSettings
from nbship.serving.predictor import Predictor
from tests.notebook_steps import NOTEBOOKS, ROOT, real_data, run_notebook
from tests.notebooks.test_churn import QUICK as QUICK_CHURN
from tests.notebooks.test_fashion_mnist import QUICK as QUICK_FASHION
from tests.package.packages import ORIGIN
from tests.package.tables import NASTY, TABLES, publish

UNLIKELY_NUMBERS = [0, -1, 1e308, -1e308, 5e-324, 3.5e38, 2**24 + 1, 2**53 + 1, 2**63, 10**30, 10**400]
UNLIKELY = [
    *UNLIKELY_NUMBERS,
    *(None, True, False, [], [1], {}, {"a": 1}, math.nan, math.inf, -math.inf),
    *("", " ", "nan", "NaN", "None", "inf", "1e999", "unseen", "0\0", "\ud800", "é\N{ROCKET}", "x" * 50_000),
    *("2024-02-30", "9999-12-31", "0000-00-00T25:61", "good bad ugly", "GOOD, bad?", "a\tb\nc"),
]


@pytest.fixture(scope="module", params=TABLES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PackagedModel:
    folder = tmp_path_factory.mktemp(request.param)
    publish(folder, request.param)
    return loaded(folder)


def loaded(folder: Path) -> PackagedModel:
    model = PackagedModel(ServerSettings("m", folder))
    model.load()
    return model


def values_of(column: Column, known: list[Any]) -> st.SearchStrategy[Any]:
    """Values of a column: mostly such as training had, so that others come through with them."""
    fit = [*known, *column.categories] if column.type != "boolean" else [True, False]
    usual: st.SearchStrategy[Any] = st.sampled_from(fit)
    if column.minimum is not None and column.maximum is not None and column.type != "array":
        ends = {"min_value": column.minimum, "max_value": column.maximum}
        whole = st.integers(math.ceil(ends["min_value"]), math.floor(ends["max_value"]))
        usual |= whole if column.type == "integer" else st.floats(**ends)
    return st.one_of(usual, usual, usual, st.sampled_from(UNLIKELY), st.text(max_size=9))


def records_of(predictor: Predictor) -> st.SearchStrategy[list[dict[str, Any]]]:
    golden = [each.record for each in predictor.package.golden]
    known = {c.name: [record[c.name] for record in golden] for c in predictor.columns}
    one = st.fixed_dictionaries({c.name: values_of(c, known[c.name]) for c in predictor.columns})
    return st.lists(one, min_size=1, max_size=3)


def assert_close(output: Output, one: Prediction, other: Prediction) -> None:
    if output.kind == "regression":
        spread = (output.reference.maximum or 0) - (output.reference.minimum or 0)
        assert np.allclose(one.values, other.values, comparison.RELATIVE, comparison.OF_RANGE * spread)
    elif output.probabilities:
        assert np.allclose(one.probabilities, other.probabilities, rtol=0, atol=comparison.PROBABILITY)
    else:
        assert one.values == other.values


def assert_no_harm(ask: Callable[[bytes], Answer], content: Any) -> None:
    try:
        answer = ask(json.dumps(content).encode())
    except RequestError as refused:
        assert 400 <= refused.status < 500
        assert json.dumps(error_content(refused), allow_nan=False)
    else:
        json.loads(answer.body, parse_constant=pytest.fail)


def assert_answered(model: PackagedModel, records: list[dict[str, Any]]) -> None:
    """That there is an answer, or a refusal of the sender's; and that the pipeline itself says the same."""
    assert_no_harm(model.predict_v1, {"instances": records})
    tensors = [
        {"name": c.name, "shape": [len(records)], "datatype": "BYTES", "data": [r[c.name] for r in records]}
        for c in model.predictor.columns
    ]
    assert_no_harm(model.predict_v2, {"inputs": tensors})
    body = json.dumps({"instances": records}).encode()
    try:
        values = protocol.parse_v1(model.predictor.columns, protocol.parse_json(body), 10)
    except RequestError:
        return
    checked = check(model.predictor.columns, values.columns, values.rows)
    if checked.errors.counts:
        return
    try:
        expected = replace(model.predictor, compiled=Compiled()).predict(checked)
    except RequestError:
        with pytest.raises(RequestError):
            model.predictor.predict(checked)
    else:
        assert_close(model.predictor.package.output, model.predictor.predict(checked), expected)


def ask_anything(model: PackagedModel, examples: int) -> None:
    @given(records_of(model.predictor))
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def ask(records: list[dict[str, Any]]) -> None:
        assert_answered(model, records)

    ask()


def test_any_record_is_answered_or_refused(model: PackagedModel) -> None:
    ask_anything(model, 25)


def test_each_unlikely_value_by_itself(model: PackagedModel) -> None:
    typical = typical_record(model.predictor.columns)
    for name in typical:
        for value in UNLIKELY:
            assert_no_harm(model.predict_v1, {"instances": [typical | {name: value}]})


COMPILED = ["words", "vote", "refusing", "around", "neighbours", "nasty", "empty", "clusters"]


def test_these_are_compiled(model: PackagedModel, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["model"]
    assert bool(model.predictor.compiled.session) is (name in COMPILED), model.predictor.compiled.why_not


def test_names_that_need_care_are_written_with_care(tmp_path: Path) -> None:
    publish(tmp_path, "nasty")
    nasty = loaded(tmp_path)
    record = nasty.predictor.package.golden[0].record
    assert list(record) == NASTY[:6]
    answer = json.loads(nasty.predict_v1(json.dumps({"instances": [record]}).encode()).body)
    assert set(answer["probabilities"][0]) == {'say "no"', "ye\\s\n"}
    assert nasty.predictor.package.output.target == NASTY[6]
    flagged = nasty.predict_v1(
        json.dumps({"instances": [record | {NASTY[0]: 1e9, NASTY[4]: "mauve"}]}).encode()
    )
    assert {flag["field"] for flag in json.loads(flagged.headers["nbship-warnings"])} == {NASTY[0], NASTY[4]}
    families = text_string_to_metric_families(metrics.exposition().decode())
    labels = {s.labels.get("field") for f in families for s in f.samples if "flagged" in s.name}
    assert {NASTY[0], NASTY[4]} <= labels
    document = openapi.document("m", "v1", nasty.predictor.package, nasty.predictor.columns)
    fields = json.loads(json.dumps(document))["components"]["schemas"]["Record"]["properties"]
    assert list(fields) == NASTY[:6]


def test_a_failure_of_the_compiled_model_is_counted_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing:
        def run(self, _: Any, feed: dict[str, Any], *options: Any) -> Any:
            raise ValueError(f"cannot predict {feed}")

    publish(tmp_path, "words")
    model = loaded(tmp_path)
    record = typical_record(model.predictor.columns)
    body = json.dumps({"instances": [record]}).encode()
    expected = json.loads(model.predict_v1(body).body)["predictions"]
    before = REGISTRY.get_sample_value("nbship_compiled_failures_total", {"model": "m"}) or 0
    model.predictor = replace(model.predictor, compiled=Compiled(Failing()))
    answers = [json.loads(model.predict_v1(body).body)["predictions"] for _ in range(3)]
    assert answers == [pytest.approx(expected, rel=comparison.RELATIVE)] * 3
    assert REGISTRY.get_sample_value("nbship_compiled_failures_total", {"model": "m"}) == before + 3
    assert "m: the compiled model failed: ValueError" in caplog.messages


def publish_own(folder: Path, name: str, quick: dict[str, Any]) -> None:
    """Packages the model of one of this project's pipelines, trained on less and for a shorter time."""
    pipeline = load_pipeline(ROOT, name)
    (table,) = pipeline.data
    if (NOTEBOOKS / name / "sample.ipynb").is_file():
        data = run_notebook(f"{name}/sample", folder)[0][table]
    else:
        data = real_data(name, table)
    sides = run_notebook(f"{name}/prepare", folder, {table: data})[0]
    trained = run_notebook(f"{name}/train", folder, {"train_set": sides["train_set"], **quick})[0]
    settings = pipeline.publish
    assert settings
    paths = {"model": trained["model"], "reference": sides["train_set"], "held_out": [sides["test_set"]]}
    about: dict[str, Any] = {"target": settings.target, "columns": settings.columns, "origin": ORIGIN}
    package.build(folder, name="m", metrics={}, verdict=None, **paths, **about)


@pytest.mark.parametrize(
    ("name", "quick"),
    [("auto-mpg", {}), ("churn", QUICK_CHURN), ("iris", {"repeats": 2}), ("fashion-mnist", QUICK_FASHION)],
)
def test_the_models_of_this_project(name: str, quick: dict[str, Any], tmp_path: Path) -> None:
    publish_own(tmp_path, name, quick)
    own = loaded(tmp_path)
    assert bool(own.predictor.compiled.session) is (name != "fashion-mnist"), own.predictor.compiled.why_not
    ask_anything(own, 10)
