"""What a model accepts beyond, and short of, what the rows that it was trained on show of its columns.

Measured by asking the model when it is packaged. The server checks values by it and describes itself by it,
so that the two agree.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nbship.package.schema import Column, typical_record

# No category is called that.
_UNSEEN = "\N{REPLACEMENT CHARACTER}unseen"

Predict = Callable[[Mapping[str, Sequence[Any]]], Any]


def measured(columns: Sequence[Column], predict: Predict) -> tuple[Column, ...]:
    """Finds what a model can predict beyond what it has learnt from: unseen categories, other numbers.

    Args:
        columns: The model's columns.
        predict: Predicts columns of values; raises an error of any kind if it cannot.
    """
    typical = typical_record(columns)
    asked = [
        column.model_copy(update={"takes_unseen": _can_predict(predict, typical | {column.name: _UNSEEN})})
        if column.type == "category"
        else column
        for column in columns
    ]
    return with_limits(asked, predict, typical)


def applied(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Returns the columns as values are checked by them.

    Unseen categories are refused if the model cannot take them, whatever the pipeline file says.
    """
    able = (
        column if column.takes_unseen else column.model_copy(update={"unseen": "refuse"})
        for column in columns
    )
    return tuple(map(with_labels, able))


def _can_predict(predict: Predict, record: Mapping[str, Any]) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of categories that it does not know
            predict({name: [value] for name, value in record.items()})
    except Exception:  # the model's own code may raise anything
        return False
    return True


def with_labels(column: Column) -> Column:
    """Has a label accepted for its value, for it is what people are shown; unless it could mean another."""
    counts = Counter(column.labels.values())
    known = {*column.labels, *column.categories}
    by_label = {
        label: _value(column, text)
        for text, label in column.labels.items()
        if counts[label] == 1 and label not in known
    }
    return column.model_copy(update={"aliases": {**by_label, **column.aliases}}) if by_label else column


def _value(column: Column, text: str) -> Any:
    if column.type == "boolean":
        return text == "true"
    if column.is_number:
        number = float(text)
        return int(number) if number.is_integer() else number
    return text


def with_limits(
    columns: Sequence[Column], predict: Predict, typical: Mapping[str, Any]
) -> tuple[Column, ...]:
    """Finds how small and how large each number may be for the model to predict it, the others being typical.

    In an array, all numbers are tried together.

    A logarithm has no value at zero, and what is beyond 32 bits is none to a tree.

    Args:
        columns: The model's columns.
        predict: Predicts columns of values; raises an error of any kind if it cannot.
        typical: A record.

    Returns:
        The columns with `lowest` and `highest`; as they are if the model cannot predict the record.
    """
    shapes = {column.name: column.shape for column in columns}

    def filled(name: str, number: float) -> Any:
        return _array(number, shapes[name])

    def fits(numbers: Mapping[str, Sequence[float]]) -> bool:
        count = sum(map(len, numbers.values()))
        values = {name: [value] * max(count, 1) for name, value in typical.items()}
        first = 0
        for name, tried in numbers.items():
            values[name][first : first + len(tried)] = [filled(name, number) for number in tried]
            first += len(tried)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what overflows
                predict(values)
        except Exception:  # the model's own code may raise anything
            return False
        return True

    ladders = {column.name: _ladder(column) for column in columns if column.kind.sizes}
    all_fit = fits(ladders)  # as they mostly do
    if not all_fit and not fits({}):
        return tuple(columns)

    def end(name: str, steps: Sequence[float], known: float) -> float:
        def fit_from(index: int) -> bool:
            return fits({name: steps[index:]})

        first = 0 if all_fit or fit_from(0) else bisect_left(range(len(steps)), True, lo=1, key=fit_from)
        return [*steps, known][first]

    def limited(column: Column) -> Column:
        if column.name not in ladders or column.minimum is None or column.maximum is None:
            return column
        steps, low, high = ladders[column.name], column.minimum, column.maximum
        lowest = end(column.name, [step for step in steps if step < low], low)
        highest = end(column.name, [step for step in reversed(steps) if step > high], high)
        return column.model_copy(update={"lowest": lowest, "highest": highest})

    return tuple(map(limited, columns))


def _array(number: float, shape: Sequence[int]) -> Any:
    """Returns nested lists of one number; itself where there is no shape."""
    if not shape:
        return number
    return [_array(number, shape[1:])] * shape[0]


def _ladder(column: Column) -> list[float]:
    steps = column.kind.sizes
    return sorted({*(-step for step in steps), 0.0, *steps})
