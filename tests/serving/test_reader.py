"""The quick reading of bodies: what it takes, `protocol` reads alike."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nbship.package.schema import Column
from nbship.serving import protocol
from nbship.serving.reader import make_reader

COLUMNS = (
    Column(name="weight", type="integer", minimum=1500, maximum=5000, aliases={"heavy": 4000}),
    Column(name="engine size (l)", type="number", minimum=1, maximum=8, missing=3),
    Column(name="größe", type="category", categories={"groß": 5, "": 3}, aliases={"1": "groß"}),
    Column(name="diesel", type="boolean", categories={"false": 9, "true": 1}),
    Column(name="note", type="text", missing=1),
)
RECORD = {"weight": 3000, "engine size (l)": 2.5, "größe": "groß", "diesel": True, "note": "x"}
FORMS = {
    "records": [RECORD, RECORD],
    "rows": [list(RECORD.values())] * 2,
    "table": {name: [value] * 2 for name, value in RECORD.items()},
    "list with a table": [{name: [value] * 2 for name, value in RECORD.items()}],
}
read = make_reader(COLUMNS)
numbers = st.one_of(st.integers(), st.floats(allow_nan=False), st.sampled_from([2**53 + 1, 2**64, -0.0]))
likely = {
    "weight": numbers,
    "engine size (l)": st.none() | numbers,
    "größe": st.sampled_from(["groß", ""]),
    "diesel": st.booleans(),
    "note": st.text(max_size=5),
}
anything = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5), st.just([1]), st.just({"a": 1}))


@st.composite
def instances(draw):
    """Records in one of the forms, mostly as they should be, at times with one thing that is not."""
    values = draw(st.lists(st.fixed_dictionaries({n: v | st.none() for n, v in likely.items()}), max_size=4))
    if values and draw(st.booleans()):
        one, name = draw(st.sampled_from(values)), draw(st.sampled_from([*likely, "other"]))
        one[name] = draw(anything)
    form = draw(st.sampled_from(sorted(FORMS)))
    if form == "records":
        return [dict(draw(st.permutations(list(each.items())))) for each in values]
    if form == "rows":
        return [list(each.values()) for each in values]
    table = {name: [each.get(name) for each in values] for name in draw(st.permutations(list(likely)))}
    return table if form == "table" else [table]


def check_alike(body: bytes) -> None:
    values = read(body)
    if values is not None:
        expected = protocol.parse_v1(COLUMNS, protocol.parse_json(body), 100)
        assert (values.rows, values.named) == (expected.rows, expected.named)
        lists = {name: list(given) for name, given in values.columns.items()}
        assert repr(lists) == repr({name: list(given) for name, given in expected.columns.items()})


@pytest.mark.parametrize("form", FORMS)
def test_a_body_as_it_should_be_is_taken(form):
    body = json.dumps({"instances": FORMS[form]}).encode()
    assert read(body) is not None
    check_alike(body)


@given(instances(), st.booleans())
def test_what_is_taken_is_read_as_by_the_protocol(given, ascii_only):
    check_alike(json.dumps({"instances": given}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))


@given(st.sampled_from(sorted(FORMS)), st.integers(min_value=0), st.binary(max_size=2))
@example("rows", 0, b"\xef\xbb\xbf")
def test_a_damaged_body_is_read_as_by_the_protocol(form, place, bytes_there):
    body = json.dumps({"instances": FORMS[form]}, ensure_ascii=False).encode()
    place %= len(body)
    check_alike(body[:place] + bytes_there + body[place + 1 :])


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": []}',
        b'{"instances": [{}], "signature_name": "x"}',
        b'{"instances": [{"weight": NaN}]}',
        b'{"instances": [{"unknown": 1}]}',
        '{"instances": [{"größe": "riesig"}]}'.encode(),
        b'{"instances": [{"weight": "heavy"}]}',
        b'{"instances": [[3000, 2.5, "", true]]}',
        b'{"instances": ' + b"[" * 100_000,
        b"",
    ],
)
def test_what_needs_a_closer_look_is_left_to_the_protocol(body):
    assert read(body) is None


def test_a_model_of_arrays_has_no_quick_reading():
    columns = [Column(name="image", type="array", shape=(1,))]
    assert make_reader(columns)(b'{"instances": [[1]]}') is None
