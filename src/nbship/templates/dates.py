"""Dates as people write them: the one format of a column, by all of its values."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbship.errors import UsageError

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

MIXED = "mixed"
_MOST = 0.9
_DAYS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d.%m.%Y", "%d/%m/%Y", "%d-%m-%Y", "%m/%d/%Y", "%m-%d-%Y", "%m.%d.%Y"),
    *("%d.%m.%y", "%d/%m/%y", "%d-%m-%y", "%m/%d/%y", "%m-%d-%y"),
    *("%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%B %d, %Y"),
)
_TIMES = ("", " %H:%M:%S", " %H:%M", "T%H:%M:%S", "T%H:%M", " %H:%M:%S.%f", "T%H:%M:%S.%f", " %I:%M %p")
_DATE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2}[ -][A-Za-z]{3,9}[ -]\d{2,4}|[A-Za-z]{3,9} \d{1,2},? \d{4}"
)
# Values that tell which formats are worth trying on all.
_TRIED = 50


@dataclass(frozen=True)
class Dates:
    """How a column of dates is written.

    Attributes:
        format: As `pandas.to_datetime` takes it; `mixed` if there is no one format for nearly all.
        day_first: Whether the day stands before the month.
        ambiguous: Whether the same values would be dates with day and month exchanged.
        unread: The share of values that are no dates in that format.
    """

    format: str
    day_first: bool
    ambiguous: bool
    unread: float


def dates_of(values: pd.Series[Any], day_first: bool | None = None) -> Dates | None:
    """Says how a column writes dates, by all of its values.

    Args:
        values: The column.
        day_first: Whether the day is first in other columns, for one that tells nothing; if that is not
            known either, it is first where points are between the numbers.

    Returns:
        How; None if its values are no dates.
    """
    import pandas as pd

    texts = pd.Series(values.dropna().astype(str).unique(), dtype="object")
    if texts.empty or texts.str.contains(_DATE).mean() < _MOST:
        return None
    few = texts.sample(min(_TRIED, len(texts)), random_state=0)
    likely = [
        each for each in map("".join, itertools.product(_DAYS, _TIMES)) if _share(few, each) >= _MOST / 2
    ]
    shares = {each: _share(texts, each) for each in likely}
    best = max(shares, key=lambda each: (shares[each], each.startswith("%d.")), default="")
    if not best or shares[best] < _MOST:
        return _mixed(texts)
    swapped = best.replace("%d", "%_").replace("%m", "%d").replace("%_", "%m")
    both = swapped != best and shares.get(swapped, 0) == shares[best] and best[:2] in ("%d", "%m")
    if both and best.startswith("%d") != ("." in best if day_first is None else day_first):
        best = swapped
    return Dates(best, best.startswith("%d"), both, 1 - shares[best])


def read_dates(values: pd.Series[Any], format_: str, day_first: bool = False) -> pd.Series[Any]:
    """Reads dates; what is none is missing.

    Raises:
        UsageError: They are no dates.
    """
    import pandas as pd

    mixed = {"utc": True, "dayfirst": day_first} if format_ == MIXED else {}
    try:
        return pd.to_datetime(values, errors="coerce", format=format_, **mixed)
    except (ValueError, TypeError) as error:
        raise UsageError(f"'{values.name}' holds no dates: {error}", "choose another column") from None


def _mixed(texts: pd.Series[Any]) -> Dates | None:
    day_first = bool(texts.str.match(r"^(1[3-9]|2\d|3[01])[-/.]\d{1,2}[-/.]\d{2,4}").any())
    unread = float(read_dates(texts, MIXED, day_first).isna().mean())
    return Dates(MIXED, day_first, False, unread) if unread <= 1 - _MOST else None


def _share(texts: pd.Series[Any], format_: str) -> float:
    import pandas as pd

    return float(pd.to_datetime(texts, errors="coerce", format=format_).notna().mean())
