"""Rows as a table takes them, by each rule; what was taken in, and when the next may begin."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from nbship.config import Monitor, Retrain
from nbship.errors import UsageError
from nbship.monitoring.records import Records
from nbship.monitoring.retraining import (
    Attempt,
    Labelled,
    attempts,
    check_columns,
    cooling_until,
    join,
    labelled,
    note_attempt,
    read_taken,
    summary,
    taken_text,
)
from nbship.monitoring.storage import open_storage

OLD = "yr,hp,name,mpg\n70,130,impala,18\n71,,pinto,25.5\n72,90,vega,22\n"
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def table(text: str = OLD) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)


def new(*rows: tuple[float, float | None, float]) -> Labelled:
    ids = pd.Index([f"r{number}" for number in range(len(rows))])
    inputs = pd.DataFrame([row[:2] for row in rows], columns=["yr", "hp"], index=ids, dtype=float)
    times = pd.Series([NOON + timedelta(days=number) for number in range(len(rows))], index=ids)
    return Labelled(inputs, pd.Series([row[2] for row in rows], index=ids), times)


def text(found: pd.DataFrame) -> str:
    return found.to_csv(index=False, lineterminator="\n")


def test_added_rows_are_written_as_the_others_are_and_leave_those_alone() -> None:
    joined = join(table(), new((77, 100.0, 30.5), (78, None, 31)), Retrain(), "mpg")
    assert text(joined.table) == f"{OLD}77,100,,30.5\n78,,,31.0\n"
    assert (joined.new, joined.dropped) == (2, 0)
    assert "2 new labelled rows are added to 3; each counts once in training" in summary(Retrain(), joined)


def test_a_window_of_rows_keeps_the_newest() -> None:
    rule = Retrain(rule="window", rows=2)
    joined = join(table(), new((77, 100, 30)), rule, "mpg")
    assert text(joined.table) == "yr,hp,name,mpg\n72,90,vega,22\n77,100,,30\n"
    assert (joined.new, joined.dropped) == (1, 2)
    assert "the oldest 2 have left the window" in summary(rule, joined)


def test_a_window_of_days_goes_by_the_tables_date() -> None:
    old = table("day,yr,hp,mpg\n2026-01-01,70,130,18\n2026-05-01,71,90,25\n,72,90,22\n")
    joined = join(old, new((77, 100, 30)), Retrain(rule="window", days=10, date="day"), "mpg")
    assert text(joined.table) == "day,yr,hp,mpg\n2026-05-01,71,90,25\n2026-05-04,77,100,30\n"


def test_a_weight_is_the_new_rows_and_stays_theirs() -> None:
    rule = Retrain(rule="weight", weight=3)
    first = join(table(), new((77, 100, 30)), rule, "mpg")
    assert list(first.table["sample_weight"]) == ["1", "1", "1", "3"]
    second = join(first.table, new((78, 90, 31)), Retrain(rule="weight", weight=2), "mpg")
    assert list(second.table["sample_weight"]) == ["1", "1", "1", "3", "2"]


def test_columns_may_be_called_otherwise_in_the_table() -> None:
    old = table("year,hp,consumption\n70,130,18\n")
    rule = Retrain(columns={"yr": "year", "mpg": "consumption"})
    assert text(join(old, new((77, 100, 30)), rule, "mpg").table).endswith("77,100,30\n")
    with pytest.raises(UsageError, match="no column 'mpg'"):
        join(old, new((77, 100, 30)), Retrain(columns={"yr": "year"}), "mpg")


@given(some.lists(some.sampled_from("abcdef"), unique=True), some.sets(some.sampled_from("abcdef")))
def test_each_labelled_record_is_taken_once(labels: list[str], taken: set[str]) -> None:
    ids = pd.Index(list("abcdef"))
    inputs = pd.DataFrame({"yr": range(6)}, index=ids)
    answers = pd.DataFrame({"time": [NOON] * 6}, index=ids)
    values = pd.DataFrame({"value": range(len(labels)), "arrived": NOON}, index=pd.Index(labels, dtype=str))
    found = labelled(Records(inputs, answers, values), taken)
    assert found.ids == tuple(each for each in ids if each in labels and each not in taken)
    assert read_taken(taken_text([*taken, *found.ids])) == taken | set(labels)


@pytest.mark.parametrize("how", ["drop", "hash"])
def test_what_the_records_lack_cannot_be_learnt(how: str) -> None:
    monitor = Monitor.model_validate({"private": {"hp": how}})
    with pytest.raises(UsageError, match="no values of hp"):
        check_columns(["yr", "hp"], {"yr", "hp"}, Retrain(), monitor)
    with pytest.raises(UsageError, match="no column hp"):
        check_columns(["yr", "hp"], {"yr"}, Retrain(), Monitor())
    check_columns(["yr", "hp"], {"yr", "power"}, Retrain(columns={"hp": "power"}), Monitor())


def test_attempts_are_kept_in_order_and_cool_down(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    assert attempts(storage, "line") == []
    known = [
        Attempt(f"2026-05-{day:02}T12:00:00+00:00", ("a", "b"), "x has moved", "pushed", "retrain/line/1")
        for day in (11, 4)
    ]
    for each in known:
        note_attempt(storage, "line", each)
    assert attempts(storage, "line") == known[::-1]
    end = datetime(2026, 5, 18, 12, tzinfo=UTC)
    assert cooling_until(known[::-1], 7, end - timedelta(seconds=1)) == end
    assert cooling_until(known[::-1], 7, end) is None
    assert cooling_until([], 7, NOON) is None


@pytest.mark.parametrize("settings", [{"rule": "window"}, {"rule": "window", "days": 1}])
def test_a_window_that_is_none_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"a window takes rows, or days|days takes date"):
        Retrain.model_validate(settings)
