"""How ONNX reads dates and takes them apart: `pandas.to_datetime` and `.dt` in a FunctionTransformer.

Within a compiled model, a date is the number of seconds since the first day that pandas knows; what is no
date is -1. Knows formats that are made of numbers; dates in any other are the pipeline's business.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

# The first and the last whole day that pandas' nanoseconds reach.
_FIRST, _LAST = "1677-09-22", "2262-04-10"
_DAY = 86_400
# What pandas takes for each directive, and how many seconds one of it is.
_DIRECTIVES = {
    "Y": r"\d{4}",
    "m": r"(1[0-2]|0?[1-9])",
    "d": r"(3[01]|[12]\d|0?[1-9]| [1-9])",
    "H": r"(2[0-3]|[01]?\d)",
    "M": r"[0-5]?\d",
    "S": r"(6[01]|[0-5]?\d)",
}
_SECONDS = {"H": 3600, "M": 60, "S": 1}
# Parts of a time: seconds of one, and how many there are.
_OF_TIME: Mapping[str, tuple[int, int]] = {"hour": (3600, 24), "minute": (60, 60), "second": (1, 60)}


_NO_DATE = -1
# Cuts a text into its numbers.
_TOKENS: Mapping[str, Any] = {
    "op_domain": "com.microsoft",
    "op_version": 1,
    "mark": 0,
    "mincharnum": 1,
    "pad_value": "#",
    "tokenexp": "[0-9]+",
}


class Nodes(Protocol):
    """What adds to the graph that is being made; see `converters`."""

    def add(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Adds a node and returns the name of its output."""

    def constant(self, values: Any, kind: int) -> str:
        """Adds a constant and returns its name."""


def reads_dates(transformer: Any) -> bool:
    """Tells whether a transformer is a FunctionTransformer that makes dates of columns of texts."""
    import pandas as pd

    return _applied(transformer) is pd.to_datetime


def takes_dates_apart(transformer: Any) -> bool:
    """Tells whether a transformer is one that takes a part, such as the year, of columns of dates."""
    return isinstance(_applied(transformer), attrgetter)


def convert_reading(nodes: Nodes, transformer: Any, given: str, output: str) -> None:
    """Makes seconds of texts; both have the shape (rows, columns).

    Raises:
        NotImplementedError: The format is not made of numbers, or what is no date shall be an error.
    """
    import numpy as np
    import pandas as pd
    from onnx import TensorProto

    settings = {key: value for key, value in transformer.kw_args.items() if key != "func"}
    written = str(settings.pop("format", None))
    letters = re.findall("%(.)", written)
    if settings != {"errors": "coerce"} or not {*"Ymd"} <= {*letters} <= {*_DIRECTIVES}:
        raise NotImplementedError(f"dates in the format {written} are not compiled")

    pattern = re.sub(r"%(.)|(\s+)|(.)", _as_pattern, written)
    matches = nodes.add("RegexFullMatch", [given], pattern=pattern, op_version=20)
    some_date = nodes.constant(np.array([pd.Timestamp(_FIRST).strftime(written)]), TensorProto.STRING)
    texts = nodes.add("Where", [matches, given, some_date])
    tokens = nodes.add("Tokenizer", [texts], **_TOKENS)
    positions = {letter: nodes.constant(np.array(at), TensorProto.INT64) for at, letter in enumerate(letters)}
    part = {letter: nodes.add("Gather", [tokens, at], axis=2) for letter, at in positions.items()}
    part = {letter: nodes.add("Cast", [text], to=TensorProto.INT64) for letter, text in part.items()}

    compute = _Integers(nodes)
    months = np.arange(f"{_FIRST[:4]}-01", f"{int(_LAST[:4]) + 1}-01", dtype="datetime64[M]")
    begins = (months.astype("datetime64[D]") - np.datetime64(_FIRST)).astype(int)
    lengths = ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(int)
    year = compute("Max", compute("Min", part["Y"], int(_LAST[:4])), int(_FIRST[:4]))
    elapsed = compute("Mul", compute("Sub", year, int(_FIRST[:4])), 12)
    month = compute("Sub", compute("Add", elapsed, part["m"]), 1)
    day = compute("Sub", compute("Add", compute.table(begins, month), part["d"]), 1)
    seconds = compute("Mul", day, _DAY)
    for letter in letters:
        if letter in _SECONDS:
            seconds = compute("Add", seconds, compute("Mul", part[letter], _SECONDS[letter]))
    true = [
        matches,
        compute("Equal", year, part["Y"]),
        compute("LessOrEqual", part["d"], compute.table(lengths, month)),
        compute("GreaterOrEqual", day, 0),
        compute("LessOrEqual", day, len(pd.date_range(_FIRST, _LAST)) - 1),
    ]
    is_date = functools.reduce(lambda one, other: nodes.add("And", [one, other]), true)
    compute("Where", is_date, seconds, _NO_DATE, output=output)


def convert_part(nodes: Nodes, transformer: Any, given: str, output: str) -> None:
    """Makes numbers of seconds: a part of each date, NaN where there is none.

    Raises:
        NotImplementedError: ONNX cannot tell that part.
    """
    import numpy as np
    import pandas as pd
    from onnx import TensorProto

    _, (name,) = transformer.kw_args["func"].__reduce__()
    part = name.removeprefix("dt.")
    compute = _Integers(nodes)
    if part in _OF_TIME:
        length, number = _OF_TIME[part]
        value = compute("Mod", compute("Div", given, length), number)
    else:
        days = getattr(pd.date_range(_FIRST, _LAST), part, None)
        if not name.startswith("dt.") or getattr(days, "dtype", np.dtype("O")).kind not in "iub":
            raise NotImplementedError(f"{name} of dates is not compiled")
        value = compute.table(days, compute("Max", compute("Div", given, _DAY), 0))
    as_number = nodes.add("Cast", [value], to=TensorProto.FLOAT)
    nan = nodes.constant(np.array([np.nan]), TensorProto.FLOAT)
    nodes.add("Where", [compute("Less", given, 0), nan, as_number], output)


@dataclass(frozen=True)
class _Integers:
    """Computes with whole numbers: names of nodes, and numbers themselves."""

    nodes: Nodes

    def __call__(self, kind: str, *terms: str | int, output: str = "") -> str:
        return self.nodes.add(
            kind, [each if isinstance(each, str) else self._constant(each) for each in terms], output
        )

    def table(self, values: Any, index: str) -> str:
        return self.nodes.add("Gather", [self._constant(values), index])

    def _constant(self, values: Any) -> str:
        import numpy as np
        from onnx import TensorProto

        return self.nodes.constant(np.asarray(values, dtype="int64"), TensorProto.INT64)


def _applied(transformer: Any) -> Any:
    """Returns what is applied to each column, if that is all that a FunctionTransformer does."""
    import pandas as pd

    given = getattr(transformer, "kw_args", None) or {}
    return given.get("func") if getattr(transformer, "func", None) is pd.DataFrame.apply else None


def _as_pattern(match: re.Match[str]) -> str:
    letter, space, other = match.groups()
    return _DIRECTIVES[letter] if letter else r"\s+" if space else re.escape(other)
