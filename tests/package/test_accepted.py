"""What a loaded model accepts: labels for values, and no number that it cannot predict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbship.config import ColumnSettings
from nbship.package.accepted import with_labels, with_limits
from nbship.package.records import LONGEST_TEXT, check
from nbship.package.schema import Column
from nbship.serving import openapi
from nbship.serving.errors import RequestError
from nbship.serving.model import PackagedModel
from nbship.serving.settings import ServerSettings
from tests.package.packages import make_cars, make_package, regression

ORIGINS = {"1": "USA", "2": "Europe"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PackagedModel:
    """One that takes logarithms, so that not every number has a prediction."""
    folder = tmp_path_factory.mktemp("accepted") / "cars"
    cars = make_cars().assign(origin=lambda cars: (cars["origin"] == "usa").astype(int) + 1)
    make_package(folder, regression(), cars=cars, columns={"origin": ColumnSettings(labels=ORIGINS)})
    model = PackagedModel(ServerSettings("cars", folder))
    model.load()
    return model


def test_a_label_stands_for_its_value(model: PackagedModel) -> None:
    body = {
        "instances": [{"weight": 3000, "power": 90, "origin": origin} for origin in (1, "USA", 2, "Europe")]
    }
    one, usa, two, europe = json.loads(model.predict_v1(json.dumps(body).encode()).body)["predictions"]
    assert (usa, europe) == (one, two)


@pytest.mark.parametrize(
    ("column", "aliases"),
    [
        (Column(name="a", type="integer", labels={"1": "x", "2": "x", "3": "y"}), {"y": 3}),
        (Column(name="a", type="integer", labels={"1": "2", "2": "two"}), {"two": 2}),
        (Column(name="a", type="number", labels={"1.5": "half more"}), {"half more": 1.5}),
        (Column(name="a", type="boolean", labels={"true": "yes"}, aliases={"yes": False}), {"yes": False}),
        (
            Column(name="a", type="category", categories={"m": 1, "f": 1}, labels={"m": "f", "f": "F"}),
            {"F": "f"},
        ),
        (Column(name="a", type="text"), {}),
    ],
)
def test_only_labels_that_are_clear_are_taken(column: Column, aliases: dict[str, Any]) -> None:
    assert with_labels(column).aliases == aliases


def test_numbers_that_cannot_be_predicted_are_found() -> None:
    columns = [
        Column(name="logarithm", type="number", minimum=10, maximum=20),
        Column(name="whole", type="integer", minimum=3, maximum=8),
        Column(name="reciprocal", type="number", minimum=-5, maximum=-1),
        Column(name="only these", type="number", minimum=1, maximum=2),
        Column(name="any", type="number", minimum=0, maximum=1),
        Column(name="word", type="category", categories={"a": 1}),
    ]

    def predict(values: Mapping[str, Sequence[Any]]) -> None:
        a, whole, b, c, _ = (np.array(values[column.name], dtype="float64") for column in columns[:5])
        made = np.log(a) + np.log(whole) + 1 / b + np.sqrt((c - 1) * (2 - c))
        if not np.isfinite(made).all():
            raise ArithmeticError

    typical = {"logarithm": 15.0, "whole": 4, "reciprocal": -2.0, "only these": 1.5, "any": 0.5, "word": "a"}
    found = {
        column.name: (column.lowest, column.highest) for column in with_limits(columns, predict, typical)
    }
    assert found == {
        "logarithm": (1e-9, 1e30),
        "whole": (1, 1e30),
        "reciprocal": (-1e30, -1e-9),
        "only these": (1, 2),
        "any": (-1e30, 1e30),
        "word": (None, None),
    }
    assert with_limits(columns, predict, typical | {"whole": -1}) == tuple(columns), "it says nothing then"


NUMBERS = st.sampled_from([0, -1, 1, 90, 1e-9, 1e-10, 1e30, -1e30, 1e300, -1e300, 2**70]) | st.floats(
    allow_nan=False, allow_infinity=False
)


@given(weight=NUMBERS, power=NUMBERS, origin=st.sampled_from(["USA", "usa", 1, 0, "1"]))
@settings(max_examples=150, deadline=None)
def test_the_document_and_the_server_agree(
    model: PackagedModel, weight: float, power: float, origin: Any
) -> None:
    record = {"weight": weight, "power": power, "origin": origin}
    schema = openapi.document("m", "v1", model.predictor.package, model.predictor.columns)["components"][
        "schemas"
    ]["Record"]
    try:
        model.predict_v1(json.dumps({"instances": [record]}).encode())
        refused = []
    except RequestError as error:
        refused = error.problems
        assert refused, "every refusal names a field"
    assert jsonschema.Draft202012Validator(schema).is_valid(record) == (not refused)


@pytest.mark.parametrize(("kind", "more"), [("text", {}), ("category", {"categories": {"a": 1}})])
def test_a_text_has_an_end(kind: Any, more: dict[str, Any]) -> None:
    """Words of 16 MB took a text model 800 MB."""
    column = Column(name="note", type=kind, **more)
    for length, reasons in ((LONGEST_TEXT, set()), (LONGEST_TEXT + 1, {"limit"})):
        found = check([column], {"note": ["a", "x" * length]}, 2)
        assert {problem.reason for problem in found.errors.told} == reasons


def test_zeros_are_refused_by_field(model: PackagedModel) -> None:
    body = {"instances": [{"weight": 0, "power": 0, "origin": 0}]}
    with pytest.raises(RequestError) as refused:
        model.predict_v1(json.dumps(body).encode())
    assert [problem.field for problem in refused.value.problems] == ["weight", "power"]
    assert refused.value.problems[0].problem == "is smaller than the model can predict, 1 at least"
