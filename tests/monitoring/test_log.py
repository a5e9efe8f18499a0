"""The log of a server: what is answered is kept and nothing waits for it; what has no room is counted."""

from __future__ import annotations

import threading

import pytest

from nbship.errors import NbshipError, UsageError
from nbship.monitoring import log as log_module
from nbship.monitoring.keeping import KEY, KEY_FILE, Keeping, hashed, is_sampled
from nbship.monitoring.log import OpenLog
from nbship.monitoring.records import read_records
from nbship.package.prediction import Prediction
from nbship.package.records import check
from nbship.package.schema import Column, Interval, Output

CARS = [
    Column(name="weight", type="integer", minimum=1000, maximum=5000),
    Column(name="plate", type="text"),
    Column(name="origin", type="category", categories={"usa": 3, "japan": 1}),
]
MILES = Output(
    kind="regression",
    target="mpg",
    interval=Interval(low=-2, high=2, coverage=0.9),
    reference=Column(name="mpg", type="number"),
)
CHURN = Output(
    kind="classification",
    target="churn",
    classes=[0, 1],
    probabilities=True,
    reference=Column(name="churn", type="integer"),
)
QUICK = 0.02


class Lost:
    """Counts the records that could not be kept."""

    def __init__(self):
        self.records = 0

    def __call__(self, count):
        self.records += count


def opened(folder, columns=CARS, output=MILES, seconds=3600.0, lost=None, **keeping):
    return OpenLog("cars", Keeping(str(folder), **keeping), seconds)(columns, output, lost or Lost())


def ask(log, rows, prediction=None, columns=CARS, version="v1.0.0"):
    values = {column.name: [row.get(column.name) for row in rows] for column in columns}
    checked = check(columns, values, len(rows))
    prediction = prediction or Prediction([20.0] * len(rows), intervals=[[18.0, 22.0]] * len(rows))
    return log.note(version, checked, prediction, checked.flags.told)


def test_what_was_asked_and_answered_is_kept(tmp_path):
    log = opened(tmp_path)
    first = ask(log, [{"weight": 2000, "plate": "AB 1", "origin": "usa"}])
    second = ask(
        log, [{"weight": 9000, "origin": "mars"}, {"weight": 3000.0, "plate": "ü"}], version="v1.1.0"
    )
    log.close()
    found = read_records(str(tmp_path), "cars")
    assert found.inputs.index.tolist() == [first, f"{second}-0", f"{second}-1"]
    assert found.inputs["weight"].tolist() == [2000, 9000, 3000]
    assert found.inputs["weight"].dtype == "int64"
    assert found.inputs["plate"].tolist() == ["AB 1", None, "ü"]
    assert found.answers["version"].tolist() == ["v1.0.0", "v1.1.0", "v1.1.0"]
    assert found.answers[["prediction", "low", "high"]].to_numpy().tolist() == [[20, 18, 22]] * 3
    flags = [list(each) for each in found.answers["flags"]]
    assert flags[0] == [] and flags[1] == ["weight: range", "origin: category"]


def test_probabilities_are_in_the_order_of_the_classes(tmp_path):
    log = opened(tmp_path, output=CHURN)
    ask(log, [{"weight": 1}, {"weight": 2}], Prediction([1, 0], probabilities=[[0.25, 0.5], [0.75, 0.5]]))
    log.close()
    found = read_records(str(tmp_path), "cars").answers
    assert [list(each) for each in found["probabilities"]] == [[0.25, 0.75], [0.5, 0.5]]
    assert found["prediction"].tolist() == [1, 0]
    assert found["low"].isna().all()


def test_values_that_no_table_has_room_for_are_kept_as_they_can_be(tmp_path):
    log = opened(tmp_path)
    ask(log, [{"weight": 10**400, "plate": "half \ud800 pair", "origin": "usa"}, {"weight": 2.5}])
    log.close()
    found = read_records(str(tmp_path), "cars").inputs
    assert found["weight"].tolist() == [str(10**400), "2.5"]
    assert found["plate"].tolist() == ["half ? pair", None]


def test_columns_are_left_out_and_hashed_by_a_key(tmp_path, monkeypatch):
    monkeypatch.setenv(KEY, "a key that nobody guesses")
    log = opened(tmp_path, private={"plate": "hash", "origin": "drop"})
    ask(
        log,
        [
            {"weight": 2000, "plate": "AB 1", "origin": "usa"},
            {"weight": 2000, "plate": "AB 1"},
            {"weight": 1},
        ],
    )
    log.close()
    found = read_records(str(tmp_path), "cars").inputs
    assert list(found) == ["weight", "plate"]
    expected = hashed(["AB 1"], b"a key that nobody guesses")[0]
    assert found["plate"].tolist() == [expected, expected, None]
    assert b"AB 1" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*.parquet"))


def test_a_number_has_one_hash_however_it_is_written_and_another_with_another_key():
    assert hashed([3, 3.0], b"k") == hashed(["3", "3"], b"k")
    assert hashed([3], b"k") != hashed([3], b"l")
    assert hashed([None, 2.5], b"k")[0] is None


@pytest.mark.parametrize(("key", "file"), [("", ""), ("short", ""), ("", "no such file")])
def test_without_a_key_nothing_is_hashed(monkeypatch, key, file):
    monkeypatch.setenv(KEY, key)
    monkeypatch.setenv(KEY_FILE, file)
    with pytest.raises(UsageError, match=r"key|cannot be read"):
        Keeping("records", {"plate": "hash"})


def test_a_key_may_be_in_a_file(tmp_path, monkeypatch):
    (tmp_path / "key").write_text("a key that nobody guesses\n")
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "key"))
    Keeping("records", {"plate": "hash"})


def test_a_private_column_that_the_model_does_not_have_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="no column 'plat'") as caught:
        opened(tmp_path, private={"plat": "drop"})
    assert caught.value.hint == "did you mean 'plate'?"


def test_a_large_array_is_left_out_unless_it_is_asked_for(tmp_path):
    import numpy as np

    columns = [
        Column(name="image", type="array", shape=(28, 28)),
        Column(name="point", type="array", shape=(2, 1)),
    ]
    kept = []
    for private in ({}, {"image": "keep"}):
        log = opened(tmp_path / str(len(private)), columns, private=private)
        checked = check(columns, {"image": [np.zeros((28, 28)).tolist()], "point": [[[1.0], [2.0]]]}, 1)
        log.note("v1", checked, Prediction([1.0]), [])
        log.close()
        kept.append(read_records(str(tmp_path / str(len(private))), "cars").inputs)
    assert list(kept[0]) == ["point"]
    assert list(kept[0]["point"].iloc[0]) == [1, 2]
    assert len(kept[1]["image"].iloc[0]) == 784


def test_a_share_is_the_same_for_the_same_identifier():
    kept = [is_sampled(str(n), 0.3) for n in range(2000)]
    assert kept == [is_sampled(str(n), 0.3) for n in range(2000)]
    assert 0.25 < sum(kept) / 2000 < 0.35
    more = [is_sampled(str(n), 0.6) for n in range(2000)]
    assert all(later for before, later in zip(kept, more, strict=True) if before)
    assert not any(is_sampled(str(n), 0) for n in range(100))


def test_a_request_that_is_not_in_the_share_has_no_identifier(tmp_path):
    log = opened(tmp_path, sample=0.0)
    assert ask(log, [{"weight": 2000}]) == ""
    log.close()
    assert read_records(str(tmp_path), "cars").inputs.empty


def test_what_there_is_no_room_for_is_dropped_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(log_module, "VALUES_AT_MOST", 25)
    lost = Lost()
    log = opened(tmp_path, lost=lost)
    kept = [ask(log, [{"weight": 2000}]) for _ in range(4)]
    assert [bool(each) for each in kept] == [True, True, False, False]
    assert lost.records == 2
    log.close()
    assert len(read_records(str(tmp_path), "cars").inputs) == 2
    assert lost.records == 2


def test_a_long_text_takes_the_room_of_many_values(tmp_path, monkeypatch):
    monkeypatch.setattr(log_module, "VALUES_AT_MOST", 100)
    log = opened(tmp_path)
    assert ask(log, [{"weight": 1}])
    assert not ask(log, [{"weight": 1, "plate": "x" * 10_000}])
    assert ask(log, [{"weight": 1}])
    log.close()


def test_a_file_appears_while_the_server_runs_and_those_of_two_workers_do_not_collide(tmp_path):
    logs = [opened(tmp_path, seconds=QUICK) for _ in range(2)]
    for log in logs:
        ask(log, [{"weight": 2000}])
    until(lambda: len(list(tmp_path.rglob("*.parquet"))) == 2)
    for log in logs:
        log.close()
    assert len(read_records(str(tmp_path), "cars").inputs) == 2


def test_a_store_that_comes_back_gets_what_waited_for_it_once(tmp_path, monkeypatch, caplog):
    import logging

    monkeypatch.setattr(logging.getLogger("nbship"), "propagate", True)
    tried, back = [], threading.Event()
    write = log_module.write_by_day

    def away(storage, name, table, batch):
        tried.append(batch)
        if not back.is_set():
            raise NbshipError("the store is away", "wait")
        write(storage, name, table, batch)

    monkeypatch.setattr(log_module, "write_by_day", away)
    log, lost = opened(tmp_path, seconds=QUICK), Lost()
    ask(log, [{"weight": 2000}])
    until(lambda: len(tried) > 2)
    ask(log, [{"weight": 3000}])
    back.set()
    log.close()
    assert sorted(read_records(str(tmp_path), "cars").inputs["weight"]) == [2000, 3000]
    assert len(set(tried)) <= 2 and lost.records == 0
    assert [record.message for record in caplog.records].count("the store is away; wait") == 1


def test_what_cannot_be_written_in_the_end_is_counted(tmp_path, monkeypatch):
    def away(*_):
        raise NbshipError("the store is away", "wait")

    monkeypatch.setattr(log_module, "write_by_day", away)
    lost = Lost()
    log = opened(tmp_path, lost=lost)
    ask(log, [{"weight": 2000}, {"weight": 3000}])
    log.close()
    assert lost.records == 2


def test_a_model_that_takes_other_columns_may_follow(tmp_path):
    log = opened(tmp_path)
    ask(log, [{"weight": 2000}])
    columns = [*CARS, Column(name="doors", type="boolean")]
    log.describe(columns, CHURN)
    ask(log, [{"weight": 2000, "doors": True}], Prediction([1]), columns)
    log.close()
    found = read_records(str(tmp_path), "cars")
    assert found.inputs["doors"].tolist()[1] is True
    assert found.answers["prediction"].tolist() == [20, 1]


def until(true, seconds=30):
    end = threading.Event()
    for _ in range(int(seconds / QUICK)):
        if true():
            return
        end.wait(QUICK)
    raise AssertionError("it does not come true")
