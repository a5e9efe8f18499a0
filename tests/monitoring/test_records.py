"""Records come back as they were written: typed, once, oldest first, and of the time that is asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from pyarrow import dataset

from nbship.errors import NbshipError
from nbship.monitoring.records import read_records, write_records

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def frames(ids, start=NOON, version="v1.0.0", **more):
    inputs = pd.DataFrame(
        {"weight": [1000.0 + n for n in range(len(ids))], "origin": ["usa"] * len(ids)}, index=ids
    )
    answers = pd.DataFrame(
        {
            "time": [start + timedelta(minutes=n) for n in range(len(ids))],
            "version": version,
            "prediction": [20.5 + n for n in range(len(ids))],
            **more,
        },
        index=ids,
    )
    return inputs, answers


def test_what_was_written_is_read(tmp_path):
    inputs, answers = frames(["a", "b"], low=[18.0, 19.0], high=[22.0, 23.0])
    answers["probabilities"] = [None, [0.25, 0.75]]
    answers["flags"] = [["weight: range"], []]
    write_records(str(tmp_path), "cars", inputs, answers)
    found = read_records(str(tmp_path), "cars")
    pd.testing.assert_frame_equal(found.inputs, inputs.rename_axis("id"))
    assert found.answers["time"].tolist() == [NOON, NOON + timedelta(minutes=1)]
    assert str(found.answers["time"].dtype) == "datetime64[us, UTC]"
    assert found.answers[["low", "high", "prediction"]].to_numpy().tolist() == [
        [18, 22, 20.5],
        [19, 23, 21.5],
    ]
    assert found.answers["probabilities"].iloc[0] is None
    assert list(found.answers["probabilities"].iloc[1]) == [0.25, 0.75]
    assert [list(flags) for flags in found.answers["flags"]] == [["weight: range"], []]
    assert found.labels.empty


def test_an_empty_store_has_no_records_and_all_columns_of_answers(tmp_path):
    found = read_records(str(tmp_path / "nothing"), "cars")
    assert found.inputs.empty and found.answers.empty and found.labels.empty
    assert list(found.answers) == ["time", "version", "prediction", "low", "high", "probabilities", "flags"]
    assert list(found.labels) == ["value", "arrived"]


def test_a_record_that_was_written_twice_is_one_and_the_oldest_is_first(tmp_path):
    write_records(str(tmp_path), "cars", *frames(["c", "d"], NOON + timedelta(days=1)))
    write_records(str(tmp_path), "cars", *frames(["a", "b"]))
    write_records(str(tmp_path), "cars", *frames(["a"]))
    assert read_records(str(tmp_path), "cars").inputs.index.tolist() == ["a", "b", "c", "d"]


def test_a_time_and_a_version_are_asked_for(tmp_path):
    write_records(str(tmp_path), "cars", *frames(["a", "b", "c"]))
    write_records(str(tmp_path), "cars", *frames(["d"], NOON + timedelta(days=2), "v1.1.0"))
    later = NOON + timedelta(minutes=1)
    assert read_records(str(tmp_path), "cars", since=later).inputs.index.tolist() == ["b", "c", "d"]
    assert read_records(str(tmp_path), "cars", until=later).inputs.index.tolist() == ["a"]
    assert read_records(str(tmp_path), "cars", version="v1.1.0").inputs.index.tolist() == ["d"]
    naive = later.replace(tzinfo=None)
    assert read_records(str(tmp_path), "cars", since=naive, until=naive).inputs.empty


def test_columns_that_differ_between_files_are_put_together(tmp_path):
    write_records(str(tmp_path), "cars", *frames(["a"]))
    inputs, answers = frames(["b"], NOON + timedelta(hours=1))
    write_records(
        str(tmp_path), "cars", inputs.assign(weight="heavy", doors=4).drop(columns="origin"), answers
    )
    inputs, answers = frames(["c"], NOON + timedelta(hours=2))
    write_records(str(tmp_path), "cars", inputs.assign(doors=np.nan), answers.assign(prediction="fast"))
    found = read_records(str(tmp_path), "cars")
    assert found.inputs["weight"].tolist() == [1000.0, "heavy", 1000.0]
    assert found.inputs["doors"].dropna().tolist() == [4]
    assert found.answers["prediction"].tolist() == [20.5, 20.5, "fast"]


def test_records_of_two_days_are_two_partitions_that_other_tools_read(tmp_path):
    write_records(str(tmp_path), "cars", *frames(["a", "b"], NOON.replace(hour=23, minute=59)), batch="x")
    folder = tmp_path / "cars" / "records"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")) == [
        "day=2026-11-21/x.parquet",
        "day=2026-11-22/x.parquet",
    ]
    table = dataset.dataset(folder, partitioning="hive").to_table()
    assert table["day"].to_pylist() == ["2026-11-21", "2026-11-22"]
    assert table["input.weight"].to_pylist() == [1000, 1001]


def test_a_damaged_file_is_named(tmp_path):
    write_records(str(tmp_path), "cars", *frames(["a"]), batch="x")
    (tmp_path / "cars/records/day=2026-11-21/x.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(NbshipError, match=r"day=2026-11-21/x\.parquet is damaged"):
        read_records(str(tmp_path), "cars")


def test_an_address_with_a_key_is_refused():
    with pytest.raises(NbshipError, match="credentials") as caught:
        read_records("s3://AKIA:secret@bucket/x", "cars")
    assert "secret" not in caught.value.message
