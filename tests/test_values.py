import json
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nbship.values import SCALARS, TYPES, Text, ValueTypeError, check_value, describe, parse_text, parse_yaml

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
# JSON writes characters beyond these as two escapes, which YAML does not join.
WORDS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | INTEGERS | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
OF_TYPE = {
    "bool": st.booleans(),
    "dict": st.dictionaries(WORDS, PLAIN, max_size=3),
    "float": NUMBERS,
    "int": INTEGERS,
    "list": st.lists(PLAIN, max_size=3),
    "str": WORDS,
}
TYPED = st.sampled_from(TYPES).flatmap(lambda name: st.tuples(st.just(name), OF_TYPE[name]))


def same(one, other):
    """Equal, and of equal types all the way down: `1`, `1.0` and `True` are three things."""
    return json.dumps(one) == json.dumps(other)


@given(TYPED)
def test_a_value_of_its_type_stays_as_it_is(typed):
    name, value = typed
    assert same(check_value(name, value), value)


@given(TYPED)
def test_a_value_typed_as_json_reads_back(typed):
    name, value = typed
    text = value if name == "str" else json.dumps(value)
    assert same(check_value(name, Text(text)), value)


def test_a_key_of_json_may_be_longer_than_yaml_reads():
    assert check_value("dict", Text(json.dumps({"k" * 1100: 1}))) == {"k" * 1100: 1}
    with pytest.raises(ValueTypeError, match="cannot be read"):
        check_value("dict", Text('{"%s": 1, "a": 1, "a": 2}' % ("k" * 1100)))


@given(st.sampled_from(TYPES), st.text())
def test_any_text_is_a_value_of_the_type_or_an_error(name, text):
    try:
        value = check_value(name, Text(text))
    except ValueTypeError:
        assert name != "str" or any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)
        return
    assert type(value).__name__ == name
    json.dumps(value, allow_nan=False).encode()


@given(WORDS)
def test_text_for_a_string_stays_as_typed(text):
    value = check_value("str", Text(text))
    assert value == text
    assert type(value) is str


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("float", "1e-3", 0.001),
        ("float", "1E5", 1e5),
        ("float", "1.5e3", 1500.0),
        ("float", "-.5e-2", -0.005),
        ("float", "3", 3.0),
        ("int", "3", 3),
        ("int", "1_000", 1000),
        ("bool", "yes", True),
        ("list", "[1e-3, 1e3, 2]", [0.001, 1000.0, 2]),
        ("list", "['1e3', 2024-01-31]", ["1e3", "2024-01-31"]),
        ("dict", "{a: 1e-3, b: {c: x}}", {"a": 0.001, "b": {"c": "x"}}),
        ("str", "1e-3", "1e-3"),
        ("str", "'quoted'", "'quoted'"),
        ("str", "true", "true"),
        ("str", "a=b", "a=b"),
        ("str", "", ""),
    ],
)
def test_the_declared_type_decides_what_text_means(name, text, value):
    assert same(check_value(name, Text(text)), value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("int", True, "is True (bool)"),
        ("int", 1.0, "is 1.0 (float)"),
        ("float", False, "is False (bool)"),
        ("float", "1", "is '1' (str)"),
        ("str", 1, "is 1 (int)"),
        ("bool", 1, "is 1 (int)"),
        ("list", (1,), "is (1,) (tuple)"),
        ("int", None, "is None (NoneType)"),
        ("int", Text("3.5"), "is 3.5 (float)"),
        ("int", Text("three"), "is 'three' (str)"),
        ("list", Text("[1, 2"), "is '[1, 2', which cannot be read"),
        ("dict", Text("{a: 1, a: 2}"), "which cannot be read"),
        ("tuple", (1,), "is (1,) (tuple)"),
    ],
)
def test_another_type_is_an_error_that_shows_the_value(name, value, said):
    with pytest.raises(ValueTypeError) as error:
        check_value(name, value)
    assert str(error.value).endswith(said)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("float", math.nan),
        ("float", math.inf),
        ("float", Text("1e999")),
        ("float", Text(".nan")),
        ("float", 10**400),
        ("int", 2**63),
        ("int", -(2**63) - 1),
        ("list", [1, [math.inf]]),
        ("list", [{1}]),
        ("dict", {1: 2}),
        ("dict", {"a": {"b": b"c"}}),
        ("dict", {"\udc80": 1}),
        ("str", "\udcff"),
    ],
)
def test_what_json_or_utf8_cannot_write_is_an_error(name, value):
    with pytest.raises(ValueTypeError, match="holds something other than"):
        check_value(name, value)


def test_a_list_that_holds_itself_is_an_error():
    endless = []
    endless.append(endless)
    for value in (endless, Text("&a [*a]")):
        with pytest.raises(ValueTypeError, match="holds something other than"):
            check_value("list", value)


@pytest.mark.parametrize(
    "text",
    ["!!int a", "!!bool a", "0x_", "9" * 5000, "[" * 2000, "? [a]\n: b", "!!python/object:os.system x"],
)
def test_text_over_which_the_yaml_library_stumbles(text):
    with pytest.raises(ValueTypeError, match="cannot be read"):
        parse_text(text)


def test_a_key_written_twice_is_an_error_with_its_line():
    with pytest.raises(yaml.MarkedYAMLError) as error:
        parse_yaml("a: 1\nb:\n  c: 1\n  c: 2\n")
    assert error.value.problem == "key 'c' is written twice"
    assert error.value.problem_mark.line == 3


def test_merge_keys_of_yaml_may_be_repeated():
    assert parse_yaml("a: &a {x: 1}\nb: &b {y: 2}\nc: {<<: *a, <<: *b, z: 3}")["c"] == {
        "x": 1,
        "y": 2,
        "z": 3,
    }


@given(st.integers() | st.text() | st.lists(st.integers()))
def test_a_description_is_short_and_names_the_type(value):
    text = describe(value)
    assert text.endswith(f"({type(value).__name__})")
    assert len(text) < 80


def test_a_number_too_long_to_write_can_be_described():
    assert describe(0x10**5000) == "… (int)"


def test_scalars_are_types():
    assert set(SCALARS) < set(TYPES)
