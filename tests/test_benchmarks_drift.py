"""The simulation of drift: its README says what was measured, and what it simulates is what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks import drift

HERE = Path(drift.__file__).parent


@pytest.fixture(scope="module")
def population() -> drift.Population:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"weight": random.normal(3000, 500, 200), "power": random.normal(100, 20, 200)})
    return drift.population(
        "cars", rows, pd.Series(50 - rows["weight"] / 140 + random.normal(0, 1, 200), name="mpg")
    )


def test_the_readme_says_what_was_measured_and_the_bars_are_met() -> None:
    results = drift.Results.model_validate_json((HERE / "drift.json").read_bytes())
    text = drift.markdown(results)
    assert text.strip() in (HERE / "README.md").read_text(encoding="utf-8")
    assert "missed" not in text
    assert {each.table for each in results.outcomes} == {"auto-mpg", "churn", "iris", "fashion-mnist"}


def test_nothing_drifts_unless_it_is_made_to(population: drift.Population) -> None:
    random = np.random.default_rng(1)
    package, sample = drift.reference(population, random)
    places = random.integers(0, 200, 100)
    said = {}
    for name, change in drift.drifts(population).items():
        rows = population.rows.iloc[places].reset_index(drop=True)
        inputs, truth = change(rows, population.truth[places], random)
        said[name] = drift.judged(
            package, sample, drift.window(population, places, inputs, truth)
        ).decision.state
    assert said[drift.NONE] == "quiet"
    assert said[drift.ALL] == "act"
    assert said[drift.CONCEPT] in ("look", "act")


def test_no_prediction_is_of_a_model_that_knows_the_row(population: drift.Population) -> None:
    for fold, model in enumerate(population.models):
        assert (population.folds == fold).sum() > 0
        places = np.flatnonzero(population.folds == fold)
        shown, _ = population.answers(places, population.rows.iloc[places])
        np.testing.assert_allclose(shown, model.predict(population.rows.iloc[places]))
