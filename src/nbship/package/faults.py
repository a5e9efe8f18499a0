"""Finds which record of a request, and which of its values, a model cannot predict.

By asking it again for parts of the request; only for one that it has failed on. Says nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbship.package.compiled import describe
from nbship.package.records import Problem, accepted_values, shortened
from nbship.package.schema import Column, typical_record

Values = Mapping[str, Sequence[Any]]
_REASON_AT_MOST = 200
# A request with more fields than these is not worth asking so often.
_FIELDS_AT_MOST = 100


@dataclass(frozen=True)
class Fault:
    """A record that a model cannot predict.

    Attributes:
        instance: Which record, from 0.
        reason: What the model said.
        problem: The one value that is to blame; None if it is not one alone.
    """

    instance: int
    reason: str
    problem: Problem | None


def find_fault(
    predict: Callable[[Values], Any], columns: Sequence[Column], values: Values, rows: int
) -> Fault | None:
    """Finds a record that a model cannot predict, by halves, and the value that is to blame.

    Args:
        predict: Asks the model; raises an error of any kind if it cannot predict.
        columns: The model's columns.
        values: What it could not predict.
        rows: How many records they are.

    Returns:
        The fault; None if the model can predict every record by itself.
    """

    def reason(start: int, stop: int, **others: Any) -> str:
        part = {name: column[start:stop] for name, column in values.items()} | others
        try:
            predict(part)
        except Exception as error:  # the model's own code may raise anything
            return describe(error)[:_REASON_AT_MOST]
        return ""

    start, stop = 0, rows
    while stop - start > 1:
        middle = (start + stop) // 2
        start, stop = (start, middle) if reason(start, middle) else (middle, stop)
    said = reason(start, stop)
    if not said:
        return None
    for column, typical in zip(columns[:_FIELDS_AT_MOST], typical_record(columns).values(), strict=False):
        if len(columns) == 1 or not reason(start, stop, **{column.name: [typical]}):
            given = shortened(values[column.name][start])
            problem = f"cannot be predicted ({said})"
            accepted = accepted_values(column)
            return Fault(start, said, Problem(start, column.name, given, problem, accepted, "refused"))
    return Fault(start, said, None)
