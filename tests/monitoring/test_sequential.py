"""Looking every day does not add up: bets on fair losses seldom make rich, and bets on worse ones do soon."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nbship.monitoring.sequential import capital, upper_bound


def test_fair_play_seldom_makes_rich_however_often_one_looks() -> None:
    random = np.random.default_rng(0)
    rich = [capital(random.beta(1, 9, 250), 0.1).max() >= 20 for _ in range(150)]
    assert np.mean(rich) <= 0.05


@pytest.mark.parametrize("good", [0, 50, 1000])
def test_worse_losses_make_rich_soon_however_long_all_was_well_before(good: int) -> None:
    random = np.random.default_rng(1)
    losses = np.concatenate([random.beta(1, 9, good), random.beta(3, 7, 100)])
    (rich,) = np.nonzero(capital(losses, 0.1) >= 100)
    assert good < rich[0] < good + 80


@given(arrays(float, st.integers(0, 40), elements=st.floats(0, 1)), st.floats(0, 1))
def test_nobody_owes_anything(losses: np.ndarray, mean: float) -> None:
    riches = capital(losses, mean)
    assert len(riches) == len(losses)
    assert (riches >= 0).all() and np.isfinite(riches).all()


def test_the_bound_is_above_the_mean_and_comes_nearer_with_rows() -> None:
    random = np.random.default_rng(2)
    bounds = [upper_bound(random.beta(1, 9, rows), 0.005) for rows in (30, 300, 3000)]
    assert 0.35 > bounds[0] > bounds[1] > bounds[2] > 0.1
    missed = [upper_bound(random.beta(1, 9, 50), 0.05) < 0.1 for _ in range(60)]
    assert np.mean(missed) <= 0.05


def test_the_bound_does_not_depend_on_the_order() -> None:
    losses = np.random.default_rng(3).random(60)
    assert upper_bound(losses, 0.01) == pytest.approx(upper_bound(losses[::-1], 0.01), abs=1e-9)
