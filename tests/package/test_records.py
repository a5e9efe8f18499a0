"""Requests of both protocols: what is read from them, what is refused, what is flagged."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.package.prediction import Prediction
from nbship.package.records import CheckedValues, Values, check
from nbship.package.schema import Column, Output
from nbship.serving import protocol
from nbship.serving.errors import RequestError, error_content
from nbship.serving.model import warnings_header

COLUMNS = (
    Column(name="weight", type="integer", minimum=1500, maximum=5000, typical=2800, aliases={"heavy": 4000}),
    Column(name="power", type="number", minimum=40, maximum=230, missing=3),
    Column(name="origin", type="category", categories={"usa": 5, "japan": 3}, aliases={"1": "usa"}),
    Column(name="trim", type="category", categories={"base": 5, "sport": 3}, unseen="refuse", missing=1),
    Column(name="diesel", type="boolean", categories={"false": 9, "true": 1}, missing=1),
    Column(name="note", type="text", missing=1),
)
IMAGE = (Column(name="image", type="array", shape=(2, 3), minimum=0, maximum=255),)
FITS = {"weight": 3000, "power": 99.5, "origin": "usa", "trim": "base", "diesel": True, "note": "x"}


def read(content: Any, columns: tuple[Column, ...] = COLUMNS, limit: int = 100) -> CheckedValues:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    parsed = protocol.parse_json(body)
    parse = protocol.parse_v2 if isinstance(parsed.get("inputs"), list) else protocol.parse_v1
    values = parse(columns, parsed, limit)
    return check(columns, values.columns, values.rows)


def refused(content: Any, **arguments: Any) -> RequestError:
    with pytest.raises(RequestError) as error:
        read(content, **arguments)
    return error.value


def problems(**changes: Any) -> dict[str, str]:
    record = {name: value for name, value in (FITS | changes).items() if value is not ...}
    errors = read({"instances": [record]}).errors
    return {problem.field: f"{problem.problem}; {problem.accepted}" for problem in errors.told}


def tensor(
    name: str, data: list[Any], datatype: str = "FP64", shape: list[int] | None = None
) -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


def test_an_optional_column_may_be_left_out_though_no_row_lacked_it() -> None:
    optional = tuple(c.model_copy(update={"optional": c.name in ("weight", "origin")}) for c in COLUMNS)
    record = {name: value for name, value in FITS.items() if name not in ("weight", "origin")}
    assert not read({"instances": [record]}, optional).errors.told
    assert {e.field for e in read({"instances": [record]}).errors.told} == {"weight", "origin"}


def test_all_forms_mean_the_same() -> None:
    other = FITS | {"weight": 2000, "power": None, "diesel": None}
    forms: list[dict[str, Any]] = [
        {"instances": [FITS, other]},
        {"instances": [list(FITS.values()), list(other.values())]},
        {"instances": {name: [FITS[name], other[name]] for name in FITS}},
        {"instances": [{name: [value] for name, value in FITS.items()}, {n: [v] for n, v in other.items()}]},
        {"inputs": [tensor(name, [FITS[name], other[name]]) for name in FITS]},
        {"inputs": [tensor(name, [FITS[name], other[name]], shape=[2, 1]) for name in FITS]},
        {"inputs": [tensor("input-0", [*FITS.values(), *other.values()], shape=[2, 6])]},
        {"inputs": [tensor("input-0", [list(FITS.values()), list(other.values())], shape=[2, 6])]},
    ]
    for form in forms:
        found = read(form)
        assert found.rows == 2
        assert not found.errors.counts
        assert not found.flags.counts
        assert {n: list(v) for n, v in found.values.items()} == {n: [FITS[n], other[n]] for n in FITS}
        assert not found.complete, "a boolean is missing"


def test_missing_values_and_absent_ones_are_one() -> None:
    assert not problems(power=None, note=...)
    assert problems(weight=...) == {"weight": "is missing; a whole number, 1500 to 5000 in training"}
    assert problems(origin=None) == {"origin": "is missing; usa, japan"}


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("weight", "3000", "is text"),
        ("weight", True, "is true or false"),
        ("weight", 3000.5, "is not a whole number"),
        ("weight", [3000], "is a list"),
        ("power", {"a": 1}, "is an object"),
        ("power", 10**400, "is a number of too many digits"),
        ("origin", 2, "is a number"),
        ("trim", "sprot", "is a value that the model has not seen"),
        ("diesel", "true", "is text"),
        ("diesel", 1, "is a number"),
        ("note", 5, "is a number"),
    ],
)
def test_a_value_of_the_wrong_kind(field: str, value: Any, problem: str) -> None:
    assert problems(**{field: value})[field].startswith(f"{problem}; ")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_python_writes_for_no_number_is_told_by_field(value: str) -> None:
    body = json.dumps({"instances": [FITS]}).replace("99.5", value).encode()
    (problem,) = read(body).errors.told
    assert (problem.field, problem.problem) == ("power", "is not a finite number")


def test_categories_get_codes_if_all_are_known() -> None:
    two = [FITS, FITS | {"origin": "japan"}]
    assert list(read({"instances": two}).coded["origin"]) == [0, 1]
    for other in ("sweden", ["usa"], {"usa": 1}, 1.5):
        found = read({"instances": [FITS, FITS | {"origin": other}]})
        assert found.errors.counts or found.flags.counts
        assert found.coded["origin"] == ["usa", other]


def test_as_many_fields_as_there_are_may_be_the_wrong_ones() -> None:
    renamed = {("weigth" if name == "weight" else name): value for name, value in FITS.items()}
    (problem,) = refused({"instances": [FITS, renamed]}).problems
    assert (problem.instance, problem.field, problem.suggestion) == (1, "weigth", "weight")


def test_aliases_stand_for_values() -> None:
    found = read({"instances": [FITS | {"origin": code, "weight": "heavy"} for code in (1, 1.0, "1", "usa")]})
    assert not found.errors.counts
    assert found.values["origin"] == ["usa"] * 4
    assert found.values["weight"] == [4000] * 4


SWAPPED = (
    Column(name="origin", type="category", categories={"1": 5, "2": 3}, aliases={"1": "2", "usa": "1"}),
    Column(name="weight", type="integer", minimum=1, maximum=9, aliases={"1": 2, "30": 3, "light": 1}),
    Column(name="note", type="text", missing=1, aliases={"n/a": "none"}),
)
value = st.fixed_dictionaries(
    {
        "origin": st.sampled_from(["1", "2", "usa", 1, 1.0, "3"]),
        "weight": st.sampled_from([1, 1.0, 30, "light", 5, 50, "30"]),
        "note": st.sampled_from(["n/a", "x", None]),
    }
)


@given(st.lists(value, min_size=1, max_size=6))
def test_what_a_record_means_does_not_depend_on_the_others(batch: list[dict[str, Any]]) -> None:
    together = read({"instances": batch}, SWAPPED).values
    alone = [read({"instances": [record]}, SWAPPED).values for record in batch]
    for name in ("origin", "weight", "note"):
        assert list(together[name]) == [each[name][0] for each in alone]


def test_what_was_meant_is_looked_for_in_the_first_values_only(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_for: list[str] = []
    monkeypatch.setattr("difflib.get_close_matches", lambda text, *_, **__: looked_for.append(text) or [])
    found = read({"instances": [FITS | {"origin": "x" * 9000}] * 100})
    assert found.flags.counts == {("origin", "category"): 100}
    assert len(looked_for) == 20
    assert {len(text) for text in looked_for} == {80}


def test_a_refused_category_comes_with_a_suggestion() -> None:
    (problem,) = read({"instances": [FITS | {"trim": "sprot"}]}).errors.told
    assert (problem.suggestion, problem.accepted) == ("sport", "base, sport")


def test_an_unknown_field_comes_with_a_suggestion() -> None:
    error = refused({"instances": [FITS, FITS | {"wieght": 1}]})
    assert error.status == 422
    (told,) = error_content(error)["fields"]
    assert told == {
        "instance": 1,
        "field": "wieght",
        "given": 1,
        "problem": "the model takes no such field",
        "accepted": "weight, power, origin, trim, diesel, note",
        "suggestion": "weight",
    }
    named = {"inputs": [tensor(name, [value]) for name, value in FITS.items()] + [tensor("wieght", [1])]}
    assert refused(named).problems[0].suggestion == "weight"


def test_flags() -> None:
    found = read({"instances": [FITS, FITS | {"weight": 9000, "power": 10, "origin": "mars"}]})
    assert not found.errors.counts
    assert {(flag.instance, flag.field, flag.reason) for flag in found.flags.told} == {
        (1, "weight", "range"),
        (1, "power", "range"),
        (1, "origin", "category"),
    }


def test_flags_fit_into_a_header() -> None:
    strange = [FITS | {"origin": "é" * 500 + str(i)} for i in range(100)]
    found = read({"instances": strange})
    text = warnings_header(found.flags.told)
    assert len(text) <= 4000
    assert text.isascii()
    assert json.loads(text)[0]["field"] == "origin"
    assert found.flags.counts == {("origin", "category"): 100}


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b"\xff\xfe", 400),
        (b"[1]", 400),
        ({}, 400),
        ({"instances": []}, 400),
        ({"instances": None}, 400),
        ({"instances": 5}, 400),
        ({"instances": "x"}, 400),
        ({"instances": [1, 2]}, 400),
        ({"instances": [FITS, [1]]}, 400),
        ({"instances": [[1, 2]]}, 422),
        ({"instances": {}}, 400),
        ({"instances": {"weight": [], "power": []}}, 400),
        ({"instances": {"weight": [1], "power": [1, 2]}}, 400),
        ({"instances": {"weight": 5}}, 400),
        ({"instances": [FITS] * 101}, 413),
        ({"instances": {"weight": [3000] * 101}}, 413),
        ({"inputs": []}, 400),
        ({"inputs": [5]}, 400),
        ({"inputs": [{"shape": [1]}]}, 400),
        ({"inputs": [tensor("weight", [1]), tensor("weight", [1])]}, 400),
        ({"inputs": [tensor("weight", [1], datatype="FLOAT")]}, 400),
        ({"inputs": [tensor("weight", [1]) | {"datatype": ["FP64"]}]}, 400),
        ({"inputs": [tensor("weight", [1], shape=[2])]}, 400),
        ({"inputs": [tensor("weight", [1], shape=[-1])]}, 400),
        ({"inputs": [tensor("weight", [1], shape=[True])]}, 400),
        ({"inputs": [tensor("weight", [1, 2]), tensor("power", [1])]}, 400),
        ({"inputs": [tensor("weight", [1] * 101)]}, 413),
        ({"inputs": [{"name": "weight", "shape": [0], "datatype": "FP64", "data": []}]}, 400),
        ({"inputs": [{"name": "x", "shape": [0, 6], "datatype": "FP64", "data": []}]}, 400),
        ({"inputs": [{"name": "x", "shape": [3, 0], "datatype": "FP64", "data": []}]}, 400),
        ({"inputs": [{"name": "weight", "shape": [1], "datatype": "FP64"}]}, 400),
        ({"inputs": [tensor("x", [1, 2], shape=[1, 2])]}, 422),
    ],
)
def test_a_request_of_the_wrong_form(content: Any, status: int) -> None:
    error = refused(content)
    assert error.status == status
    assert len(error.message) < 400
    assert "\n" not in error.message


def test_arrays() -> None:
    image = [[0, 1, 2], [3, 4, 5]]
    for form in (
        {"instances": [{"image": image}]},
        {"instances": [image]},
        {"instances": [[image]]},
        {"instances": {"image": [image]}},
        {"inputs": [tensor("image", [0, 1, 2, 3, 4, 5], shape=[1, 2, 3])]},
    ):
        found = read(form, columns=IMAGE)
        assert not found.errors.counts
        assert found.values["image"].tolist() == [image]
    for wrong, problem in (
        ([[0, 1], [2, 3]], "has shape 2 × 2"),
        ([[0, 1, 2], [3]], "has lists of different lengths"),
        ([["a", "b", "c"]] * 2, "is not an array of numbers"),
        (None, "is missing"),
    ):
        (error,) = read({"instances": [{"image": wrong}]}, columns=IMAGE).errors.told
        assert error.problem == problem
    (flag,) = read({"instances": [{"image": [[0, 0, 0], [0, 0, 999]]}]}, columns=IMAGE).flags.told
    assert flag.problem == "has a number outside the training range"


def test_answers() -> None:
    reference = Column(name="y", type="category")
    output = Output(
        kind="classification", target="y", classes=["no", "yes"], probabilities=True, reference=reference
    )
    prediction = Prediction(["no", "yes"], [[0.75, 0.5], [0.25, 0.5]])
    named = Values(2, {}, named=True)
    assert msgspec.to_builtins(protocol.answer_v1(output, named, prediction)) == {
        "predictions": ["no", "yes"],
        "probabilities": [{"no": 0.75, "yes": 0.25}, {"no": 0.5, "yes": 0.5}],
    }
    bare = Values(2, {}, named=False)
    assert protocol.answer_v1(output, bare, prediction) == {"predictions": ["no", "yes"]}
    answer = protocol.answer_v2(
        "m", "v1", output, {"id": "7", "outputs": [{"name": "predict_proba"}]}, prediction
    )
    assert answer == {
        "model_name": "m",
        "model_version": "v1",
        "id": "7",
        "outputs": [
            {"name": "predict_proba", "datatype": "FP64", "shape": [2, 2], "data": [0.75, 0.25, 0.5, 0.5]}
        ],
    }
    assert protocol.answer_v2("m", "v1", output, {"id": "a\ud800"}, prediction)["id"] == "a?"
    for wanted in ("predict", [5], [{"name": 5}], [{"name": "interval"}]):
        with pytest.raises(RequestError):
            protocol.answer_v2("m", "v1", output, {"outputs": wanted}, prediction)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
nearly = st.fixed_dictionaries(
    {},
    optional={name: st.just(value) | anything for name, value in FITS.items()} | {"other": anything},
)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from([*FITS, "x"]) | anything,
        "shape": st.lists(st.integers(-1, 6), max_size=4) | anything,
        "datatype": st.sampled_from(["FP64", "BYTES"]) | anything,
        "data": st.lists(anything, max_size=7) | anything,
    },
)
requests = st.one_of(
    st.fixed_dictionaries({"instances": st.lists(nearly, max_size=3) | nearly | anything}),
    st.fixed_dictionaries({"inputs": st.lists(tensors, max_size=3) | anything}),
    anything,
)


@given(requests)
def test_no_request_does_more_harm_than_to_be_refused(content: Any) -> None:
    body = json.dumps(content).encode()
    for parse in (protocol.parse_v1, protocol.parse_v2):
        for columns in (COLUMNS, IMAGE):
            try:
                values = parse(columns, protocol.parse_json(body), 100)
            except RequestError as error:
                orjson.dumps(error_content(error))
                continue
            found = check(columns, values.columns, values.rows)
            for findings in (found.errors, found.flags):
                warnings_header(findings.told)
                orjson.dumps(error_content(RequestError(422, "", findings.told)))
            if not found.errors.counts:
                numbers = [n for n in found.values.get("power", []) if n is not None]
                assert all(math.isfinite(number) for number in numbers)
