"""Compares a compiled model with its pipeline: on records like the reference's, and on unlikely ones.

Only on what the compiled model may be asked; what `records.check` sends to the pipeline is not compared.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbship.package.compiled import Compiled, describe
from nbship.package.description import Golden
from nbship.package.records import CheckedValues, check
from nbship.package.schema import Column, Output, Record, columns_to_table, typical_record

if TYPE_CHECKING:
    from numpy.random import Generator

# How far a compiled model may be from the pipeline: a share of the prediction, or of the target's range.
# ONNX computes with 32 bits.
RELATIVE = 1e-4
OF_RANGE = 1e-5
PROBABILITY = 1e-4
_COMPARED = 500
# No training saw these; the last ones are there because readers differ in what a word or a date is.
_WORDS = (
    "\N{REPLACEMENT CHARACTER}unseen",
    "",
    " ",
    "nan",
    "None",
    "0",
    "-1.5e3",
    "long " * 200,
    "tab\tnew\nline\0end",
    "UPPER lower Mixed",
    "a I x 1 2,5 don't e-mail under_score 3.14 #tag @you",
    "2024-02-30",
    "9999-12-31 24:00",
    "1/2/3",
    "Ünïcödé ñ ß Ω İstanbul 日本語 \N{ROCKET} e\N{COMBINING ACUTE ACCENT}",
)


def compared(
    compiled: Compiled, estimator: Any, columns: Sequence[Column], output: Output, known: Sequence[Record]
) -> Compiled:
    """Returns a compiled model, or none if it answers otherwise than the pipeline.

    Args:
        compiled: The compiled model.
        estimator: The pipeline.
        columns: What they take.
        output: What they give.
        known: Some records that the model learnt from.
    """
    if not compiled.session:
        return compiled
    pair = _Pair(compiled, estimator, columns, output)
    try:
        problem = pair.difference(
            check(columns, sample(columns, _COMPARED), _COMPARED)
        ) or _difference_of_probes(pair, known)
    except Exception as error:  # a model may raise anything
        problem = describe(error)
    return Compiled(why_not=problem) if problem else compiled


def differs_from_golden(
    compiled: Compiled, columns: Sequence[Column], output: Output, golden: Sequence[Golden]
) -> str:
    """Says in what a compiled model differs from its pipeline on golden records; empty if it does not.

    Of those that the compiled model may be asked. They were compared when the package was built; another ONNX
    Runtime, or another processor, may compute something else.
    """
    import numpy as np

    def checked(asked: Sequence[Golden]) -> CheckedValues:
        values = {c.name: [each.record.get(c.name) for each in asked] for c in columns}
        return check(columns, values, len(asked))

    asked = [each for each in golden if checked([each]).complete]
    if not asked:
        return ""
    predicted = np.array([each.prediction for each in asked], dtype=None if output.classes else "float64")
    shares = np.array([each.probabilities for each in asked]) if output.probabilities else None
    pair = _Pair(compiled, None, columns, output)
    try:
        return pair.unlike((predicted, shares), pair.answered(checked(asked)))
    except Exception as error:  # ONNX Runtime may raise anything
        return describe(error)


@dataclass(frozen=True)
class _Pair:
    compiled: Compiled
    estimator: Any
    columns: Sequence[Column]
    output: Output

    def difference(self, checked: CheckedValues) -> str:
        """Returns in what the two differ; empty if they do not.

        Raises:
            Exception: One of them cannot predict a record; of whatever kind.
        """
        return self.unlike(self._expected(checked), self.answered(checked))

    def difference_of_one(self, checked: CheckedValues) -> str:
        """Compares on one record, which either may refuse."""
        expected = answered = None
        with contextlib.suppress(Exception):
            expected = self._expected(checked)
        with contextlib.suppress(Exception):
            answered = self.answered(checked)
        if expected and answered:
            return self.unlike(expected, answered)
        if expected:
            return "it cannot predict what the pipeline predicts"
        return "it predicts what the pipeline refuses" if answered else ""

    def _expected(self, checked: CheckedValues) -> tuple[Any, Any]:
        import numpy as np

        table = columns_to_table(self.columns, checked.values)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of categories that it does not know
            predicted = np.asarray(self.estimator.predict(table))
            shares = self.estimator.predict_proba(table) if self.output.probabilities else None
        _require_finite(predicted if self.output.kind == "regression" else shares)
        return predicted, shares

    def answered(self, checked: CheckedValues) -> list[Any]:
        outputs = self.compiled.run(self.columns, checked.coded)
        if self.output.kind == "regression":
            _require_finite(outputs[0])
        elif self.output.probabilities:
            _require_finite(outputs[1])
        return outputs

    def unlike(self, expected: tuple[Any, Any], outputs: Sequence[Any]) -> str:
        import numpy as np

        (predicted, shares), output = expected, self.output
        if output.kind == "regression":
            known = output.reference
            spread = (known.maximum or 0) - (known.minimum or 0)
            apart = abs(outputs[0].ravel() - predicted.ravel())
            if (apart <= RELATIVE * abs(predicted.ravel()) + OF_RANGE * spread).all():
                return ""
            return f"its predictions differ by up to {apart.max():.2g}"
        if not output.probabilities:
            return "" if outputs[0].tolist() == predicted.tolist() else "its classes differ"
        classes = np.array(output.classes, dtype=object)[outputs[1].argmax(axis=1)]
        if not np.allclose(outputs[1], shares, rtol=0, atol=PROBABILITY):
            return "its probabilities differ"
        return "" if (classes == predicted).all() else "its classes differ"


def _require_finite(numbers: Any) -> None:
    import numpy as np

    if numbers is not None and not np.isfinite(numbers).all():
        raise ValueError("a prediction is not finite")


def _difference_of_probes(pair: _Pair, known: Sequence[Record]) -> str:
    def checked(records: Sequence[Record]) -> CheckedValues:
        values = {c.name: [record.get(c.name) for record in records] for c in pair.columns}
        return check(pair.columns, values, len(records))

    found = ((record, checked([record])) for record in probes(pair.columns, known))
    asked = [record for record, alone in found if alone.complete and not alone.errors.counts]
    try:
        return pair.difference(checked(asked)) if asked else ""
    except Exception:  # one of them stops all
        return next(filter(None, (pair.difference_of_one(checked([record])) for record in asked)), "")


def probes(columns: Sequence[Column], known: Sequence[Record]) -> Iterator[Record]:
    """Yields records with one unlikely value each: unseen, missing, or as far out as training went."""
    yield from known
    typical = typical_record(columns)
    for column in columns:
        for value in _unlikely(column, [record.get(column.name) for record in known]):
            yield {**typical, column.name: value}


def _unlikely(column: Column, known: Sequence[Any]) -> list[Any]:
    import numpy as np

    if column.type == "array":
        return [np.full(column.shape, end or 0.0) for end in (column.minimum, column.maximum)]
    if column.kind.textual:
        texts = [*column.categories, *filter(None, {*known, column.typical})]
        cased = [variant for text in texts[:_COMPARED] for variant in (text.upper(), f" {text}", text[1:])]
        return [None, *_WORDS, *texts, *cased]
    if column.type == "boolean":
        return [None, True, False]
    if column.minimum is None or column.maximum is None:
        return [None, 0, 1, -1]
    ends = [column.minimum, column.maximum]
    return [None, 0, *(map(int, ends) if column.kind.whole else ends)]


def sample(columns: Sequence[Column], rows: int) -> dict[str, list[Any]]:
    """Draws records that are distributed as the reference is, column by column; the same ones every time."""
    import numpy as np

    random = np.random.default_rng(0)
    return {column.name: _draw(column, rows, random) for column in columns}


def _draw(column: Column, rows: int, random: Generator) -> list[Any]:
    import numpy as np

    if column.categories:
        shares = [count / sum(column.categories.values()) for count in column.categories.values()]
        drawn = random.choice(list(column.categories), rows, p=shares).tolist()
        return [value == "true" for value in drawn] if column.type == "boolean" else drawn
    if column.histogram is None:
        typical: list[Any] = [column.typical] * rows
        return typical
    edges, counts = np.array(column.histogram.edges), column.histogram.counts
    size = rows * math.prod(column.shape)
    bins = random.choice(len(counts), size, p=[count / sum(counts) for count in counts])
    numbers = edges[bins] + (edges[bins + 1] - edges[bins]) * random.random(size)
    if column.type == "array":
        arrays: list[Any] = list(numbers.reshape(rows, *column.shape))
        return arrays
    values: list[Any] = [round(n) for n in numbers.tolist()] if column.kind.whole else numbers.tolist()
    if not column.required:
        values[::7] = [None] * len(values[::7])
    return values
