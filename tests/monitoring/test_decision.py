"""The rule: what is shown and large asks to act, what is shown alone for a look, and few rows for nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.monitoring.decision import FEWEST_ROWS, RELEVANT, Finding, Promise, adjust, decide

P_VALUES = st.floats(0, 1)
FINDINGS = st.lists(
    st.builds(Finding, st.sampled_from(list(RELEVANT)), st.just("x"), P_VALUES, P_VALUES, st.just("t"))
)


def found(p: float, effect: float, tests: int = 1) -> tuple[Finding, ...]:
    return adjust(
        [
            Finding("distribution", "x", p, effect, "it moved"),
            *[Finding("missing", "y", 1, 0, "no")] * (tests - 1),
        ]
    )


@pytest.mark.parametrize(
    ("p", "effect", "tests", "state"),
    [
        (0.001, 0.3, 1, "act"),
        (0.001, 0.1, 1, "look"),  # sure, and small
        (0.03, 0.9, 1, "look"),  # large, and not sure enough
        (0.3, 0.9, 1, "quiet"),
        (0.001, 0.3, 40, "look"),  # one of forty tests
        (0.001, 0.3, 100, "quiet"),
    ],
)
def test_it_takes_both_certainty_and_size_to_act(p: float, effect: float, tests: int, state: str) -> None:
    decision = decide(100, found(p, effect, tests))
    assert decision.state == state
    assert decision.reasons


def test_a_broken_promise_is_enough() -> None:
    assert decide(100, [], Promise(100, "rmse 9")).state == "act"
    assert decide(3, [], Promise(100, "rmse 9")).reasons == ("rmse 9",)
    assert decide(100, [], Promise(99, "rmse 9")).state == "look"
    assert decide(100, [], Promise(1, "rmse 2", ("the intervals do not hold",))).reasons == (
        "the intervals do not hold",
    )


def test_few_rows_are_not_judged() -> None:
    decision = decide(FEWEST_ROWS - 1, found(0, 1))
    assert (decision.state, decision.reasons[0][:20]) == ("too few", "19 records: too few ")
    assert decide(FEWEST_ROWS, found(0, 1)).state == "act"


@given(FINDINGS)
def test_holm_is_between_none_and_bonferroni_and_keeps_the_order(findings: list[Finding]) -> None:
    adjusted = adjust(findings)
    assert sorted(each.p for each in findings) == [each.p for each in adjusted]
    for before, after in pairwise(adjusted):
        assert before.adjusted <= after.adjusted
    assert all(each.p <= each.adjusted <= min(1.0, each.p * len(findings)) + 1e-9 for each in adjusted)
    assert adjust(findings[::-1]) == adjusted
