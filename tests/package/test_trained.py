"""Which rows a model was trained on: one row has one hash, however its table is written and read."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.errors import NbshipError
from nbship.package import trained

CELLS = st.one_of(
    st.sampled_from(
        ["", "NA", "nan", "130", "130.0", "1.3e2", "-0", "0", "True", "false", "?", " x", "1_0", "007"]
    ),
    st.floats().map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.text("abcé,\"' 1.", max_size=5),
)


def write(path: Path, rows: list[list[str]], columns: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def hashes(path: Path, *columns: str) -> list[int]:
    return list(trained.hash_rows(path, columns).hashes)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
def test_a_small_file_and_a_large_one_have_the_same_hashes(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "table.csv"
    write(path, [[*row, "x"] for row in rows], ["a", "b", "c"])
    small = hashes(path, "a", "b")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained, "_SMALL", 0)
        assert hashes(path, "a", "b") == small


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("130", "130.0"),
        ("130", "1.3e2"),
        ("0", "-0.0"),
        ("", "NA"),
        ("0.1", "0.10000000000000002"),
        ("True", "1"),
    ],
)
def test_a_value_has_one_hash_however_it_is_written(tmp_path, one, other):
    assert len(set(hashes(write(tmp_path / "t.csv", [[one], [other]], ["a"]), "a"))) == 1


def test_the_order_of_columns_and_other_columns_do_not_count(tmp_path):
    one = write(tmp_path / "one.csv", [["1", "x", "9"]], ["a", "b", "y"])
    other = write(tmp_path / "other.csv", [["x", "7", "1"]], ["b", "y", "a"])
    assert hashes(one, "a", "b") == hashes(other, "b", "a")
    assert hashes(one, "a", "b") != hashes(other, "a", "y")


def test_different_rows_have_different_hashes(tmp_path):
    rows = [[str(i), word] for i in range(300) for word in ("x", "y", "")]
    assert len(set(hashes(write(tmp_path / "t.csv", rows, ["a", "b"]), "a", "b"))) == len(rows)
    # The two columns do not stand for each other.
    swapped = write(tmp_path / "s.csv", [["1", "2"], ["2", "1"]], ["a", "b"])
    assert len(set(hashes(swapped, "a", "b"))) == 2


def test_a_column_that_becomes_one_of_floats_keeps_its_hashes(tmp_path):
    """As where a missing value turns whole numbers into floats, and a question mark numbers into words."""
    tables = [pd.DataFrame({"a": values}) for values in ([1, 2], [1.0, np.nan], ["1", "?"], [True, None])]
    firsts = {trained.hash_table(table, ["a"])[0] for table in tables}
    assert len(firsts) == 1


def test_arrays_are_hashed_by_their_numbers(tmp_path):
    images = np.arange(24).reshape(3, 2, 4)
    for kind in ("uint8", "float32"):
        np.savez(tmp_path / f"{kind}.npz", image=images.astype(kind), label=[0, 1, 2])
    one, other = (hashes(tmp_path / f"{kind}.npz", "image") for kind in ("uint8", "float32"))
    assert one == other
    assert len(set(one)) == 3


def test_what_is_kept_reads_back_and_is_the_same_each_time(tmp_path):
    table = pd.DataFrame({"b": ["x", "y", "x"], "a": [1, 2, 1]})
    table.to_csv(tmp_path / "rows.csv", index=False)
    for name in ("one", "two"):
        trained.write_trained_rows(tmp_path / name, tmp_path / "rows.csv", ["b", "a"])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    rows = trained.read_trained_rows(tmp_path / "one")
    assert rows.columns == ("a", "b")
    assert set(rows.hashes) == set(trained.hash_table(table, ("a", "b")).tolist())
    assert len(rows.hashes) == 2


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_what_is_no_such_file_is_told(tmp_path, content):
    (tmp_path / "rows").write_bytes(content)
    with pytest.raises(NbshipError, match="not a file of row hashes"):
        trained.read_trained_rows(tmp_path / "rows")


def test_a_table_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a\n\xff\n")
    with pytest.raises(NbshipError, match="not a CSV table"):
        hashes(tmp_path / "t.csv", "a")
    with pytest.raises(NbshipError, match="not a CSV table"):
        trained.columns_of(tmp_path / "none.csv")
