"""What the events of a run amount to: rows, counts, and how much time is left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nbship.local.events import Event
from nbship.record import State, save
from nbship.workflow.progress import Progress, durations, time_left
from tests.records import make_record

CHAIN = {"a": (), "b": ("a",), "c": ("b",)}


def told(*events: Event, jobs: int = 1) -> Progress:
    progress = Progress(jobs)
    for event in events:
        progress.update(event)
    return progress


def waiting(**expected: float) -> list[Event]:
    return [Event(name, State.WAITING, expected=s, upstream=CHAIN[name]) for name, s in expected.items()]


def test_what_is_left_is_what_it_took_before_less_what_has_passed():
    progress = told(*waiting(a=10, b=20, c=5), jobs=4)
    assert progress.left() == 35
    progress.update(Event("a", State.CACHED))
    progress.update(Event("b", State.RUNNING, 1, 2, seconds=8.0))
    (_, b, c) = progress.rows()
    assert (c.left, b.left is not None and 11 < b.left <= 12) == (5, True)
    assert 16 < progress.left() <= 17


def test_a_step_that_is_late_has_no_time_left_and_one_that_never_ran_none_that_is_known():
    progress = told(*waiting(a=1), Event("a", State.RUNNING, seconds=9.0))
    assert progress.rows()[0].left == 0
    progress.update(*waiting(b=0))
    assert progress.left() is None
    assert told(Event("a", State.DONE)).left() is None


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0.1, 100), min_size=1), st.integers(1, 4))
def test_no_more_jobs_than_steps_help_and_a_chain_gains_nothing(seconds, jobs):
    total = sum(seconds.values())
    alone = time_left(seconds, {}, jobs)
    assert max(seconds.values()) <= alone + 1e-9
    assert total / jobs <= alone + 1e-9
    assert alone <= total + 1e-9
    names = sorted(seconds)
    chain = {name: names[:n][-1:] for n, name in enumerate(names)}
    assert abs(time_left(seconds, chain, jobs) - total) < 1e-6


def test_rows_keep_their_order_and_what_runs_or_failed_its_place():
    events = [Event(name, State.DONE) for name in "abcdef"]
    progress = told(*events, Event("b", State.RUNNING), Event("e", State.FAILED), Event("a", State.DONE))
    assert [row.event.step for row in progress.rows(3)] == ["a", "b", "e"]
    assert [row.event.step for row in progress.rows(1)] == ["b"]
    assert len(progress.rows(6)) == 6
    assert progress.counts() == {State.RUNNING: 1, State.DONE: 4, State.FAILED: 1}


def test_how_long_steps_took_is_known_from_the_last_runs_that_finished_them(tmp_path):
    for number, (state, seconds) in enumerate([(State.DONE, 4.0), (State.CACHED, 2.0), (State.FAILED, 9.0)]):
        record = make_record(id=f"2026010{number}", state=State.DONE)
        record.steps["train"].state, record.steps["train"].seconds = state, seconds
        save(record, tmp_path / "runs" / record.pipeline / record.id)
    found = durations(tmp_path, record.pipeline, {"train", "prepare", "new"})
    assert found == {"train": 2.0, "prepare": 1.27}
