"""Tables that no one prepared: how they are read, and what their columns hold."""

import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.errors import UsageError
from nbship.templates import reading
from nbship.templates.table import ColumnKind, kind_of, read_table
from tests.templates.tables import ROWS, flats, write


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"encoding": "utf-8-sig"}, {}),
        ({"sep": "\t"}, {"sep": "\t"}),
        ({"sep": "|"}, {"sep": "|"}),
        ({"sep": ";", "decimal": ","}, {"sep": ";", "decimal": ","}),
        ({"sep": ";", "encoding": "latin-1"}, {"sep": ";", "encoding": "cp1252"}),
        ({"encoding": "utf-16"}, {"encoding": "utf-16"}),
    ],
)
def test_how_a_file_is_to_be_read(tmp_path, options, expected):
    table = read_table(write(tmp_path / "a.csv", flats(), **options))
    assert table.reading.options == expected
    assert table.columns == {
        "Fläche m²": ColumnKind.NUMBER,
        "district": ColumnKind.WORDS,
        "listed": ColumnKind.DATE,
        "rent": ColumnKind.NUMBER,
    }


def test_what_windows_adds_to_latin_1_is_read(tmp_path):
    table = flats(**{"Wert (€)": 1.0}).astype({"Wert (€)": object})
    path = write(tmp_path / "a.csv", table, encoding="cp1252")
    assert "Wert (€)" in read_table(path).columns
    path.write_bytes(path.read_bytes().replace(b"Mitte", b"Mitt\x81"))  # no letter on Windows
    assert read_table(path).reading.options == {"encoding": "latin-1"}


RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("x", RANDOM.normal(size=100), ColumnKind.NUMBER),
        ("x", ["1", "2.5", "3", "4", "5", "6", "7", "8", "9", "?"] * 10, ColumnKind.NUMBER),
        ("x", [1, 2, 3, 4] * 25, ColumnKind.NUMBER),
        ("x", [True, False] * 50, ColumnKind.WORDS),
        ("x", ["a", None, "b", "3"] * 25, ColumnKind.WORDS),
        ("x", ["2024-01-02", "2023-05-06 10:00"] * 50, ColumnKind.DATE),
        ("x", ["31.12.2023", "1.2.2024"] * 50, ColumnKind.DATE),
        ("x", ["3 May 2021", "May 4, 2022"] * 50, ColumnKind.DATE),
        ("x", [f"the quick brown fox {i}" for i in range(100)], ColumnKind.TEXT),
        ("customerID", [f"C{i}" for i in range(100)], ColumnKind.IDENTIFIER),
        ("id", list(RANDOM.permutation(100)), ColumnKind.IDENTIFIER),
        ("row", list(range(7, 107)), ColumnKind.IDENTIFIER),
        ("x", [f"{i:032x}" for i in range(100)], ColumnKind.IDENTIFIER),
        ("x", ["same"] * 100, ColumnKind.CONSTANT),
        ("x", [None] * 100, ColumnKind.CONSTANT),
        ("x", [1.0, None] * 50, ColumnKind.CONSTANT),
    ],
)
def test_what_a_column_holds(name, values, kind):
    assert kind_of(pd.Series(values, name=name)) is kind


def test_dates_with_the_day_first(tmp_path):
    table = flats()
    for format_ in ("%d.%m.%Y", "%m/%d/%Y", "%Y-%m-%d"):
        path = write(tmp_path / "a.csv", table, date_format=format_)
        assert read_table(path).dates["listed"].format == format_


def test_of_a_large_file_rows_from_everywhere_are_looked_at(tmp_path, monkeypatch):
    path = write(tmp_path / "a.csv", flats(late=[0] * (ROWS - 30) + [1] * 30).sort_values("late"))
    monkeypatch.setattr(reading, "SAMPLED_BYTES", path.stat().st_size - 1)
    table = read_table(path)
    assert table.sampled
    assert ROWS / 5 < len(table.sample) < ROWS / 2
    assert table.columns["late"] is ColumnKind.NUMBER


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"a,b\n", "has no rows"),
        (b"a\n1\n2\n", "has one column"),
        (b"PK\x03\x04", "not a CSV file"),
        (b"\x1f\x8b\x08 no gzip", "cannot be unpacked"),
        (b"a,b\n\x00,1\n", "not a CSV file"),
        (b"a,b\n1,2\n1,2,3,4\n", "not a CSV file"),
        (b'a,b\n1,"2\n', "not a CSV file"),
    ],
)
def test_what_is_no_table(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UsageError, match=rf"a\.csv: {message}"):
        read_table(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("head", "library"), [(b"PAR1", "pyarrow"), (b"PK\x03\x04...xl/workbook.xml", "openpyxl")]
)
def test_what_reads_a_format_must_be_installed(tmp_path, monkeypatch, head, library):
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / "a.dat").write_bytes(head)
    with pytest.raises(UsageError, match=f"a.dat: {library} is not installed") as error:
        read_table(tmp_path / "a.dat")
    assert f"pip install {library}" in error.value.hint


def test_a_key_that_repeats_in_a_large_file_is_not_unique_in_it(tmp_path, monkeypatch):
    who = [f"c{i:06}" for i in RANDOM.permutation(np.repeat(np.arange(10 * ROWS), 2))]
    path = write(tmp_path / "a.csv", pd.DataFrame({"who": who, "alone": range(20 * ROWS), "x": 1.5}))
    monkeypatch.setattr(reading, "SAMPLED_BYTES", path.stat().st_size // 4)
    table = read_table(path)
    assert table.sample["who"].is_unique or table.sample["who"].nunique() > 0.9 * len(table.sample)
    assert table.repeats["who"] == pytest.approx(2, abs=0.1)
    assert table.repeats["alone"] == 1


@given(content=st.binary(max_size=200) | st.text(",;\t\n\"'a1.é-", max_size=200).map(str.encode))
def test_any_file_is_a_table_or_an_error_that_names_it(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    try:
        assert len(read_table(path).columns) > 1
    except UsageError as error:
        assert "any.csv" in error.message
