"""What the gate is told of held-out rows: which the champion has seen, what was tried, what adds up."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from nbship.config import Gate
from nbship.gate import Verdict
from nbship.package import trained
from nbship.workflow.judging import Evidence, decide, held_out_hash

INPUTS = ["a", "b"]


def rows(*numbers: int, **more: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {"a": numbers, "b": [f"w{n}" for n in numbers], "y": [2 * n for n in numbers], **more}
    )


@pytest.fixture
def write(tmp_path):
    """Writes the files of a run: rows, and losses that make the candidate a tenth better in each row."""

    def written(
        held_out: pd.DataFrame, reference: pd.DataFrame, champion: pd.DataFrame | None, **more: Any
    ) -> Evidence:
        for name, table in (("held_out", held_out), ("reference", reference), ("champion", champion)):
            if table is not None:
                table.to_csv(tmp_path / f"{name}.csv", index=False)
        identifiers = [f"row-{n}" for n in range(len(held_out))]
        for name, loss in (("losses", 0.9), ("champion_losses", 1.0)):
            losses = pd.DataFrame(
                {"row": identifiers, "loss": [loss * (1 + n) for n in range(len(held_out))]}
            )
            losses.to_csv(tmp_path / f"{name}.csv", index=False)
        if champion is not None:
            trained.write_trained_rows(tmp_path / "rows.npz", tmp_path / "champion.csv", INPUTS)
        given: dict[str, Any] = {
            "losses": tmp_path / "losses.csv",
            "champion_losses": tmp_path / "champion_losses.csv",
            "held_out": tmp_path / "held_out.csv",
            "reference": tmp_path / "reference.csv",
            "target": "y",
            "champion_rows": tmp_path / "rows.npz" if champion is not None else None,
        }
        return Evidence(**{**given, **more})

    return written


def verdict(evidence: Evidence) -> Verdict:
    return decide(Gate(), {}, evidence)


def described(**verdict: Any) -> Any:
    """All that is looked at of a champion's description."""
    return SimpleNamespace(verdict=Verdict(passed=True, reasons=(), **verdict))


def test_with_nothing_seen_all_rows_are_compared(write):
    judged = verdict(write(rows(*range(50)), rows(*range(50, 200)), rows(*range(50, 190))))
    assert judged.comparison.rows == 50
    assert judged.notes == ()


def test_a_split_that_moved_is_found_although_a_column_was_added(write):
    """The champion learnt from rows that are held out now, in a table that has a column more since."""
    held_out, reference = (rows(*numbers, new=0.5) for numbers in (range(100), range(100, 200)))
    judged = verdict(write(held_out, reference, rows(*range(60, 200))))
    assert judged.comparison.rows == 60
    assert judged.notes == ("the champion was trained on 40 of 100 held-out rows, which are left out",)


def test_a_corrected_target_does_not_hide_a_row(write):
    corrected = rows(*range(100)).assign(y=-1)
    judged = verdict(write(corrected, rows(*range(100, 200)), rows(*range(60, 200))))
    assert judged.comparison.rows == 60


def test_with_nearly_all_rows_seen_thresholds_decide(write):
    judged = verdict(write(rows(*range(85)), rows(*range(85, 200)), rows(*range(13, 200))))
    assert (judged.passed, judged.comparison) == (True, None)
    assert "72 of 85 held-out rows; 13 are left" in judged.notes[0]


def test_rows_that_both_have_learnt_are_no_advantage_and_are_told(write):
    """As in a coarse table with keys, where different customers have the same inputs."""
    everything = rows(*range(100))
    judged = verdict(write(rows(*range(40)), everything, everything))
    assert judged.comparison.rows == 40
    assert judged.notes == (
        "40 of 40 held-out rows have the same inputs as a row that the model was trained on: "
        "it seems better than it is",
    )


def test_a_first_model_that_learnt_held_out_rows_is_told_of(write):
    evidence = write(rows(*range(10)), rows(*range(8, 50)), None, champion_losses=None)
    assert "2 of 10 held-out rows have the same inputs" in verdict(evidence).notes[0]


@pytest.mark.parametrize("missing", ["held_out", "reference", "champion_rows"])
def test_what_is_not_known_of_the_champion_is_told(write, missing):
    tables = rows(*range(50)), rows(*range(50, 200)), rows(*range(50, 200))
    judged = verdict(replace(write(*tables), **{missing: None}))
    assert judged.comparison.rows == 50
    assert "which of the held-out rows the champion was trained on is not known" in judged.notes[0]


def test_a_column_that_is_gone_and_losses_of_other_rows_are_told(write):
    tables = rows(*range(50)), rows(*range(50, 200)), rows(*range(50, 200))
    gone = verdict(write(tables[0].drop(columns="b"), tables[1], tables[2]))
    assert "the table has no column 'b'" in gone.notes[0]
    evidence = write(*tables)
    rows(*range(49)).to_csv(evidence.held_out, index=False)
    assert "50 losses, 49 held-out rows" in verdict(evidence).notes[0]


def test_tries_go_on_with_the_champions_as_long_as_the_held_out_rows_are_the_same(write):
    evidence = write(rows(*range(50)), rows(*range(50, 200)), rows(*range(50, 200)), tried=2)
    same = held_out_hash({f"row-{n}": 0.0 for n in reversed(range(50))})
    assert verdict(evidence).tries == 3
    for held_out_set, tries in ((same, 7), ("others", 3)):
        champion = described(tries=4, held_out_set=held_out_set)
        judged = decide(Gate(), {}, replace(evidence, champion=champion))
        assert (judged.tries, judged.held_out_set) == (tries, same)


def test_the_distance_from_the_best_model_goes_on_with_the_champion(write):
    evidence = write(rows(*range(50)), rows(*range(50, 200)), rows(*range(50, 200)))
    judged = decide(Gate(), {}, replace(evidence, champion=described(above_best=0.2)))
    assert judged.above_best == pytest.approx(1.2 * 0.9 - 1)
    assert not judged.passed
