"""`python -m benchmarks.drift`: how often `nbship monitor` is wrong about windows whose truth is known.

A table is taken for the population. Rows are drawn from it for the reference and for the window, with
predictions of models that were not trained on them, so that nothing drifts unless it is made to. Writes
drift.json and its tables into README.md; ten minutes on one core, with `--quick` less than one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVR

from benchmarks.report import table
from benchmarks.section import write_section
from nbship.monitoring.decision import decide
from nbship.monitoring.examination import Examination, examine
from nbship.monitoring.records import Records
from nbship.package import Origin, Package
from nbship.package.prediction_interval import measured_interval
from nbship.package.reference import read_reference
from nbship.package.sample import Answers, ReferenceSample, array_parts
from nbship.package.schema import Column, Interval, Output, describe_column

HERE = Path(__file__).parent
ROOT = HERE.parent
ROWS = (30, 100, 1000)
NONE, ONE, ALL, CONCEPT, LATER = "no drift", "one column", "all columns", "concept", "later years"
WINDOWS = {NONE: 60, ONE: 12, ALL: 12, CONCEPT: 12, LATER: 40}
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_MODEL = "v1.0.0"
_LARGEST_REFERENCE = 1000


class Outcome(BaseModel):
    """What was said of windows.

    Attributes:
        table: The data set.
        rows: Of each window.
        drift: What was done to it.
        labels: Whether labels came with it.
        act: Share of windows of which it was said.
        look: Share that was said to be worth a look; None with labels.
        windows: How many were simulated.
    """

    table: str
    rows: int
    drift: str
    labels: bool
    act: float
    look: float | None
    windows: int


class Results(BaseModel):
    """All that one run measured."""

    measured: date
    outcomes: list[Outcome]
    psi: list[tuple[str, int, float]]


@dataclass(frozen=True)
class Population:
    """A table with models that know nothing of the rows that they predict.

    Attributes:
        name: The data set.
        rows: Inputs.
        truth: The target.
        folds: The fold of each row.
        models: For each fold, one that has not learnt its rows.
        output: What they predict.
        columns: What they take.
    """

    name: str
    rows: pd.DataFrame
    truth: np.ndarray
    folds: np.ndarray
    models: Sequence[Any]
    output: Output
    columns: list[Column]

    def answers(self, places: np.ndarray, rows: pd.DataFrame) -> tuple[list[Any], list[list[float]]]:
        """Predicts rows, each by the model that has not learnt the place it was drawn from."""
        shown: np.ndarray = np.empty(len(rows), dtype=object)
        shares: list[list[float]] = [[] for _ in range(len(rows))]
        for fold, model in enumerate(self.models):
            (here,) = np.nonzero(self.folds[places] == fold)
            if len(here):
                shown[here] = model.predict(rows.iloc[here])
                if self.output.probabilities:
                    for place, row in zip(here, model.predict_proba(rows.iloc[here]), strict=True):
                        shares[place] = row.tolist()
        return shown.tolist(), shares


Drift = Callable[[pd.DataFrame, np.ndarray, np.random.Generator], tuple[pd.DataFrame, np.ndarray]]


def main(quick: bool) -> None:
    """Simulates and writes."""
    outcomes, psi = [], []
    for population in populations():
        for rows in ROWS:
            found, alarms = simulate(population, rows, quick)
            outcomes += found
            psi.append((population.name, rows, alarms))
    outcomes += list(later_years(quick))
    results = Results(measured=datetime.now(UTC).date(), outcomes=outcomes, psi=psi)
    print(markdown(results))
    if not quick:
        (HERE / "drift.json").write_text(results.model_dump_json(indent=2) + "\n", encoding="utf-8")
        write_section("drift", markdown(results))


def populations() -> Iterator[Population]:
    """Yields the four data sets, which DVC has brought here."""
    cars = read_reference(ROOT / "data.csv")
    yield population("auto-mpg", cars.drop(columns=["mpg", "name"], errors="ignore"), cars["mpg"])
    customers = read_reference(ROOT / "data/churn.csv").drop(columns="customerID")
    customers["TotalCharges"] = pd.to_numeric(customers["TotalCharges"], errors="coerce")
    customers = customers.iloc[np.random.default_rng(0).permutation(len(customers))[:3000]].reset_index(
        drop=True
    )
    yield population("churn", customers.drop(columns="Churn"), customers["Churn"])
    names = ["sepal length", "sepal width", "petal length", "petal width", "species"]
    flowers = pd.read_csv(ROOT / "data/iris.csv", skiprows=1, names=names).astype({"species": str})
    yield population("iris", flowers.drop(columns="species"), flowers["species"])
    with np.load(ROOT / "data/fashion-mnist.npz") as arrays:
        images, kinds = (np.concatenate([arrays[f"{of}_train"], arrays[f"{of}_test"]]) for of in "xy")
    yield population("fashion-mnist", _pictures(images), pd.Series(kinds.astype(str), name="label"))


def _pictures(images: np.ndarray) -> pd.DataFrame:
    """Mean and spread, which are what is kept of images, and 16 coarse parts for the model to go by."""
    parts = array_parts(list(images))
    coarse = images.astype("float64").reshape(-1, 4, 7, 4, 7).mean(axis=(2, 4)).reshape(len(images), 16)
    named = {f"part {place}": coarse[:, place] for place in range(16)}
    return pd.DataFrame({"image (mean)": parts["mean"], "image (spread)": parts["spread"], **named})


def population(name: str, rows: pd.DataFrame, target: pd.Series[Any]) -> Population:
    """Fits the models of a table and describes it."""
    described = [describe_column(rows[column]) for column in rows]
    numeric = target.dtype.kind == "f"
    plain = rows.astype({c.name: "float64" if c.is_number else "object" for c in described})
    plain = plain.where(plain.notna(), np.nan)
    truth = target.to_numpy(dtype="float64" if numeric else object)
    last = SVR(C=30) if numeric else LogisticRegression(max_iter=300)
    features = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include=object)),
    )
    folds = np.random.default_rng(0).integers(0, 5, len(rows))
    models = []
    for fold in range(5):
        learn = folds != fold
        known = truth[learn] if numeric else truth[learn].astype(str)
        models.append(clone(make_pipeline(features, last)).fit(plain[learn], known))
    classes = [] if numeric else models[0].classes_.tolist()
    output = Output(
        kind="regression" if numeric else "classification",
        target=str(target.name),
        classes=classes,
        probabilities=not numeric,
        reference=Column(name=str(target.name), type="number"),
    )
    made = Population(name, plain, truth if numeric else truth.astype(str), folds, models, output, described)
    if numeric:
        predicted = np.array(made.answers(np.arange(len(rows)), plain)[0], dtype="float64")
        parts = [part for _, part in KFold(5, shuffle=True, random_state=0).split(truth)]
        _, interval = measured_interval("additive", truth, predicted, parts)
        output = output.model_copy(update={"interval": interval})
        made = Population(name, plain, truth, folds, models, output, described)
    _say(f"{name}: {len(rows)} rows")
    return made


def drifts(population: Population) -> dict[str, Drift]:
    """Returns what can be done to a window: half a standard deviation more, or half of the labels mixed."""
    numeric = [column.name for column in population.columns if column.is_number]
    first = numeric[0]

    def shifted(names: Sequence[str]) -> Drift:
        def change(
            rows: pd.DataFrame, truth: np.ndarray, _: np.random.Generator
        ) -> tuple[pd.DataFrame, np.ndarray]:
            moved = {name: rows[name] + population.rows[name].std() / 2 for name in names}
            return rows.assign(**moved), truth

        return change

    def concept(
        rows: pd.DataFrame, truth: np.ndarray, random: np.random.Generator
    ) -> tuple[pd.DataFrame, np.ndarray]:
        if population.output.kind == "regression":
            return rows, truth + truth.std() / 2
        return rows, np.where(random.random(len(truth)) < 0.5, random.permutation(truth), truth)

    same: Drift = lambda rows, truth, _: (rows, truth)  # noqa: E731
    return {NONE: same, ONE: shifted([first]), ALL: shifted(numeric), CONCEPT: concept}


def simulate(population: Population, rows: int, quick: bool) -> tuple[list[Outcome], float]:
    """Draws references and windows; returns what was said, and how often PSI was above .2 without drift."""
    found, alarms = [], []
    for drift, change in drifts(population).items():
        said = {False: [], True: []}
        # The more rows, the longer one takes.
        windows = max(3, WINDOWS[drift] // (20 if quick else 2 if rows >= 1000 else 1))
        for number in range(windows):
            random = np.random.default_rng([number, rows])
            package, sample = reference(population, random)
            places = random.integers(0, len(population.rows), rows)
            inputs, truth = change(
                population.rows.iloc[places].reset_index(drop=True), population.truth[places], random
            )
            report = judged(package, sample, window(population, places, inputs, truth))
            said[True].append(report.decision.state)
            said[False].append(decide(rows, report.findings).state)
            if drift == NONE:
                alarms.append(any((column.psi or 0) > 0.2 for column in report.columns))
        for labels, states in said.items():
            act, look = (states.count(each) / windows for each in ("act", "look"))
            found.append(
                Outcome(
                    table=population.name,
                    rows=rows,
                    drift=drift,
                    labels=labels,
                    act=act,
                    look=None if labels else look,
                    windows=windows,
                )
            )
            _say(str(found[-1]))
    return found, sum(alarms) / len(alarms)


def judged(package: Package, sample: ReferenceSample, records: Records) -> Examination:
    """Examines all that was kept as one window."""
    return examine(package, sample, records, _NOW - timedelta(days=7), _NOW, _MODEL, _MODEL)


def later_years(quick: bool) -> Iterator[Outcome]:
    """Says of cars of 1977 and later what a model is told that learnt of those until 1976."""
    cars = read_reference(ROOT / "data.csv")
    before, after = cars[cars["yr"] <= 76], cars[cars["yr"] >= 77]
    known = population(
        "auto-mpg",
        before.drop(columns=["mpg", "name"], errors="ignore").reset_index(drop=True),
        before["mpg"].reset_index(drop=True),
    )
    random = np.random.default_rng(0)
    for rows in (30, 100):
        said = []
        windows = max(3, WINDOWS[LATER] // (20 if quick else 1))
        for _ in range(windows):
            package, sample = reference(known, random, len(before))
            drawn = after.sample(rows, random_state=int(random.integers(2**31)))
            inputs = drawn[list(known.rows)].astype("float64").reset_index(drop=True)
            records = window(known, np.zeros(rows, dtype=int), inputs, drawn["mpg"].to_numpy(dtype="float64"))
            said.append(decide(rows, judged(package, sample, records).findings).state)
        act, look = (said.count(each) / windows for each in ("act", "look"))
        yield Outcome(
            table="auto-mpg", rows=rows, drift=LATER, labels=False, act=act, look=look, windows=windows
        )


def reference(
    population: Population, random: np.random.Generator, count: int = 0
) -> tuple[Package, ReferenceSample]:
    """Draws the rows of a reference, a third as many held out, and describes them as a package does."""
    count = count or min(len(population.rows), _LARGEST_REFERENCE)
    places = random.integers(0, len(population.rows), count)
    rows = population.rows.iloc[places].reset_index(drop=True)
    held_out = random.integers(0, len(population.rows), max(count // 3, 40))
    predictions, shares = population.answers(held_out, population.rows.iloc[held_out])
    interval = population.output.interval
    ends = [interval.around(each) for each in predictions] if interval else []
    answers = Answers(
        predictions,
        shares if population.output.probabilities else [],
        population.truth[held_out].tolist(),
        [end[0] for end in ends],
        [end[1] for end in ends],
    )
    typed = {c.name: rows[c.name].convert_dtypes() for c in population.columns}
    columns = [describe_column(typed[c.name]).model_copy(update={"type": c.type}) for c in population.columns]
    package = Package(
        name=population.name,
        sha256="",
        origin=Origin(run="simulated", started=_NOW),
        inputs=columns,
        output=population.output,
        rows=count,
        metrics={},
        libraries={},
        golden=[],
    )
    return package, ReferenceSample({name: rows[name].tolist() for name in rows}, answers, "held out")


def window(population: Population, places: np.ndarray, inputs: pd.DataFrame, truth: np.ndarray) -> Records:
    """Returns what a server would have kept."""
    predictions, shares = population.answers(places, inputs)
    interval: Interval | None = population.output.interval
    ends = [interval.around(each) if interval else [np.nan, np.nan] for each in predictions]
    index = pd.Index([f"{place:06d}" for place in range(len(inputs))], name="id")
    times = pd.to_datetime([_NOW - timedelta(days=6, seconds=-place) for place in range(len(inputs))])
    answers = pd.DataFrame(
        {
            "time": times,
            "version": _MODEL,
            "prediction": predictions,
            "low": [end[0] for end in ends],
            "high": [end[1] for end in ends],
            "probabilities": [row or None for row in shares],
            "flags": [[] for _ in predictions],
        },
        index=index,
    )
    labels = pd.DataFrame({"value": truth, "arrived": times}, index=index)
    return Records(inputs.set_axis(index), answers, labels)


def markdown(results: Results) -> str:
    """Returns the results as Markdown tables."""
    false = [each for each in results.outcomes if each.drift == NONE]
    wrong = sum(each.act * each.windows for each in false)
    total = sum(each.windows for each in false)
    (later,) = (each for each in results.outcomes if each.drift == LATER and each.rows == 100)
    bars = [
        (
            "false *act*, of windows without drift",
            f"{wrong / total:.1%} of {total:,}",
            "≤ 2 %",
            wrong / total <= 0.02,
        ),
        (
            "auto-mpg's later years found, 100 rows, no labels",
            f"{later.act:.0%}",
            "≥ 95 %",
            later.act >= 0.95,
        ),
    ]
    headings = [
        "table",
        "rows",
        *(f"{drift}{told}" for drift in (NONE, ONE, ALL, CONCEPT) for told in ("", ", labels")),
    ]
    return "\n".join(
        [
            f"Simulated on {results.measured:%d %B %Y}.\n",
            *table(
                ["", "measured", "bar", ""], [(*bar[:3], "met" if bar[3] else "**missed**") for bar in bars]
            ),
            "\n### Share of windows of which *act* is said, and in brackets *look*\n",
            *table(headings, _rows(results)),
            "\n### PSI above .2 on some column, without drift\n",
            *table(["table", *map(str, ROWS)], _psi_rows(results)),
        ]
    )


def _rows(results: Results) -> Iterator[Sequence[str]]:
    told = {(o.table, o.rows, o.drift, o.labels): _shares(o) for o in results.outcomes}
    for name, rows in dict.fromkeys((o.table, o.rows) for o in results.outcomes if o.drift == NONE):
        cells = (
            told.get((name, rows, drift, labels), "–")
            for drift in (NONE, ONE, ALL, CONCEPT)
            for labels in (False, True)
        )
        yield name, f"{rows:,}", *cells


def _psi_rows(results: Results) -> Iterator[Sequence[str]]:
    for name in dict.fromkeys(each[0] for each in results.psi):
        yield name, *(f"{share:.0%}" for other, _, share in results.psi if other == name)


def _shares(outcome: Outcome) -> str:
    return _share(outcome.act) + ("" if outcome.look is None else f" ({_share(outcome.look)})")


def _share(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few windows; writes no file")
    arguments = parser.parse_args()
    # One core, whatever the machine has: set before the libraries start their threads.
    if os.environ.get("OMP_NUM_THREADS") != "1":
        one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **one})  # noqa: S606
    main(arguments.quick)
