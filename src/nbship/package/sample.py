"""A sample of what a model was trained on, and of its answers to rows that it did not: `reference.json`.

What is asked of a served model is compared with it. It is kept with the model by DVC, as the data is, and
never goes to the model store, from which servers load. How it is compared is the business of `monitoring`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nbship.errors import NbshipError
from nbship.files import write_bytes
from nbship.package.prediction import from_pipeline
from nbship.package.reference import read_reference
from nbship.package.schema import Column, Output, to_records

if TYPE_CHECKING:
    import pandas as pd

SAMPLE = "reference.json"
# What of an array is kept: its numbers' mean and spread.
PARTS = ("mean", "spread")


@dataclass(frozen=True)
class Answers:
    """A model's answers to rows, and what was true of them; all lists are of one length, or empty.

    Attributes:
        predictions: Numbers or classes.
        probabilities: Of each class, a list a row; empty if the model gives none.
        truth: What was true; empty if it is not known.
        low: Lower ends of intervals.
        high: Upper ends.
    """

    predictions: list[Any] = field(default_factory=list)
    probabilities: list[list[float]] = field(default_factory=list)
    truth: list[Any] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class ReferenceSample:
    """What a window is compared with.

    Attributes:
        inputs: Values by column, of rows that it was trained on. Of an array its mean and spread, as
            `NAME (mean)` and `NAME (spread)`. Columns that are private are absent.
        answers: To rows of which `kind` says what they are.
        kind: `held out` from training; or the rows that it was trained on, which it knows too well.
    """

    inputs: dict[str, list[Any]]
    answers: Answers
    kind: Literal["held out", "trained on"]


def make_sample(
    estimator: Any,
    inputs: Sequence[Column],
    output: Output,
    rows: pd.DataFrame,
    held_out: Sequence[Path],
    count: int,
    private: Collection[str] = (),
) -> ReferenceSample:
    """Draws a sample, the same from the same rows.

    Args:
        estimator: The fitted model.
        inputs: What it takes.
        output: What it gives.
        rows: What it was trained on; see `read_reference`.
        held_out: Tables of rows that it was judged on; what has not all columns and the target is left out.
        count: Rows at most, of each.
        private: Columns that are left out.
    """
    known = _drawn(rows, count)
    judged = next(filter(None, map(partial(_judged, inputs, output, count=count), held_out)), None)
    asked = known if judged is None else judged[0]
    truth = judged[1] if judged else []
    return ReferenceSample(
        inputs=_plain(inputs, known, private),
        answers=_answers(estimator, inputs, output, asked, truth),
        kind="held out" if judged else "trained on",
    )


def write_sample(path: Path, sample: ReferenceSample) -> str:
    """Writes a sample; returns its SHA-256."""
    content = json.dumps(asdict(sample), ensure_ascii=False, separators=(",", ":")).encode()
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def parse_sample(content: bytes, sha256: str) -> ReferenceSample:
    """Reads the content of a `reference.json`.

    Args:
        content: Its bytes.
        sha256: Their hash, as the model's description says.

    Raises:
        NbshipError: It is not the one that is described.
    """
    if hashlib.sha256(content).hexdigest() != sha256:
        raise NbshipError(
            f"{SAMPLE} is not the one that the model's description names", "publish the model again"
        )
    tree = json.loads(content)
    return ReferenceSample(tree["inputs"], Answers(**tree["answers"]), tree["kind"])


def array_parts(values: Sequence[Any]) -> dict[str, list[float | None]]:
    """Returns the mean and the spread of each array; None for what is no array of numbers."""
    import numpy as np

    parts: dict[str, list[float | None]] = {part: [] for part in PARTS}
    for value in values:
        try:
            array = np.asarray(value.tolist() if isinstance(value, np.ndarray) else value, dtype="float64")
        except (TypeError, ValueError):
            array = np.array([])
        found = bool(array.ndim and array.size) and bool(np.isfinite(array).all())
        parts["mean"].append(float(array.mean()) if found else None)
        parts["spread"].append(float(array.std()) if found else None)
    return parts


def _drawn(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    return rows if len(rows) <= count else rows.sample(count, random_state=0).sort_index()


def _judged(
    inputs: Sequence[Column], output: Output, path: Path, count: int
) -> tuple[pd.DataFrame, list[Any]] | None:
    try:
        rows = read_reference(path)
    except NbshipError:
        return None
    if not {output.target, *(column.name for column in inputs)} <= {str(name) for name in rows}:
        return None
    rows = _drawn(rows[rows[output.target].notna()], count)
    return (rows, rows[output.target].astype("object").tolist()) if len(rows) else None


def _plain(inputs: Sequence[Column], rows: pd.DataFrame, private: Collection[str]) -> dict[str, list[Any]]:
    plain: dict[str, list[Any]] = {}
    for column in inputs:
        if column.name in private:
            continue
        if column.type == "array":
            parts = array_parts(rows[column.name].tolist())
            plain |= {f"{column.name} ({part})": values for part, values in parts.items()}
            continue
        plain[column.name] = [record[column.name] for record in to_records(rows[[column.name]])]
    return plain


def _answers(
    estimator: Any, inputs: Sequence[Column], output: Output, rows: pd.DataFrame, truth: list[Any]
) -> Answers:
    records = to_records(rows[[column.name for column in inputs]])
    values = {column.name: [record[column.name] for record in records] for column in inputs}
    try:
        given = from_pipeline(estimator, inputs, output, values)
    except Exception:  # the model's own code may raise anything, and a held-out row may be beyond it
        return Answers()
    ends = [output.interval.around(value) for value in given.values] if output.interval else []
    return Answers(
        given.values,
        [list(row) for row in zip(*given.probabilities, strict=True)],
        truth,
        [end[0] for end in ends],
        [end[1] for end in ends],
    )
