"""`python -m benchmarks.intervals`: how often a regression's interval holds, by range of the prediction.

Fits the pipeline of auto-mpg to four fifths of the table again and again, measures both kinds of intervals on
these rows as packaging does, and looks at the last fifth. Writes the table of README.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

import joblib
import numpy as np
import pandas as pd
from rich.console import Console
from rich.markdown import Markdown
from sklearn.base import clone
from sklearn.model_selection import KFold, ShuffleSplit, cross_val_predict

from benchmarks.section import write_section
from benchmarks.workspace import program, workspace
from nbship.package.prediction_interval import cross_validated_interval, interval_score, measured_interval
from nbship.record import find_run

Kind = Literal["additive", "multiplicative"]
ROOT = Path(__file__).parents[1]
RANGES = {"below 18 mpg": (-np.inf, 18.0), "18 to 30 mpg": (18.0, 30.0), "above 30 mpg": (30.0, np.inf)}


def measure(splits: int) -> tuple[str, int]:
    """Returns the table as Markdown, and how often each kind was taken."""
    with workspace() as space:
        project = space.copy_project(ROOT, "intervals")
        space.seconds([program("nbship"), "run", "auto-mpg"], project)
        _, folder = find_run(project, "auto-mpg", "")
        model = joblib.load(next(folder.glob("artifacts/train/**/*.joblib")))
        cars = pd.read_csv(project / "data.csv")
    inputs, truth = cars[model.feature_names_in_], cars["mpg"].to_numpy()
    held: dict[Kind, list[pd.DataFrame]] = {"additive": [], "multiplicative": []}
    folds = KFold(5, shuffle=True, random_state=0)
    taken = 0
    for fit, judge in ShuffleSplit(splits, test_size=0.2, random_state=0).split(cars):
        fitted = clone(model).fit(inputs.iloc[fit], truth[fit])
        predicted = fitted.predict(inputs.iloc[judge])
        chosen = cross_validated_interval(model, inputs.iloc[fit], truth[fit])
        taken += chosen is not None and chosen.kind == "multiplicative"
        unseen = cross_val_predict(model, inputs.iloc[fit], truth[fit], cv=folds)
        parts = [rows for _, rows in folds.split(fit)]
        for kind, frames in held.items():
            interval = measured_interval(kind, truth[fit], unseen, parts)[1]
            ends = pd.DataFrame([interval.around(value) for value in predicted], columns=["low", "high"])
            frames.append(ends.assign(truth=truth[judge], predicted=predicted))
    return _table({kind: pd.concat(frames) for kind, frames in held.items()}), taken


def _table(held: dict[Kind, pd.DataFrame]) -> str:
    lines = [
        f"| | interval score | covered, all | {' | '.join(RANGES)} |",
        f"|---|{'--:|' * (2 + len(RANGES))}",
    ]
    for kind, rows in held.items():
        score = interval_score(rows["truth"].to_numpy(), rows["low"].to_numpy(), rows["high"].to_numpy())
        inside = rows["truth"].between(rows["low"], rows["high"])
        shares = [inside[rows["predicted"].between(*ends)].mean() for ends in RANGES.values()]
        lines.append(
            f"| {kind} | {score:.1f} | {inside.mean():.3f} | {' | '.join(f'{s:.3f}' for s in shares)} |"
        )
    return "\n".join(lines)


def main(splits: int, write: bool) -> None:
    """Measures and prints, and writes unless it was quick."""
    table, taken = measure(splits)
    text = f"""{table}

Over {splits} random splits of four fifths to one; ranges are those of the prediction. The multiplicative kind
had the better score within the training rows, and was taken, in {taken} of them.
"""
    Console().print(Markdown(text))
    if write:
        write_section("intervals", text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.intervals", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three splits; writes nothing")
    quick = parser.parse_args().quick
    main(3 if quick else 100, not quick)
