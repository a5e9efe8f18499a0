"""Checks the values of a request against the model's columns: what does not fit, and what is worth a flag.

Works column by column, for one record as for many. Knows neither HTTP nor the model.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbship.package.schema import Column

if TYPE_CHECKING:
    import numpy as np

# Problems and flags that are told one by one; the others are counted.
TOLD_AT_MOST = 20
_LISTED_AT_MOST = 20
_TEXT_AT_MOST = 80
# Characters of a text: to take it apart into words takes up to fifty times as much memory.
LONGEST_TEXT = 1_000_000
# Records from which on an array is quicker to look at than a list.
_MANY = 100


@dataclass(frozen=True)
class Values:
    """The values of a request.

    Attributes:
        rows: How many records.
        columns: For every column of the model, what each record gives; None if it gives nothing.
        named: Whether the fields were named.
    """

    rows: int
    columns: Mapping[str, Sequence[Any]]
    named: bool


@dataclass(frozen=True)
class Problem:
    """What is wrong, or worth a flag, about one value of a request.

    Attributes:
        instance: Which record, from 0.
        field: Which column.
        given: What it is, shortened.
        problem: What is wrong with it.
        accepted: What would be right.
        suggestion: What was probably meant; None if nothing is near.
        reason: One of a few words, for counting: type, missing, unknown, category, range, shape, limit.
    """

    instance: int
    field: str
    given: Any
    problem: str
    accepted: str
    reason: str
    suggestion: str | None = None

    def __str__(self) -> str:
        hint = f"; did you mean '{self.suggestion}'?" if self.suggestion else ""
        return f"record {self.instance}, {self.field}: {self.problem}, accepted is {self.accepted}{hint}"


@dataclass
class Findings:
    """Problems of one kind: the first ones, and how many there are by field and reason."""

    told: list[Problem] = field(default_factory=list)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, field: str, reason: str, describe: Callable[[], Problem]) -> None:
        """Counts one, and has it described if it is among the first: a description takes long."""
        self.counts[field, reason] = self.counts.get((field, reason), 0) + 1
        if len(self.told) < TOLD_AT_MOST:
            self.told.append(describe())

    @property
    def total(self) -> int:
        """How many there are, told or not."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class CheckedValues:
    """Values that have been checked.

    Attributes:
        rows: How many records.
        values: The values by column, aliases replaced; None is a missing value. An array column is one NumPy
            array of the shape (rows, *shape).
        coded: The same, with codes in place of a category's values if all of them are known.
        errors: What does not fit; the values are not to be used if there is any.
        flags: What fits, but is unlike what the model has learnt from.
        complete: Whether every value is like those in training, and none is missing but numbers that were
            missing there.
    """

    rows: int
    values: Mapping[str, Any]
    coded: Mapping[str, Any]
    errors: Findings
    flags: Findings
    complete: bool


def check(columns: Sequence[Column], values: Mapping[str, Sequence[Any]], rows: int) -> CheckedValues:
    """Checks values as they came out of JSON.

    Args:
        columns: The model's columns.
        values: By column, for each record what it gives; None for a record that gives nothing.
        rows: How many records.
    """
    errors, flags = Findings(), Findings()
    checked: dict[str, Any] = {}
    coded: dict[str, Any] = {}
    complete = True
    for column in columns:
        given = values[column.name]
        if column.type == "array":
            checked[column.name] = coded[column.name] = _check_arrays(column, given, errors, flags)
            continue
        ordinary = _ordinary(column, given)
        if column.aliases and ordinary is None:
            given = [_without_alias(column, value) for value in given]
            ordinary = _ordinary(column, given)
        if ordinary is None:
            _look_closely(column, given, errors, flags)
            complete = False
        checked[column.name] = given
        coded[column.name] = given if ordinary is None else ordinary
    return CheckedValues(rows, checked, coded, errors, flags, complete and not flags.counts)


def unknown_field(columns: Sequence[Column], instance: int, name: Any, given: Any) -> Problem:
    """Says that the model has no such column."""
    names = [column.name for column in columns]
    near = difflib.get_close_matches(str(name)[:_TEXT_AT_MOST], names, n=1)
    accepted = _listed(names)
    return Problem(
        instance=instance,
        field=shortened(name),
        given=shortened(given),
        problem="the model takes no such field",
        accepted=accepted,
        reason="unknown",
        suggestion=near[0] if near else None,
    )


def shortened(value: Any) -> Any:
    """Returns a value of a request as it may be repeated in an answer: short, and plain JSON."""
    if value is None or isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    if isinstance(value, int):
        return "a number of too many digits"
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) else f"an object of {len(value)}"
    text = str(value).encode("utf-8", "replace").decode()
    return text if len(text) <= _TEXT_AT_MOST else text[: _TEXT_AT_MOST - 1] + "…"


def accepted_values(column: Column) -> str:
    """Says in words what a column accepts."""
    if column.type == "category":
        return _listed([*column.categories])
    if column.type == "array":
        return f"{column.kind.words} of shape {' × '.join(map(str, column.shape))}"
    words = column.kind.words
    if column.minimum is not None and column.maximum is not None:
        words += f", {column.minimum:g} to {column.maximum:g} in training"
    return words


def _ordinary(column: Column, given: Sequence[Any]) -> Sequence[Any] | np.ndarray[Any, Any] | None:
    """Looks quickly, for most values are of the right type and like those in training.

    Returns:
        The codes of a category's values, other values as they are; None if one of them is not ordinary.
    """
    if column.type == "category":
        return _codes(column, given)
    if column.is_number:
        return _numbers(column, given)
    if not set(map(type, given)) <= column.kind.read:
        return None
    return given if not column.kind.textual or max(map(len, given)) <= LONGEST_TEXT else None


def _numbers(column: Column, given: Sequence[Any]) -> Sequence[Any] | np.ndarray[Any, Any] | None:
    kinds = set(map(type, given))
    if not column.required:
        kinds.discard(type(None))
    if not kinds:
        return given
    if not kinds <= column.kind.read or column.minimum is None or column.maximum is None:
        return None
    try:
        numbers, lowest, highest = _with_ends(given)
    except OverflowError:  # a number of hundreds of digits
        return None
    if not (column.minimum <= lowest and highest <= column.maximum):
        return None
    whole = (
        not column.kind.whole or kinds == {int} or all(float(v).is_integer() for v in given if v is not None)
    )
    return numbers if whole else None


def _with_ends(given: Sequence[Any]) -> tuple[Sequence[Any] | np.ndarray[Any, Any], float, float]:
    """Returns numbers, of which some are None, with the lowest and the highest; many become an array."""
    if len(given) < _MANY:
        present = [value for value in given if value is not None]
        return given, min(present), max(present)
    import numpy as np

    numbers = np.array(given, dtype=np.float64)
    return numbers, np.nanmin(numbers), np.nanmax(numbers)


def _codes(column: Column, given: Sequence[Any]) -> np.ndarray[Any, Any] | None:
    import numpy as np

    try:
        return np.fromiter(map(column.codes.__getitem__, given), np.int64, len(given))
    except (KeyError, TypeError):  # no list and no object is a key
        return None


def _look_closely(column: Column, given: Sequence[Any], errors: Findings, flags: Findings) -> None:
    accepted = {"range"} if column.unseen == "refuse" else {"range", "category"}
    for instance, value in enumerate(given):
        found = _missing(column) if value is None else _finding(column, value)
        if found:
            reason, problem = found
            describe = functools.partial(_describe, column, instance, value, reason, problem)
            (flags if reason in accepted else errors).add(column.name, reason, describe)


def _describe(column: Column, instance: int, value: Any, reason: str, problem: str) -> Problem:
    near: list[str] = []
    if reason == "category":
        near = difflib.get_close_matches(value[:_TEXT_AT_MOST], column.categories, n=1)
    return Problem(
        instance=instance,
        field=column.name,
        given=shortened(value),
        problem=problem,
        accepted=accepted_values(column),
        reason=reason,
        suggestion=near[0] if near else None,
    )


def _missing(column: Column) -> tuple[str, str] | None:
    return ("missing", "is missing") if column.required else None


def _finding(column: Column, value: Any) -> tuple[str, str] | None:
    """Returns the reason and the wording of what is unusual about a value; None if nothing is."""
    if type(value) not in column.kind.read:
        return "type", f"is {_kind(value)}"
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return "limit", f"is longer than {LONGEST_TEXT:,} characters"
    if column.type == "category" and value not in column.categories:
        return "category", "is a value that the model has not seen"
    if not column.is_number:
        return None
    try:
        number = float(value)
    except OverflowError:
        return "type", "is a number of too many digits"
    if not math.isfinite(number):
        return "type", "is not a finite number"
    if column.kind.whole and not number.is_integer():
        return "type", "is not a whole number"
    return _place(column, number)


def _place(column: Column, number: float) -> tuple[str, str] | None:
    if column.lowest is not None and number < column.lowest:
        return "limit", f"is smaller than the model can predict, {column.lowest:g} at least"
    if column.highest is not None and number > column.highest:
        return "limit", f"is larger than the model can predict, {column.highest:g} at most"
    if column.minimum is None or column.maximum is None or column.minimum <= number <= column.maximum:
        return None
    return "range", "is outside the training range"


def _check_arrays(
    column: Column, given: Sequence[Any], errors: Findings, flags: Findings
) -> np.ndarray[Any, Any] | None:
    import numpy as np

    arrays = []
    for instance, value in enumerate(given):
        array, reason, problem = _to_array(column, value)
        if reason:
            describe = functools.partial(_describe, column, instance, value, reason, problem)
            (flags if reason == "range" else errors).add(column.name, reason, describe)
        arrays.append(array)
    return None if errors.total else np.stack(arrays)


def _to_array(column: Column, value: Any) -> tuple[Any, str, str]:
    """Makes numbers of nested lists; returns the array, and reason and wording of what is unusual."""
    import numpy as np

    if value is None:
        return None, "missing", "is missing"
    try:
        array = np.array(value)
        if array.dtype.kind not in "iuf":
            return None, "type", "is not an array of numbers"
    except (ValueError, OverflowError):
        return None, "shape", "has lists of different lengths"
    if array.shape != column.shape:
        return None, "shape", f"has shape {' × '.join(map(str, array.shape[:8])) or 'of a single value'}"
    if not np.isfinite(array).all():
        return None, "type", "has a number that is not finite"
    ends = filter(None, (_place(column, float(end)) for end in (array.min(), array.max())))
    found = sorted(ends, key=lambda end: end[0])  # a limit before the range
    if not found:
        return array, "", ""
    reason, problem = found[0]
    return array, reason, f"has a number {problem.removeprefix('is ')}"


def _without_alias(column: Column, value: Any) -> Any:
    """Returns what an alias stands for; a proper value is no alias, whatever else is in the request."""
    if not isinstance(value, str | int | float):
        return value
    whole = isinstance(value, float) and value.is_integer()
    text = str(value).lower() if isinstance(value, bool) else str(int(value) if whole else value)
    if text not in column.aliases or _ordinary(column, [value]) is not None:
        return value
    return column.aliases[text]


def _kind(value: Any) -> str:
    """Says in JSON's words what a value is."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    kinds: dict[type, str] = {str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "not a finite number")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(shortened(name) for name in names[:_LISTED_AT_MOST])
    more = len(names) - _LISTED_AT_MOST
    return f"{shown} and {more} more" if more > 0 else shown
