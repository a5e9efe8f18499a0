"""Columns described from reference rows, and tables made of records."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.package.schema import Column, describe_column, histogram, to_records, to_table


def describe(text: str) -> dict[str, Column]:
    frame = pd.read_csv(io.StringIO(text), dtype_backend="numpy_nullable")
    return {name: describe_column(frame[name]) for name in frame.columns}


def test_types_as_they_are_written() -> None:
    columns = describe(
        "whole,holes,fraction,flag,choice,free,empty\n1,4,1.0,True,a,x,\n2,,2.5,False,b,y,\n3,6,3.5,True,a,z,\n5,8,4.5,True,a,w,\n"
    )
    assert {name: column.type for name, column in columns.items()} == {
        "whole": "integer",
        "holes": "integer",
        "fraction": "number",
        "flag": "boolean",
        "choice": "category",
        "free": "text",
        "empty": "number",
    }
    assert columns["holes"].missing == 1
    assert (columns["holes"].minimum, columns["holes"].maximum, columns["holes"].typical) == (4, 8, 6)
    assert columns["flag"].categories == {"true": 3, "false": 1}
    assert columns["choice"].categories == {"a": 3, "b": 1}
    assert columns["choice"].typical == "a"
    assert (columns["empty"].missing, columns["empty"].typical, columns["empty"].histogram) == (4, None, None)


def test_many_different_texts_are_no_choice() -> None:
    rows = "".join(f"city {number % 51}\n" for number in range(1000))
    assert describe(f"city\n{rows}")["city"].type == "text"


def test_an_infinite_number_is_left_out_of_the_range() -> None:
    column = describe("x\n1.5\ninf\n2.5\n")["x"]
    assert (column.minimum, column.maximum) == (1.5, 2.5)
    assert column.histogram is not None
    assert sum(column.histogram.counts) == 2


numbers = st.floats(-1e9, 1e9) | st.integers(-5, 5).map(float)


@given(st.lists(numbers, min_size=1, max_size=200))
def test_a_histogram_holds_every_number_once(values: list[float]) -> None:
    found = histogram(values)
    assert sum(found.counts) == len(values)
    assert len(found.edges) == len(found.counts) + 1
    assert found.edges == sorted(found.edges)
    assert (found.edges[0], found.edges[-1]) == (min(values), max(values))


cells = {
    "whole": st.integers(-(10**6), 10**6),
    "fraction": st.floats(-1e6, 1e6),
    "choice": st.sampled_from(["a", "b"]),
}


@given(st.lists(st.fixed_dictionaries({k: v | st.none() for k, v in cells.items()}), min_size=1, max_size=20))
def test_records_become_the_table_that_reading_the_csv_gives(records: list[dict[str, object]]) -> None:
    text = pd.DataFrame(records).astype("object").to_csv(index=False)
    typed = pd.read_csv(io.StringIO(text), dtype_backend="numpy_nullable")
    columns = [describe_column(typed[name]) for name in typed.columns]
    expected = pd.read_csv(io.StringIO(text))
    pd.testing.assert_frame_equal(to_table(columns, to_records(typed)), expected)


def test_a_name_that_is_absent_is_a_missing_value() -> None:
    columns = [Column(name="x", type="integer"), Column(name="c", type="category")]
    frame = to_table(columns, [{"x": 1, "c": "a"}, {"other": 1}])
    assert list(frame.columns) == ["x", "c"]
    assert frame.isna().to_numpy().tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize(("given_values", "dtype"), [([True, False], "bool"), ([True, None], "object")])
def test_booleans(given_values: list[bool | None], dtype: str) -> None:
    frame = to_table([Column(name="flag", type="boolean")], [{"flag": value} for value in given_values])
    assert str(frame["flag"].dtype) == dtype
