"""Numbers as people write them, such as $1,234.50 or 1.234,56 €: how a column of them is to be read.

`read_amounts` goes into the notebook as it is here, so what is decided and what is done are the same.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from typing import Any

# A column with so many numbers is one of numbers, as prepare.ipynb has it; the rest are words for "missing".
_NUMBERS = 0.75
# Values that tell whether it is worth looking at all of them.
_TRIED = 50
# Values that are numbers with one decimal mark only: 0.5 or 1234.5; 1,234.5; 1.23; and 1,234,567 for a point.
_TELLING = (
    r"(?<!\d)0{mark}\d|\d{{4}}{mark}\d",
    r"{other}\d{{3}}{mark}\d",
    r"^[^.,]*{mark}(?:\d{{1,2}}|\d{{4,}})(?!\d)[^.,]*$",
    r"{other}\d{{3}}{other}\d{{3}}",
)
_ONCE = r"[.,]\d{3}(?!\d)"


@dataclass(frozen=True)
class Amounts:
    """How a column of numbers is written.

    Attributes:
        decimal: What stands before its fractions: a point or a comma.
        ambiguous: A value of it, if all of them would be numbers with the other mark as well; else empty.
    """

    decimal: str
    ambiguous: str = ""


def read_amounts(texts: pd.Series, decimal: str) -> pd.Series:
    """Makes numbers of texts such as $1,234.50, 3 200 CHF, (12) for -12, or 12 %; of all else, NaN."""
    money = r"(?:[$€£¥₹₩₽]|USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|CZK|kr\.?|Fr\.|zł|Kč|Rs\.?)"
    groups = r"[.'’\s]" if decimal == "," else r"[,'’\s]"
    plain = texts.astype("string").str.strip().str.replace(r"^\((.+)\)$", r"-\1", regex=True)
    plain = plain.str.replace(r"[−–]", "-", regex=True)
    plain = plain.str.replace(
        rf"^([-+]?)\s*{money}?\s*([-+]?\d.*?)\s*(?:{money}|%|\.-)?$", r"\1\2", regex=True
    )
    plain = plain.str.replace(rf"(?<=\d){groups}(?=\d{{3}}(?!\d))", "", regex=True)
    plain = plain.where(plain.str.fullmatch(rf"[-+]?(?:0|[1-9]\d*)(?:\{decimal}\d*)?"))
    return pd.to_numeric(plain.str.replace(decimal, "."), errors="coerce").astype(float)


def source() -> str:
    """Returns the code of `read_amounts`, for a notebook."""
    return inspect.getsource(read_amounts).rstrip("\n")


def amounts_of(values: pd.Series[Any], usual: str) -> Amounts | None:
    """Says how a column of texts writes numbers, by all of its values.

    Args:
        values: The column.
        usual: The decimal mark of the rest of the table, for columns that tell nothing.

    Returns:
        How; None if it does not hold such numbers.
    """
    texts = pd.Series(values.dropna().astype(str).unique())
    few = texts.sample(min(_TRIED, len(texts)), random_state=0)
    if texts.empty or max(read_amounts(few, mark).notna().mean() for mark in ".,") < _NUMBERS / 2:
        return None
    with_digits = texts[texts.str.contains(r"\d")]
    numbers = {mark: read_amounts(with_digits, mark) for mark in ".,"}
    share = {mark: found.notna().mean() for mark, found in numbers.items()}
    if max(share.values()) * len(with_digits) < _NUMBERS * len(texts):
        return None
    told = {mark: _evidence(with_digits, mark) for mark in ".,"}
    other = "," if usual == "." else "."
    decimal = other if (told[other], share[other]) > (told[usual], share[usual]) else usual
    unsure = with_digits[with_digits.str.contains(_ONCE)] if not any(told.values()) else with_digits[:0]
    return Amounts(decimal, str(unsure.iloc[0]) if len(unsure) else "")


def _evidence(texts: pd.Series[Any], mark: str) -> int:
    """Counts the values that tell that a mark is the decimal one."""
    marks = {"mark": f"\\{mark}", "other": "\\," if mark == "." else "\\."}
    return int(texts.str.contains("|".join(_TELLING).format(**marks)).sum())
