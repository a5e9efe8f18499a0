"""Columns that give the target away."""

import numpy as np
import pandas as pd
import pytest

from nbship.templates.leaks import Leaks, find_leaks, skill_alone

ROWS = 600
RANDOM = np.random.default_rng(4)
X = RANDOM.normal(size=ROWS)
Y = {"regression": X + RANDOM.normal(size=ROWS), "classification": np.where(X > 0, "yes", "no")}


@pytest.mark.parametrize("task", Y)
def test_what_gives_the_target_away(task):
    y = Y[task]
    number = y if task == "regression" else (y == "yes").astype(float)
    wrong = (RANDOM.random(ROWS) < 0.01) & (task == "classification")
    rows = pd.DataFrame(
        {
            "noise": RANDOM.normal(size=ROWS),
            "useful": number + RANDOM.normal(size=ROWS),
            "other unit": 1.8 * number + 32,
            "afterwards": np.where(wrong, 1 - number, number) + RANDOM.normal(0, 0.1, ROWS),
            "id": pd.Series(number + RANDOM.normal(0, 0.3, ROWS)).rank(),
            "uuid": [f"{i:06}" for i in RANDOM.permutation(ROWS)],
            "y": y,
        }
    )
    found = find_leaks(rows, "y", task, ["noise", "useful", "other unit", "afterwards"], ["id", "uuid"])
    assert found.copies == ("other unit",)
    assert list(found.telling) == ["afterwards"]
    assert list(found.ranking) == ["id"]


def test_a_few_rows_tell_nothing():
    rows = pd.DataFrame({"x": range(30), "y": range(30)})
    assert find_leaks(rows, "y", "regression", ["x"], []) == Leaks((), {}, {})


@pytest.mark.parametrize("task", Y)
def test_a_column_is_judged_on_rows_not_learnt_from(task):
    words = pd.Series([f"w{i}" for i in range(ROWS)])
    assert abs(skill_alone(words, pd.Series(Y[task]), task)) < 0.05
    assert skill_alone(pd.Series(X), pd.Series(Y[task]), task) > 0.3
