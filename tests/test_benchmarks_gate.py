"""The simulation of the gate: its README says what was measured, and what it simulates is what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks import gate

HERE = Path(gate.__file__).parent


def test_the_readme_says_what_was_measured() -> None:
    results = gate.Results.model_validate_json((HERE / "gate.json").read_bytes())
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    assert gate.markdown(results) in readme
    assert gate.update(readme, results) == readme


@pytest.mark.parametrize("ratio", gate.RATIOS)
def test_the_models_are_as_good_and_as_alike_as_it_says(ratio: float) -> None:
    random = np.random.default_rng(0)
    champion = random.standard_normal(200_000)
    candidate = gate._other(random, champion, 0.95, ratio)
    assert np.mean(candidate**2) / np.mean(champion**2) == pytest.approx(ratio, abs=0.02)
    assert np.corrcoef(candidate, champion)[0, 1] == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize("how", [gate.BEFORE, gate.HELD_OUT, gate.RECIPES])
def test_a_far_worse_model_is_seldom_accepted(how: str) -> None:
    assert gate.acceptance(78, 0.99, how, 8).shares[1.1] == 0
