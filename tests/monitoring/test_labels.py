"""Labels find their records, once; the last to arrive counts, and those before it stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from nbship.errors import UsageError
from nbship.monitoring.keeping import KEY, hashed
from nbship.monitoring.labels import AddedLabels, Key, add_labels, delays, read_file
from nbship.monitoring.records import open_required, read_labels, read_records, write_records

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=3)
ORDER = Key("order")


@pytest.fixture
def store(tmp_path):
    ids = ["a", "b", "c"]
    inputs = pd.DataFrame({"order": [7, 8, 8], "weight": [1.0, 2.0, 3.0]}, index=ids)
    answers = pd.DataFrame({"time": NOON, "version": "v1", "prediction": [20.0, 21.0, 22.0]}, index=ids)
    write_records(str(tmp_path / "kept"), "cars", inputs, answers)
    return str(tmp_path / "kept")


def csv(tmp_path, text, key=Key(), name="labels.csv"):  # noqa: B008 - it does not change
    path = tmp_path / name
    path.write_text(text)
    return read_file(path, key, "mpg")


def labels(store):
    return read_records(store, "cars").labels["value"].to_dict()


def test_labels_join_by_id_and_the_delay_shows(store, tmp_path):
    found = csv(tmp_path, "id,value\na,20.5\nb,19\nzz,1\nc,\n")
    assert add_labels(store, "cars", found[0], Key(), found[1], LATER) == AddedLabels(2, 0, 0, 1, 1, ("zz",))
    read = read_records(store, "cars")
    assert read.labels["value"].to_dict() == {"a": 20.5, "b": 19}
    assert set(delays(read.labels, read.answers["time"])) == {timedelta(days=3)}


def test_the_same_file_again_changes_nothing(store, tmp_path):
    found = csv(tmp_path, "id,value\na,20.5\nb,19\n")
    add_labels(store, "cars", *found[:1], Key(), found[1], LATER)
    assert add_labels(store, "cars", found[0], Key(), found[1], LATER + timedelta(days=1)) == AddedLabels(
        0, 0, 2, 0, 0
    )
    assert len(read_labels(open_required(store), "cars")) == 2


def test_a_correction_counts_stays_in_history_and_is_not_undone_by_the_old_file(store, tmp_path):
    old, new = (
        csv(tmp_path, "id,value\na,20\nb,19\n"),
        csv(tmp_path, "id,value\na,21\nb,19\n", name="new.csv"),
    )
    add_labels(store, "cars", old[0], Key(), old[1], LATER)
    assert add_labels(store, "cars", new[0], Key(), new[1], LATER + timedelta(hours=1)) == AddedLabels(
        0, 1, 1, 0, 0
    )
    assert labels(store) == {"a": 21, "b": 19}
    add_labels(store, "cars", old[0], Key(), old[1], LATER + timedelta(hours=2))
    assert labels(store) == {"a": 21, "b": 19}
    assert read_labels(open_required(store), "cars")["value"].tolist() == [20, 19, 21]


def test_what_arrived_last_counts_whenever_it_is_told(store, tmp_path):
    for text in ("id,value,arrived\na,21,2026-11-24\n", "id,value,arrived\na,20,2026-11-23T12:00:00Z\n"):
        found = csv(tmp_path, text)
        add_labels(store, "cars", found[0], Key(), found[1], LATER)
        assert add_labels(store, "cars", found[0], Key(), found[1], LATER).known == 1
    read = read_records(store, "cars").labels.loc["a"]
    assert read["value"] == 21
    assert read["arrived"] == pd.Timestamp("2026-11-24", tz="UTC")


def test_a_column_names_all_the_records_of_a_row(store, tmp_path):
    found = csv(tmp_path, "order,mpg\n8,30\n7.0,10\n9,1\n", ORDER)
    assert add_labels(store, "cars", found[0], ORDER, found[1]) == AddedLabels(3, 0, 0, 1, 0, ("9",))
    assert labels(store) == {"a": 10, "b": 30, "c": 30}


def test_a_hashed_column_is_joined_by_the_same_hash(tmp_path, monkeypatch):
    monkeypatch.setenv(KEY, "a key that nobody guesses")
    secret = hashed([7, "007"], b"a key that nobody guesses")
    inputs = pd.DataFrame({"order": secret}, index=["a", "b"])
    answers = pd.DataFrame({"time": NOON, "version": "v1", "prediction": 1.0}, index=["a", "b"])
    write_records(str(tmp_path), "cars", inputs, answers)
    key = Key("order", hashed=True)
    found = csv(tmp_path, "order,value\n7,30\n007,31\n8,1\n", key)
    assert add_labels(str(tmp_path), "cars", found[0], key, found[1]).unknown == 1
    assert labels(str(tmp_path)) == {"a": 30, "b": 31}


def test_parquet_is_read_and_classes_are_texts_where_predictions_are(tmp_path):
    inputs = pd.DataFrame({"x": [1.0]}, index=["a"])
    answers = pd.DataFrame({"time": NOON, "version": "v1", "prediction": "1"}, index=["a"])
    write_records(str(tmp_path), "cars", inputs, answers)
    pd.DataFrame({"id": ["a"], "value": [1]}).to_parquet(tmp_path / "labels.parquet")
    found = read_file(tmp_path / "labels.parquet", Key(), "")
    add_labels(str(tmp_path), "cars", found[0], Key(), found[1])
    assert labels(str(tmp_path)) == {"a": "1"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("number,value\n1,2\n", "no column 'id'"),
        ("id,truth\na,2\n", "no column 'mpg'"),
        ("id,value\na,fast\n", "'fast' is not a number"),
        ("id,value,arrived\na,1,soon\n", "arrived"),
        ("", "No columns"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(store, tmp_path, text, said):
    with pytest.raises(UsageError, match=said):
        found = csv(tmp_path, text)
        add_labels(store, "cars", found[0], Key(), found[1])


def test_a_column_that_no_record_has_is_told(store, tmp_path):
    key = Key("plate")
    found = csv(tmp_path, "plate,value\nx,1\n", key)
    with pytest.raises(UsageError, match="no column 'plate'"):
        add_labels(store, "cars", found[0], key, found[1])
