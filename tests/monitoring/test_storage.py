"""The store may be S3: what is written there is read, corrected and removed as in a folder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from nbship.errors import NbshipError
from nbship.monitoring.labels import Key, add_labels
from nbship.monitoring.pruning import prune
from nbship.monitoring.records import read_records, write_records
from tests.servers import S3_KEYS, Watch, s3_server

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def bucket(monkeypatch):
    import s3fs

    for name, value in S3_KEYS.items():
        monkeypatch.setenv(name, value)
    with s3_server(Watch()) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        s3fs.S3FileSystem(endpoint_url=address, skip_instance_cache=True).makedirs("kept", exist_ok=True)
        yield "s3://kept/served"


def test_records_are_kept_in_s3(bucket):
    for days in (0, 1, 1, 40):
        record = f"{days}-{len(read_records(bucket, 'cars').inputs)}"
        inputs = pd.DataFrame({"x": [1.0]}, index=[record])
        answers = pd.DataFrame(
            {"time": NOW - timedelta(days=days), "version": "v1", "prediction": 1.0}, index=[record]
        )
        write_records(bucket, "cars", inputs, answers)
    labels = pd.DataFrame({"id": ["1-1", "x"], "value": [2.0, 3.0], "arrived": None})
    assert add_labels(bucket, "cars", labels, Key(), "test", NOW).unknown == 1
    pruned = prune(bucket, "cars", 30, now=NOW)
    assert (pruned.files, pruned.joined) == (1, 2)
    found = read_records(bucket, "cars")
    assert sorted(found.inputs.index) == ["0-0", "1-1", "1-2"]
    assert found.labels["value"].to_dict() == {"1-1": 2}


def test_a_bucket_that_is_not_there_is_named(bucket):
    inputs = pd.DataFrame({"x": [1.0]}, index=["a"])
    answers = pd.DataFrame({"time": NOW, "version": "v1", "prediction": 1.0}, index=["a"])
    with pytest.raises(NbshipError, match="s3://elsewhere/x failed"):
        write_records("s3://elsewhere/x", "cars", inputs, answers)
