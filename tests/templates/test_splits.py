"""How rows are held out: by key, inputs, group or time."""

import numpy as np
import pandas as pd
import pytest

from nbship.errors import UsageError
from nbship.templates.splits import Split, SplitWish, find_split
from nbship.templates.table import read_table
from tests.templates.tables import write

ROWS = 400
RANDOM = np.random.default_rng(3)
DAYS = pd.Series(pd.date_range("2024-01-01", periods=ROWS).strftime("%Y-%m-%d"))
WHO = np.arange(ROWS) // 8


def table(tmp_path, **columns):
    plain = {"u": RANDOM.normal(size=ROWS).round(4), "v": RANDOM.integers(0, 99, ROWS)}
    target = columns.pop("y", RANDOM.normal(size=ROWS).round(3))
    return read_table(write(tmp_path / "a.csv", pd.DataFrame({**columns, **plain, "y": target})))


def split(tmp_path, wish=SplitWish(), **columns):  # noqa: B008 (frozen)
    return find_split(table(tmp_path, **columns), "y", wish)


PLAIN = Split(("u", "v"))
BY_WHO = Split(("who",), group="who")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, PLAIN),
        ({"code": [f"c{i:05}x" for i in RANDOM.permutation(ROWS)]}, Split(("code",), key=True)),
        ({"row_id": range(ROWS)}, Split(("row_id",), key=True)),
        ({"index": range(ROWS)}, PLAIN),
        ({"Unnamed: 0": range(ROWS)}, PLAIN),
        ({"town": RANDOM.choice([f"Town {i}" for i in range(40)], ROWS)}, Split(("town", "u", "v"))),
        ({"patient": WHO}, Split(("patient",), group="patient")),
        ({"who": [f"P{i:03}" for i in WHO]}, BY_WHO),
        ({"who": WHO * 7919 % 1000, "y": np.where(WHO % 3, "a", "b")}, BY_WHO),
        ({"birth_date": DAYS}, Split(("birth_date", "u", "v"))),
        ({"born": DAYS.sample(frac=1, random_state=0).tolist(), "day": DAYS}, "day"),
        ({"first": DAYS.sample(frac=1, random_state=0).tolist(), "second": DAYS}, "second"),
        ({"day": DAYS, "user_id": WHO}, "day"),
        (
            {"day": DAYS, "user_id": WHO, "y": np.where(WHO % 3, "a", "b")},
            Split(("user_id",), group="user_id"),
        ),
    ],
)
def test_how_rows_are_held_out(tmp_path, columns, expected):
    found = split(tmp_path, **columns)
    assert (found.time if isinstance(expected, str) else found) == expected


def test_a_user_knows_better(tmp_path):
    columns = {"day": DAYS, "who": [f"P{i:03}" for i in WHO], "year": 2000 + np.arange(ROWS) // 20}
    assert split(tmp_path, SplitWish(time="year"), **columns).time == "year"
    assert split(tmp_path, SplitWish(group="who"), **columns).group == "who"
    assert split(tmp_path, SplitWish(time=None), **columns).group == "who"
    assert split(tmp_path, SplitWish(None, None), **columns) == Split(("day", "who", "year", "u", "v"))


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (SplitWish(time="dya"), "--time dya: there is no such column"),
        (SplitWish(group="y"), "--group y: there is no such column"),
        (SplitWish(time="word"), "neither dates nor numbers"),
        (SplitWish(time="few"), "fewer than 10 different times"),
        (SplitWish(group="few"), "only 3 groups"),
        (SplitWish(time="u", group="few"), "do not go together"),
    ],
)
def test_a_wish_that_cannot_be_granted(tmp_path, wish, message):
    with pytest.raises(UsageError, match=message) as error:
        split(tmp_path, wish, word=["a", "b"] * (ROWS // 2), few=np.arange(ROWS) % 3)
    assert error.value.hint


def test_rows_of_which_there_are_few_kinds_are_told_apart(tmp_path):
    few = {"sex": ["f", "m"], "class": [1, 2, 3, 4]}
    rows = pd.DataFrame({name: RANDOM.choice(values, ROWS) for name, values in few.items()})
    path = write(tmp_path / "a.csv", rows.assign(y=RANDOM.normal(size=ROWS)))
    assert find_split(read_table(path), "y", SplitWish()) == Split(("sex", "class"), alike=True)
