"""A window as a whole: what is said of it, whatever a table holds and in whatever order its rows come."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nbship.monitoring.decision import decide
from nbship.monitoring.examination import compare
from nbship.monitoring.performance import losses_of
from nbship.monitoring.records import Records
from nbship.package.sample import Answers, ReferenceSample
from tests.monitoring.windows import (
    NOW,
    VERSION,
    cars,
    described,
    examined,
    joined,
    predicted,
    records,
    reference,
)

# A table of many cells takes minutes to shrink.
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.lists(st.floats(), max_size=3),
)
TABLES = st.sampled_from([0, 1, 2, 19, 25]).flatmap(
    lambda rows: st.fixed_dictionaries(
        {name: st.lists(CELLS, min_size=rows, max_size=rows) for name in ("weight", "doors", "origin")}
    )
)


def truth_of(rows: pd.DataFrame, seed: int, error: float = 2.0) -> list[float]:
    return (predicted(rows) + np.random.default_rng(seed).normal(0, error, len(rows))).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_a_window_like_the_reference_is_quiet(seed: int) -> None:
    rows = cars(150, seed)
    found = examined(records(rows, truth_of(rows, seed)))
    assert found.decision.state == "quiet", found.decision
    assert found.performance is not None and found.performance.covered is not None
    assert 0.8 < found.performance.covered <= 1
    assert found.promise is not None and found.promise.evidence < 20 and "kept" in found.promise.text


def test_a_column_that_moves_asks_to_act_and_says_why_and_since_when() -> None:
    before = records(cars(200, 1), begin=NOW - timedelta(days=13))
    found = examined(joined(before, records(cars(100, 2, heavier=900))))
    assert found.decision.state == "act"
    assert any(reason.startswith("weight: median") for reason in found.decision.reasons)
    assert found.joint is not None and found.joint.auc > 0.75 and found.joint.used[0][0] == "weight"
    ((name, since),) = found.changed
    assert name == "weight" and NOW - timedelta(days=8) < since <= NOW - timedelta(days=6)
    assert [each.name for each in found.columns] == ["weight", "doors", "origin"]


def test_columns_that_move_only_together_are_found_by_the_classifier() -> None:
    rows = cars(600, 3)
    linked = rows.assign(doors=np.where(rows["weight"] > 3000, 5, 2), weight=rows["weight"])
    apart = rows.assign(doors=np.random.default_rng(0).permutation(linked["doors"]))
    sample = ReferenceSample(apart.to_dict("list"), Answers(), "held out")
    changes = compare(described(apart), sample, linked)
    assert changes.joint is not None and changes.joint.auc > 0.7
    kinds = {finding.kind for finding in changes.findings if finding.state != "quiet"}
    assert kinds == {"joint"}


def test_labels_that_break_the_promise_ask_to_act_though_inputs_are_quiet() -> None:
    rows = cars(120, 4)
    found = examined(records(rows, truth_of(rows, 4, error=9.0)))
    assert found.decision.state == "act"
    assert "broken" in found.decision.reasons[0] and found.broken is not None
    assert [finding for finding in found.findings if finding.state == "act"] == []
    assert found.performance is not None and found.performance.covered_p is not None
    assert found.performance.covered_p < 1e-6
    rmse = found.performance.metrics[0]
    assert rmse.promised is not None and rmse.low > rmse.promised


def test_labels_are_judged_from_the_beginning_and_not_by_the_window() -> None:
    bad, good = cars(100, 5), cars(100, 6)
    before = records(bad, truth_of(bad, 5, error=12.0), begin=NOW - timedelta(days=30))
    found = examined(joined(before, records(good, truth_of(good, 6))))
    assert found.promise is not None and found.promise.evidence > 100
    assert found.broken is not None and found.broken < NOW - timedelta(days=20)


def test_other_versions_do_not_count_but_are_shown_over_time() -> None:
    other = records(cars(100, 7, heavier=2000), version="v0.9.0")
    rows = cars(100, 8)
    found = examined(joined(other, records(rows, truth_of(rows, 8))))
    assert (found.rows, found.decision.state) == (100, "quiet")
    assert {version for period in found.periods for version in period.versions} == {VERSION, "v0.9.0"}
    against = examined(records(rows, truth_of(rows, 8)), reference="v0.9.0")
    assert not [each for each in against.findings if each.kind == "prediction"]
    assert against.promise is None or against.promise.evidence == 0


def test_few_rows_and_none() -> None:
    assert examined(records(cars(5, 1))).decision.state == "too few"
    empty = examined(records(cars(0, 1)))
    assert (empty.rows, empty.decision.state, empty.findings) == (0, "too few", ())


def test_a_package_without_a_sample_is_compared_by_its_histograms() -> None:
    found = examined(records(cars(150, 1, heavier=900)), sample=None)
    assert found.decision.state == "act" and found.joint is None
    assert "no reference sample" in found.notes[0]
    assert examined(records(cars(150, 1)), sample=None).decision.state == "quiet"


def test_private_columns_are_not_compared() -> None:
    hashed = cars(60, 1).assign(origin=[f"{place:08x}" for place in range(60)])
    assert examined(records(hashed)).decision.state == "act"
    found = examined(records(hashed), private={"origin"})
    assert found.decision.state == "quiet"
    assert "origin" not in {each.name for each in found.columns}


def test_a_column_that_is_never_given_any_more_is_missing() -> None:
    found = examined(records(cars(60, 1).drop(columns="origin"), predictions=[20.0] * 60))
    assert any("origin: 100 % without a value" in reason for reason in found.decision.reasons)


def classified(
    rows: pd.DataFrame, seed: int, shift: float = 0.0
) -> tuple[list[str], list[list[float]], list[str]]:
    random = np.random.default_rng(seed)
    share = 1 / (1 + np.exp(-(rows["weight"].to_numpy(dtype=float) - 3000) / 400))
    truth = np.where(random.random(len(rows)) < np.clip(share + shift, 0, 1), "yes", "no")
    return np.where(share > 0.5, "yes", "no").tolist(), [[1 - s, s] for s in share], truth.tolist()


def test_a_classifiers_performance_is_estimated_only_while_its_inputs_are_quiet() -> None:
    held_out = cars(400, 9)
    predictions, shares, truth = classified(held_out, 9)
    rows = cars(400, 10)
    sample = ReferenceSample(rows.to_dict("list"), Answers(predictions, shares, truth), "held out")
    states = {}
    for heavier in (0.0, 900.0):
        window = cars(300, 11, heavier)
        said, given_shares, came = classified(window, 11)
        kept = records(window, came, said, probabilities=given_shares)
        from nbship.monitoring.examination import examine

        found = examine(
            described(rows, "classification"), sample, kept, NOW - timedelta(days=7), NOW, VERSION, VERSION
        )
        states[heavier] = found
    quiet = states[0.0]
    assert quiet.decision.state == "quiet" and quiet.estimate is not None and quiet.performance is not None
    accuracy = next(each for each in quiet.performance.metrics if each.name == "accuracy")
    assert abs(quiet.estimate.accuracy - accuracy.value) < 0.06
    assert quiet.estimate.low < quiet.estimate.accuracy < quiet.estimate.high
    assert states[900.0].decision.state == "act" and states[900.0].estimate is None


@given(st.randoms(use_true_random=False))
@settings(max_examples=2, deadline=None)
def test_the_order_of_the_rows_changes_nothing(random) -> None:
    rows = cars(60, 12, heavier=300)
    kept = records(rows, truth_of(rows, 12))
    order = list(range(60))
    random.shuffle(order)
    shuffled = Records(kept.inputs.iloc[order], kept.answers.iloc[order], kept.labels.iloc[order])
    one, other = examined(kept), examined(shuffled)
    assert one.decision == other.decision
    assert [each.adjusted for each in one.findings] == pytest.approx(
        [each.adjusted for each in other.findings]
    )
    assert one.joint == other.joint


@given(TABLES, st.booleans())
@settings(max_examples=25, deadline=None, phases=NO_SHRINKING, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_table_holds_something_is_said_of_it(table, with_sample) -> None:
    package, sample = reference(60)
    rows = pd.DataFrame(table, dtype=object)
    changes = compare(package, sample if with_sample else None, rows, together=False)
    assert all(0 <= each.p <= each.adjusted <= 1 and 0 <= each.effect <= 1 for each in changes.findings)
    assert decide(len(table["weight"]), changes.findings).state in ("too few", "quiet", "look", "act")


@given(TABLES)
@settings(max_examples=8, deadline=None, phases=NO_SHRINKING, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_reference_holds(table) -> None:
    rows = pd.DataFrame(table, dtype=object)
    package, sample = reference(60)
    odd = replace(sample, inputs=rows.to_dict("list"))
    assert compare(package, odd, cars(25, 1)).findings


@given(st.integers(0, 30), st.floats(600, 1500), st.floats(1.0, 3.0))
@settings(max_examples=15, deadline=None)
def test_more_drift_never_turns_act_into_quiet(seed, shift, times) -> None:
    package, sample = reference()
    states = []
    for heavier in (shift, shift * times):
        rows = cars(60, seed)
        moved = rows.assign(weight=rows["weight"] + heavier)
        states.append(decide(60, compare(package, sample, moved, together=False).findings).state)
    assert states[0] != "act" or states[1] == "act"


def test_labels_that_are_no_numbers_are_left_out() -> None:
    rows = cars(60, 13)
    truth = [*truth_of(rows, 13)[:57], "unknown", float("inf"), None]
    found = examined(records(rows, truth))
    assert found.performance is not None and found.performance.rows == 57
    assert found.promise is not None and 0 <= found.promise.evidence < 100
    assert found.decision.state == "quiet"


def test_a_class_that_the_model_does_not_know_counts_as_wholly_wrong() -> None:
    output = described(cars(50), "classification").output
    known, unknown = (
        losses_of(output, Answers(["yes"], [[0.0, 1.0]], [truth])).bounded for truth in ("no", "maybe")
    )
    assert known.tolist() == unknown.tolist() == [1.0]
