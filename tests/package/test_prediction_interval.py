"""The interval of a regression: of the kind that fits its errors, and judged by rows that did not set it."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression
from threadpoolctl import threadpool_info, threadpool_limits

from nbship.package.prediction_interval import cross_validated_interval, interval_score
from nbship.package.schema import Interval

RANDOM = np.random.default_rng(3)
X = RANDOM.uniform(1, 10, (400, 1))
NOISE = RANDOM.normal(size=400)


def test_errors_that_grow_with_the_prediction_give_a_share_of_it():
    truth = 5 * X[:, 0] * np.exp(0.1 * NOISE)
    interval = cross_validated_interval(LinearRegression(), X, truth)
    assert interval is not None
    assert interval.kind == "multiplicative"
    assert interval.low < 1 < interval.high
    small, large = truth[X[:, 0] < 4], truth[X[:, 0] > 7]
    for part, x in ((small, X[X[:, 0] < 4]), (large, X[X[:, 0] > 7])):
        low, high = np.array([interval.around(5 * value) for value in x[:, 0]]).T
        assert 0.82 < ((low <= part) & (part <= high)).mean() < 0.97


def test_errors_of_one_size_give_one_width():
    interval = cross_validated_interval(LinearRegression(), X, 5 * X[:, 0] + 3 + 0.5 * NOISE)
    assert interval is not None
    assert interval.kind == "additive"
    assert interval.low < 0 < interval.high


@pytest.mark.parametrize("shift", [-30.0, 0.0], ids=["negative", "around zero"])
def test_a_target_that_is_not_positive_has_no_shares(shift):
    interval = cross_validated_interval(LinearRegression(), X, X[:, 0] - 5 + shift + NOISE)
    assert interval is not None
    assert interval.kind == "additive"


def test_no_row_is_judged_by_itself():
    """Judged by the very rows that set it, the middle 90 % of 50 errors is 92 % of them."""
    covered = []
    for seed in range(40):
        truth = np.random.default_rng(seed).normal(size=50)
        interval = cross_validated_interval(DummyRegressor(), np.zeros((50, 1)), truth)
        assert interval is not None
        covered.append(interval.coverage)
    assert np.mean(covered) < 0.9


def test_an_older_package_has_an_interval_of_one_width():
    read = Interval.model_validate(json.loads('{"low": -2, "high": 3, "coverage": 0.9}'))
    assert read.around(10.0) == [8.0, 13.0]


@given(st.floats(-1e6, 1e6), st.floats(0.1, 1), st.floats(1, 3))
def test_the_lower_end_is_below_the_upper_one(value, low, high):
    ends = Interval(kind="multiplicative", low=low, high=high, coverage=0.9).around(value)
    assert ends == sorted(ends)


def test_the_interval_score_is_the_width_and_twenty_times_what_lies_outside():
    truth, low, high = np.array([0.0, 5.0]), np.array([-1.0, 1.0]), np.array([1.0, 3.0])
    assert interval_score(truth, low, high) == pytest.approx((2 + (2 + 20 * 2)) / 2)


class Watchful(LinearRegression):
    """Notes how many threads the libraries may start while it is fitted."""

    threads: ClassVar[list[int]] = []

    def fit(self, table, target):  # type: ignore[no-untyped-def]
        self.threads.extend(each["num_threads"] for each in threadpool_info())
        return super().fit(table, target)


# Many small fits: on a busy machine threads that wait for each other took six times as long as one alone.
def test_refits_keep_to_one_thread():
    rows = np.arange(100.0)[:, np.newaxis]
    with threadpool_limits(limits=2):
        assert cross_validated_interval(Watchful(), rows, rows[:, 0] + 1)
        assert {each["num_threads"] for each in threadpool_info()} == {2}
    assert Watchful.threads and set(Watchful.threads) == {1}
