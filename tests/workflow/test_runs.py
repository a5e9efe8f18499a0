import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.config import Gate, Threshold
from nbship.errors import NbshipError, UsageError
from nbship.record import State, StepRecord
from nbship.workflow.runs import Difference, compare, find, find_pair, page_path, summaries
from tests.records import every_state, make_record, verdict, write_run

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
IDS = ("20260301-120000-aaaa", "20260301-130000-bbbb", "20260302-120000-cccc")


@pytest.fixture
def root(tmp_path):
    for hours, run_id in enumerate(IDS):
        write_run(tmp_path, make_record(id=run_id, started=START + timedelta(hours=hours)))
    write_run(tmp_path, make_record(id="20260301-123000-dddd", pipeline="churn"))
    return tmp_path


def test_newest_come_first(root):
    assert [run.id for run in summaries(root, "auto-mpg")] == [*reversed(IDS)]
    assert [run.pipeline for run in summaries(root)] == ["auto-mpg", "auto-mpg", "churn", "auto-mpg"]
    assert [run.id for run in summaries(root, limit=1)] == [IDS[2]]
    assert summaries(root, "nothing") == []


def test_a_run_in_a_line(root):
    (run,) = summaries(root, "auto-mpg", limit=1)
    assert (run.state, run.verdict, run.seconds) == ("done", "passed", 4.2)
    assert run.metrics == {"rmse": 2.3127, "r2": 0.9043}
    assert run.page == f"runs/auto-mpg/{IDS[2]}/index.html"


@pytest.mark.parametrize(
    ("name", "word", "metrics"),
    [
        ("worse", "rejected", {"rmse": 2.3127, "r2": 0.9043}),
        ("failed", "", {}),
        ("without gate", "", {}),
        ("without verdict", "", {"rmse": 2.3127, "r2": pytest.approx(0.91857)}),
    ],
)
def test_verdict_and_metrics(tmp_path, name, word, metrics):
    write_run(tmp_path, every_state()[name])
    (run,) = summaries(tmp_path)
    assert (run.verdict, run.metrics) == (word, metrics)


def test_a_bound_on_another_steps_metric(tmp_path):
    gate = Gate(thresholds={"train.cv_rmse": Threshold(max=3), "unheard": Threshold(max=3)})
    write_run(tmp_path, make_record(gate=gate, verdict=None))
    assert summaries(tmp_path)[0].metrics == {"train.cv_rmse": 2.4853}


def test_a_damaged_record_is_passed_over(root):
    (root / "runs/auto-mpg" / IDS[2] / "run.json").write_text("{")
    assert [run.id for run in summaries(root, "auto-mpg")] == [IDS[1], IDS[0]]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("latest", IDS[2]),
        ("previous", IDS[1]),
        ("20260302", IDS[2]),
        (IDS[0], IDS[0]),
        ("20260301-123", "20260301-123000-dddd"),
    ],
)
def test_find(root, name, found):
    assert find(root, name).id == found


def test_a_beginning_that_fits_several_runs(root):
    with pytest.raises(UsageError, match="matches 3 runs"):
        find(root, "20260301")


def test_an_unknown_run(root):
    with pytest.raises(UsageError, match="there is no run 1999"):
        find(root, "1999")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), (IDS[1], IDS[2])),
        (("previous", IDS[1]), (IDS[0], IDS[1])),
        ((IDS[1], "previous"), (IDS[1], IDS[0])),
        (("latest", "latest"), (IDS[2], IDS[2])),
        ((IDS[0], "20260301-123"), (IDS[0], "20260301-123000-dddd")),
    ],
)
def test_find_pair(root, names, found):
    assert tuple(run.id for run in find_pair(root, *names)) == found


def test_the_first_run_has_none_before_it(root):
    with pytest.raises(UsageError, match=f"no run of auto-mpg before {IDS[0]}"):
        find_pair(root, "previous", IDS[0])


def test_page_path(root):
    record = find(root)
    with pytest.raises(NbshipError, match="has no page"):
        page_path(root, record)
    page = root / "runs/auto-mpg" / IDS[2] / "index.html"
    page.touch()
    assert page_path(root, record) == page


@pytest.mark.parametrize("name", every_state())
def test_a_run_does_not_differ_from_itself(name):
    record = every_state()[name]
    again = record.model_copy(deep=True, update={"id": "other", "seconds": 99.0, "started": START})
    assert compare(record, again) == ()


def changed(change):
    record = make_record()
    change(record)
    return compare(make_record(), record)


def test_parameters():
    found = changed(lambda record: record.steps["train"].parameters.update(folds=5, C=1.0))
    assert found == (
        Difference("parameters", "train.folds", 10, 5),
        Difference("parameters", "train.C", None, 1.0),
    )


def test_data_is_told_by_where_it_came_in():
    found = changed(lambda record: setattr(record.steps["prepare"].inputs["table"], "hash", "new"))
    assert [(d.kind, d.name, d.b) for d in found] == [("data", "table", "new")]


def test_what_a_step_made_is_no_data():
    assert changed(lambda record: setattr(record.steps["train"].inputs["train_set"], "hash", "new")) == ()


def test_code_is_told_by_notebook():
    found = changed(lambda record: setattr(record.steps["train"], "code", "new"))
    source = "notebooks/auto-mpg/train.ipynb"
    assert found == (Difference("code", source, f"code of {source}", "new"),)


def test_environment():
    found = changed(lambda record: setattr(record.environment, "dirty", False))
    assert found == (Difference("environment", "dirty", True, False),)


def test_metrics():
    found = changed(lambda record: record.steps["evaluate"].metrics.update(rmse=2.0))
    assert found == (Difference("metrics", "evaluate.rmse", 2.3127, 2.0),)


def test_outcome():
    record = make_record(verdict=verdict(False))
    assert compare(make_record(), record) == (Difference("outcome", "verdict", "passed", "rejected"),)


def test_a_step_that_only_one_run_has_is_told_once():
    found = compare(make_record(champion=False), make_record())
    assert found == (Difference("steps", "evaluate-champion", None, "evaluate-champion"),)


def test_steps_that_were_not_reached_are_not_compared():
    found = compare(make_record(), every_state()["failed"])
    assert {difference.kind for difference in found} == {"outcome"}


@pytest.mark.parametrize(
    ("a", "b"), [(0.1 + 0.2, 0.3), (math.nan, math.nan), (1, 1), ("x", "x"), ([1.5], [1.5])]
)
def test_values_that_are_the_same(a, b):
    assert compare(one_metric(a), one_metric(b)) == ()


@pytest.mark.parametrize(("a", "b"), [(0.1, 0.1001), (1, True), (1, 1.5), ("1", 1), (math.nan, 1.0)])
def test_values_that_differ(a, b):
    assert len(compare(one_metric(a), one_metric(b))) == 1


def one_metric(value):
    step = StepRecord(name="train", source="train.ipynb", state=State.DONE, metrics={"m": value})
    return make_record(steps={"train": step})


VALUES = st.dictionaries(
    st.text(max_size=3), st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
)


@given(VALUES, VALUES)
def test_looked_at_from_the_other_side_a_and_b_change_places(one, other):
    a, b = make_record(), make_record()
    a.steps["train"].parameters, b.steps["train"].parameters = one, other
    mirrored = {repr(Difference(d.kind, d.name, d.b, d.a)) for d in compare(b, a)}
    assert {repr(d) for d in compare(a, b)} == mirrored
