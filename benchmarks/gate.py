"""`python -m benchmarks.gate`: how often the gate accepts models whose worth is known, by simulation.

Writes gate.json and its tables into README.md; minutes on one core, with `--quick` less than one. The
errors of two models are made up, so it is known which one is better; what judges them is the gate itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from benchmarks.report import table
from nbship.config import Gate
from nbship.gate import Fold, Known, Refits, compare, compare_recipes, judge

HERE = Path(__file__).parent
BEGIN = "<!-- gate: written by python -m benchmarks.gate -->"
END = "<!-- end of gate -->"
TOLERANCE, RELEASES = 0.05, 20
# The more rows, the longer one comparison takes.
REPEATS = {78: 400, 300: 100, 700: 40, 1400: 24}
RATIOS = (1.0, 1.05, 1.1)
HELD_OUT, RECIPES, BEFORE = "held-out rows", "recipes", "held-out rows, as before"
_FOLDS, _REPEATED, _COLUMNS = 10, 3, 7

Errors = NDArray[np.float64]


class Acceptance(BaseModel):
    """How often models of a true mean loss were found no worse.

    Attributes:
        rows: Held-out rows, a fifth of the table.
        correlation: Of the two models' errors.
        how: What was compared.
        shares: Share accepted, by the true mean loss as a multiple of the champion's.
        repeats: Simulated comparisons.
    """

    rows: int
    correlation: float
    how: str
    shares: dict[float, float]
    repeats: int


class Series(BaseModel):
    """What came of many releases or tries.

    Attributes:
        name: What was done.
        before: Without what the gate knows of earlier ones.
        now: With it.
        percent: Whether these are shares.
    """

    name: str
    before: float
    now: float
    percent: bool = True


class Results(BaseModel):
    """All that one run measured."""

    measured: date
    acceptances: list[Acceptance]
    series: list[Series]


def main(quick: bool) -> None:
    """Simulates and writes."""
    share = 20 if quick else 1
    results = Results(
        measured=datetime.now(UTC).date(),
        acceptances=[
            acceptance(rows, correlation, how, max(REPEATS[rows] // share, 5))
            for rows in REPEATS
            for correlation in (0.99, 0.95)
            for how in (BEFORE, HELD_OUT, *([RECIPES] if 5 * rows <= Gate().recipes_rows else []))
        ],
        series=[*small_losses(max(4 // share, 1)), many_tries(max(40 // share, 4))],
    )
    print(markdown(results))
    if not quick:
        (HERE / "gate.json").write_text(results.model_dump_json(indent=2) + "\n", encoding="utf-8")
        readme = HERE / "README.md"
        readme.write_text(update(readme.read_text(encoding="utf-8"), results), encoding="utf-8")


def acceptance(rows: int, correlation: float, how: str, repeats: int) -> Acceptance:
    """Compares pairs of models of each ratio of true mean losses."""
    accept = {BEFORE: _accepted_before, HELD_OUT: _accepted_held_out, RECIPES: _accepted_recipes}[how]
    shares = {}
    for ratio in RATIOS:
        random = np.random.default_rng(1)
        shares[ratio] = sum(accept(random, rows, correlation, ratio) for _ in range(repeats)) / repeats
    _say(f"{rows} rows, correlation {correlation}, {how}: {shares}")
    return Acceptance(rows=rows, correlation=correlation, how=how, shares=shares, repeats=repeats)


def small_losses(repeats: int) -> list[Series]:
    """Twenty releases on the same held-out rows, each truly 1 % worse than the one before, or as good."""
    found = []
    for name, ratio in (
        ("each 1 % worse: rise of the mean loss", 1.01),
        ("each as good: releases refused", 1.0),
    ):
        ends = {
            carried: [_release(seed, ratio, carried) for seed in range(repeats)] for carried in (False, True)
        }
        of = 0 if ratio > 1 else 1
        before, now = (float(np.mean([end[of] for end in ends[carried]])) for carried in (False, True))
        found.append(Series(name=f"{RELEASES} releases, {name}", before=before, now=now))
        _say(str(found[-1]))
    return found


def many_tries(repeats: int) -> Series:
    """Twenty models that are as good as the champion, tried one after the other on 78 rows."""
    random, seeming = np.random.default_rng(2), [0, 0]
    for _ in range(repeats):
        champion = random.standard_normal(78)
        compared = []
        for number in range(1, RELEASES + 1):
            candidate = _other(random, champion, 0.95, 1.0)
            compared.append(compare(_losses(candidate), _losses(champion), TOLERANCE, tries=number))
        seeming[0] += any(each.high < 0 for each in compared)
        seeming[1] += any(each.outcome == "better" for each in compared)
    before, now = (count / repeats for count in seeming)
    return Series(name=f"{RELEASES} equal models tried: one seems better", before=before, now=now)


def update(readme: str, results: Results) -> str:
    """Returns the text of README.md with the results between the markers."""
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{markdown(results)}\n{END}{tail}"


def markdown(results: Results) -> str:
    """Returns the results as Markdown tables."""
    headings = ["compared on", "held-out rows", "correlation", "equal", "5 % worse", "10 % worse", "repeats"]
    return (
        "\n".join(
            [
                f"Simulated on {results.measured:%d %B %Y}; tolerance 5 %, confidence 95 %.\n",
                "### Share of models found no worse\n",
                *table(headings, _acceptance_rows(results)),
                "\n### Small losses, many tries\n",
                *table(["", "each on its own", "with what went before"], _series_rows(results)),
            ]
        )
        + "\n"
    )


def _acceptance_rows(results: Results) -> Iterable[Sequence[str]]:
    for each in results.acceptances:
        shares = (f"{each.shares[ratio]:.3f}".removeprefix("0") for ratio in RATIOS)
        yield each.how, f"{each.rows:,}", f"{each.correlation:g}", *shares, str(each.repeats)


def _series_rows(results: Results) -> Iterable[Sequence[str]]:
    for each in results.series:
        yield each.name, f"{each.before:.1%}", f"{each.now:.1%}"


def _accepted_before(random: np.random.Generator, rows: int, correlation: float, ratio: float) -> bool:
    """The rule that took the champion's mean loss as known: the interval of the difference, divided by it."""
    old = random.standard_normal(rows)
    new = _other(random, old, correlation, ratio)
    difference = new**2 - old**2
    drawn = random.multinomial(rows, np.full(rows, 1 / rows), size=500) @ difference / rows
    return bool(np.quantile(drawn, 0.975) / np.mean(old**2) <= TOLERANCE)


def _accepted_held_out(random: np.random.Generator, rows: int, correlation: float, ratio: float) -> bool:
    old = random.standard_normal(rows)
    return (
        compare(_losses(_other(random, old, correlation, ratio)), _losses(old), TOLERANCE).outcome != "worse"
    )


def _accepted_recipes(random: np.random.Generator, rows: int, correlation: float, ratio: float) -> bool:
    """Two recipes that share a linear regression, and differ in what each adds to every prediction."""
    count = 5 * rows
    inputs = random.standard_normal((count, _COLUMNS))
    noise = random.standard_normal(count)
    actual = inputs.sum(axis=1) + np.sqrt(correlation) * noise
    # Each recipe's own part of the error; together with the noise its variance is 1, or the ratio.
    own = np.sqrt(1 - correlation) * random.standard_normal((2, count))
    own[0] += np.sqrt(ratio - 1) * random.standard_normal(count)
    folds = []
    for _ in range(_REPEATED):
        for judged in np.array_split(random.permutation(count), _FOLDS):
            learnt = np.setdiff1d(np.arange(count), judged, assume_unique=True)
            slopes = np.linalg.lstsq(inputs[learnt], actual[learnt], rcond=None)[0]
            error = actual[judged] - inputs[judged] @ slopes
            losses = [float(np.mean((error - each[judged]) ** 2)) for each in own]
            folds.append(
                Fold(train_rows=len(learnt), rows=len(judged), candidate=losses[0], champion=losses[1])
            )
    return compare_recipes(Refits(folds=tuple(folds)), TOLERANCE).outcome != "worse"


def _release(seed: int, ratio: float, carried: bool, rows: int = 300) -> tuple[float, float]:
    """Releases one model after the other; returns how far the mean loss truly rose, and the share refused."""
    random = np.random.default_rng(seed)
    correlation = 0.999 if ratio > 1 else 0.99
    part, truth, above, refused = random.standard_normal(rows), 1.0, 0.0, 0
    champion = part
    gate = Gate(tolerance=TOLERANCE)
    for _ in range(RELEASES):
        # What all models have in common stays; what is their own is new each time.
        own = np.sqrt(1 - correlation) * random.standard_normal(rows)
        candidate = np.sqrt(truth * ratio) * (np.sqrt(correlation) * part + own)
        known = Known(above_best=above if carried else 0.0)
        verdict = judge(gate, {}, _losses(candidate), _losses(champion), known=known)
        if verdict.passed:
            champion, truth, above = candidate, truth * ratio, verdict.above_best
        else:
            refused += 1
    return truth - 1, refused / RELEASES


def _other(random: np.random.Generator, errors: Errors, correlation: float, ratio: float) -> Errors:
    """Errors of another model, with so many times the mean squared error."""
    own = np.sqrt(1 - correlation**2) * random.standard_normal(len(errors))
    return np.asarray(np.sqrt(ratio) * (correlation * errors + own))


def _losses(errors: Errors) -> Mapping[str, float]:
    return dict(zip(map(str, range(len(errors))), (errors**2).tolist(), strict=True))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repeats; writes no file")
    main(parser.parse_args().quick)
