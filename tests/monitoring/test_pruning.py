"""What is too old is removed, small files become one, and nothing else is touched or lost."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest

from nbship.monitoring.labels import Key, add_labels
from nbship.monitoring.pruning import prune
from nbship.monitoring.records import read_records, write_records

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    for days in (0, 0, 1, 1, 1, 30, 31):
        record = f"{days}-{len(list(tmp_path.rglob('*.parquet')))}"
        inputs = pd.DataFrame({"x": [1.0]}, index=[record])
        answers = pd.DataFrame(
            {"time": NOW - timedelta(days=days), "version": "v1", "prediction": 1.0}, index=[record]
        )
        write_records(str(tmp_path), "cars", inputs, answers)
        labels = pd.DataFrame({"id": [record], "value": [2.0], "arrived": None})
        add_labels(str(tmp_path), "cars", labels, Key(), "test", NOW - timedelta(days=days))
    (tmp_path / "cars/records/README").write_text("mine")
    (tmp_path / "cars/records/day=1999-01-01").mkdir()
    (tmp_path / "cars/records/day=1999-01-01/notes.txt").write_text("mine")
    return tmp_path


def test_what_is_older_than_the_days_it_is_kept_is_removed_and_a_past_day_is_one_file(store):
    before = read_records(str(store), "cars")
    pruned = prune(str(store), "cars", 30, now=NOW)
    assert pruned.days == (date(2026, 10, 21),)
    assert (pruned.files, pruned.joined) == (2, 6)
    after = read_records(str(store), "cars")
    kept = [record for record in before.inputs.index if not record.startswith("31-")]
    assert after.inputs.index.tolist() == kept
    assert sorted(after.labels.index) == sorted(kept)
    files = sorted(path.parent.name for path in store.rglob("records/*/*.parquet"))
    assert files == ["day=2026-10-22", "day=2026-11-20", "day=2026-11-21", "day=2026-11-21"]
    assert not (store / "cars/records/day=2026-10-21").exists()
    assert len(list(store.rglob("README"))) == len(list(store.rglob("notes.txt"))) == 1
    assert prune(str(store), "cars", 30, now=NOW).files == 0


def test_a_dry_run_changes_nothing(store):
    before = sorted(store.rglob("*"))
    pruned = prune(str(store), "cars", 30, dry_run=True, now=NOW)
    assert (pruned.files, pruned.joined) == (2, 6)
    assert sorted(store.rglob("*")) == before


def test_killed_between_the_new_file_and_the_old_ones_nothing_is_twice(store, monkeypatch):
    from nbship.monitoring.storage import Storage

    def killed(self, path):
        raise KeyboardInterrupt

    before = read_records(str(store), "cars").inputs
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(str(store), "cars", 300, now=NOW)
    assert read_records(str(store), "cars").inputs.index.tolist() == before.index.tolist()
    prune(str(store), "cars", 300, now=NOW)
    assert read_records(str(store), "cars").inputs.index.tolist() == before.index.tolist()
