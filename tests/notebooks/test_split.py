"""What must hold of every table's split: a row keeps its side, whatever else changes in the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import sklearn.datasets
from tests.notebook_steps import real_data, run_notebook

IRIS = Path(sklearn.datasets.__file__).parent / "data" / "iris.csv"
MEASURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


@dataclass(frozen=True)
class Case:
    """A pipeline's table, and a column in it that no split may look at."""

    name: str
    target: str
    correct: Callable[[pd.Series], pd.Series]
    fraction: float

    def read(self, folder: Path) -> pd.DataFrame:
        if self.name == "iris":
            return pd.read_csv(IRIS, skiprows=1, names=[*MEASURES, "species"])
        if self.name == "churn":
            return pd.read_csv(run_notebook("churn/sample", folder, {"customers": 600})[0]["table"])
        return pd.read_csv(real_data(self.name, "table"))

    def write(self, rows: pd.DataFrame, path: Path) -> Path:
        if self.name == "iris":
            path.write_text("a line of scikit-learn's\n" + rows.to_csv(index=False, header=False))
        else:
            rows.to_csv(path, index=False)
        return path


CASES = [
    Case("auto-mpg", "mpg", lambda column: column + 1, 0.2),
    Case("churn", "Churn", lambda column: column.map({"Yes": "No", "No": "Yes"}), 0.2),
    Case("iris", "species", lambda column: (column + 1) % 3, 0.3),
]
Split = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def rows(case: Case, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return case.read(tmp_path_factory.mktemp("rows")).drop_duplicates(ignore_index=True)


@pytest.fixture(scope="module")
def split(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Split:
    def of(rows: pd.DataFrame, **values: object) -> tuple[pd.DataFrame, pd.DataFrame]:
        folder = tmp_path_factory.mktemp("split")
        given = {"table": case.write(rows, folder / "table.csv"), **values}
        paths, _ = run_notebook(f"{case.name}/prepare", folder, given)
        return pd.read_csv(paths["train_set"]), pd.read_csv(paths["test_set"])

    return of


@pytest.fixture(scope="module")
def sides(rows: pd.DataFrame, split: Split) -> tuple[pd.DataFrame, pd.DataFrame]:
    return split(rows)


def same(left: pd.DataFrame, right: pd.DataFrame, without: str = "") -> bool:
    return left.drop(columns=without or []).equals(right.drop(columns=without or []))


def test_about_the_share_asked_for_is_held_out(
    case: Case, sides: tuple[pd.DataFrame, pd.DataFrame], rows: pd.DataFrame
) -> None:
    train, test = sides
    assert len(train) + len(test) == len(rows)
    spread = (case.fraction * (1 - case.fraction) / len(rows)) ** 0.5
    assert len(test) / len(rows) == pytest.approx(case.fraction, abs=2.5 * spread)


def test_a_corrected_target_moves_nobody(
    case: Case, rows: pd.DataFrame, split: Split, sides: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    corrected = split(rows.assign(**{case.target: case.correct(rows[case.target])}))
    for before, after in zip(sides, corrected, strict=True):
        assert same(before, after, without=case.target)
        assert not same(before, after)


def test_an_added_column_moves_nobody(
    case: Case, rows: pd.DataFrame, split: Split, sides: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    if case.name == "iris":
        pytest.skip("its file has no names of columns, so none can be added")
    for before, after in zip(sides, split(rows.assign(colour=range(len(rows)))), strict=True):
        assert same(before, after[list(before)])


def test_who_has_the_same_inputs_is_on_the_same_side(
    case: Case, rows: pd.DataFrame, split: Split, sides: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    if case.name == "churn":
        pytest.skip("goes by the customer's number, and refuses one that is there twice")
    again = rows.assign(**{case.target: case.correct(rows[case.target])})
    doubled = split(pd.concat([rows, again], ignore_index=True))
    for before, after in zip(sides, doubled, strict=True):
        assert len(after) == 2 * len(before)
        assert same(before, after.head(len(before)))


def test_a_larger_share_only_adds_to_the_held_out_side(
    rows: pd.DataFrame, split: Split, sides: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    train, test = sides
    fewer, more = split(rows, test_fraction=0.45)
    assert len(more) > len(test)
    key = list(test)
    assert len(test.drop_duplicates().merge(more.drop_duplicates(), on=key)) == len(test.drop_duplicates())
    assert len(fewer.drop_duplicates().merge(train.drop_duplicates(), on=key)) == len(fewer.drop_duplicates())
