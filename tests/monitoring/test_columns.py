"""Each column by itself: what moves is found, with its size; what does not is not; old packages will do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nbship.monitoring.columns import ColumnChange, compare_column
from nbship.package.reference import as_json_has_it
from nbship.package.schema import describe_column

RANDOM = np.random.default_rng(5)
WEIGHT = pd.Series(RANDOM.normal(3000, 500, 500), name="weight")
ORIGIN = pd.Series(RANDOM.choice(["usa", "japan", "europe"], 500), name="origin")


def changed(reference: pd.Series, window: list, sample: bool = True) -> ColumnChange:
    column = describe_column(as_json_has_it(reference.to_frame())[reference.name])
    return compare_column(
        column, len(reference), reference if sample else None, pd.Series(window, dtype=object)
    )


def ps(change: ColumnChange) -> dict[str, float]:
    return {finding.kind: finding.p for finding in change.findings}


@pytest.mark.parametrize("sample", [True, False])
def test_numbers_that_move(sample: bool) -> None:
    same = changed(WEIGHT, WEIGHT.sample(100, random_state=1).tolist(), sample)
    assert min(ps(same).values()) > 0.05
    moved = changed(WEIGHT, (WEIGHT.sample(100, random_state=1) + 400).tolist(), sample)
    assert ps(moved)["distribution"] < 1e-6
    effect = next(each.effect for each in moved.findings if each.kind == "distribution")
    assert 0.2 < effect < 0.5
    assert ("median" in str(moved.findings[1])) == sample


@pytest.mark.parametrize("sample", [True, False])
def test_words_that_move(sample: bool) -> None:
    same = changed(ORIGIN, ORIGIN.sample(100, random_state=1).tolist(), sample)
    assert min(ps(same).values()) > 0.05
    moved = changed(ORIGIN, ["japan"] * 70 + ["usa"] * 30, sample)
    finding = next(each for each in moved.findings if each.kind == "distribution")
    assert finding.p < 1e-9
    assert "japan 70 %, was 3" in finding.text


def test_words_never_seen_are_held_against_what_is_to_be_expected_of_the_unseen() -> None:
    assert ps(changed(ORIGIN, ["mars"] * 5 + ["usa"] * 45))["new words"] < 0.001
    many = pd.Series(
        [f"n{place}" for place in range(20) for _ in range(2 + place % 3)] + ["lone1", "lone2"], name="city"
    )
    # In a column where two of its rows have a word of their own, one of fifty new ones is no surprise.
    assert ps(changed(many, ["n1"] * 49 + ["new"]))["new words"] > 0.2


def test_gaps_and_numbers_beyond_the_range() -> None:
    gaps = changed(WEIGHT, WEIGHT.tolist()[:80] + [None] * 10 + [float("nan")] * 10)
    assert ps(gaps)["missing"] < 1e-9
    assert "20 % without a value, was 0 %" in gaps.findings[0].text
    beyond = changed(WEIGHT, WEIGHT.tolist()[:95] + [9000.0] * 5)
    assert ps(beyond)["range"] < 0.01
    assert ps(changed(WEIGHT, [*WEIGHT.tolist()[:99], 9000.0]))["range"] > 0.1


def test_categories_that_a_file_turned_into_fractions_are_the_same() -> None:
    doors = pd.Series(["2", "4"] * 50, name="doors")
    assert ps(changed(doors, [2.0, 4.0] * 20))["new words"] == 1.0


def test_texts_by_length_and_by_words_never_seen() -> None:
    notes = pd.Series([f"a car of {place} with doors and a roof" for place in range(200)], name="note")
    column = describe_column(as_json_has_it(notes.to_frame())["note"])
    assert column.type == "text"
    same = changed(notes, [f"a car of {place} with doors and a roof" for place in range(300, 340)])
    assert all(p > 0.01 for kind, p in ps(same).items() if kind != "distribution")
    other = changed(notes, ["ein kurzer Satz"] * 40)
    assert ps(other)["distribution"] < 1e-6


def test_psi_is_a_description_and_never_a_finding() -> None:
    random = np.random.default_rng(0)
    change = changed(WEIGHT, random.normal(3000, 500, 30).tolist())
    assert change.psi is not None and change.psi > 0.1
    assert "psi" not in {finding.kind for finding in change.findings}


def test_the_bars_of_both_sum_to_one() -> None:
    for change in (changed(WEIGHT, [1.0, 2.0, 9000.0]), changed(ORIGIN, ["usa", "mars"])):
        assert change.bars is not None
        assert sum(change.bars.reference) == pytest.approx(1)
        assert sum(change.bars.window) == pytest.approx(1)
        assert len(change.bars.labels) == len(change.bars.reference) == len(change.bars.window)


def test_the_labels_of_bars_are_plain_numbers() -> None:
    change = changed(WEIGHT, (WEIGHT.sample(50, random_state=2)).tolist())
    assert change.bars is not None and all(label.isdigit() for label in change.bars.labels)
    doors = changed(pd.Series([2, 4, 4, 5] * 20, name="doors"), [2, 2, 3])
    assert doors.bars is not None and doors.bars.labels == ("2", "3", "4", "5")
