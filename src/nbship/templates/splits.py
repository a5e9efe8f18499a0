"""How a table's rows are to be held out: by a key, by their inputs, by groups, or by time.

A model must be judged on rows as new to it as those that it will meet. Neither reads files nor splits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbship.errors import UsageError, suggestion
from nbship.templates.dates import read_dates
from nbship.templates.table import ID_NAME, ColumnKind, Table

if TYPE_CHECKING:
    import pandas as pd

# Position in a file is not an identity.
_POSITION = re.compile(r"^Unnamed: \d+$|(^|[_\s.-])(index|row|nr|no|number)$", re.IGNORECASE)
_BIRTH = re.compile(r"birth|born|dob|geburt|geboren|naissance", re.IGNORECASE)
_TIME = re.compile(r"date|time|day|month|week|year|datum|zeit|tag|stamp|_at$|_on$", re.IGNORECASE)
_WHO = re.compile(
    r"^(patient|subject|person|people|user|customer|client|member|household|student|pupil|athlete|player|animal|"
    r"session|device|machine|sensor|engine|vehicle|account|respondent|participant|rider|driver)s?$",
    re.IGNORECASE,
)
_CODE = r"[A-Za-z]{1,4}[-_]?\d{2,}"
_FEWEST_GROUPS, _FEWEST_TIMES = 10, 10
_MOST = 0.9
# With fewer different rows, or one so frequent, a side of the split would depend on luck.
_FEWEST_DIFFERENT, _LARGEST = 100, 0.05


@dataclass(frozen=True)
class Split:
    """How rows are held out.

    Attributes:
        by: The columns whose hash decides a row's side.
        key: Whether those are an identifier of the row.
        time: The column whose latest values are held out; empty if a hash decides.
        group: The column whose equal values stay on one side; empty if rows stand by themselves.
        alike: Whether so many rows are alike that they must be told apart by a number.
    """

    by: tuple[str, ...]
    key: bool = False
    time: str = ""
    group: str = ""
    alike: bool = False


@dataclass(frozen=True)
class SplitWish:
    """What a user says of time and groups.

    Attributes:
        time: The column of time; empty to look for one, None if there is none.
        group: The column of groups; likewise.
    """

    time: str | None = ""
    group: str | None = ""


def find_split(table: Table, target: str, wish: SplitWish) -> Split:
    """Decides how rows are held out.

    Raises:
        UsageError: A column that the user names is not there, or cannot be used so.
    """
    inputs = {name: kind for name, kind in table.columns.items() if name != target}
    for flag, name in (("--time", wish.time), ("--group", wish.group)):
        if name and name not in inputs:
            raise UsageError(f"{flag} {name}: there is no such column", suggestion(name, inputs))
    if wish.time and wish.group:
        raise UsageError(
            "--time and --group do not go together", "choose what a new row will be: later, or of a new group"
        )
    key = find_key(table, target)
    by = (key,) if key else tuple(n for n, kind in inputs.items() if kind in _HASHED)
    split = Split(
        by or tuple(inputs), bool(key), alike=not key and bool(by) and _are_alike(table.sample[list(by)])
    )
    if wish.group:
        return _by_group(table, wish.group)
    if wish.time:
        return _by_time(table, wish.time, split)
    group = find_group(table, target) if wish.group is not None else ""
    time = find_time(table, target) if wish.time is not None else ""
    # What all rows of a group share would be known of them on both sides of any moment.
    if group and (not time or _is_shared(table.sample, group, target)):
        return _by_group(table, group)
    return _by_time(table, time, split) if time else split


_HASHED = (ColumnKind.NUMBER, ColumnKind.WORDS, ColumnKind.DATE, ColumnKind.TEXT)


def find_key(table: Table, target: str) -> str:
    """Returns the column that identifies each row, whatever its place in the file; empty if there is none."""
    for name in (c for c, kind in table.columns.items() if kind is ColumnKind.IDENTIFIER):
        values = table.sample[name]
        unique = values.notna().all() and values.is_unique and not _repeats(table, name)
        is_code = not _is_whole(values) and not values.astype(str).str.contains(r"\s").any()
        named = ID_NAME.search(name) or is_code
        if name != target and unique and named and not _POSITION.search(name):
            return name
    return ""


def find_time(table: Table, target: str) -> str:
    """Returns the column that says when a row came about; empty if there is none.

    Of several, one by which the file is sorted comes first, then one that is called a time.
    """
    times = {
        name: moments(table, name)
        for name in table.dates
        if name != target and not _BIRTH.search(name) and table.columns[name] is ColumnKind.DATE
    }
    fit = {name: m for name, m in times.items() if m.nunique() >= _FEWEST_TIMES and m.notna().mean() > _MOST}
    order = sorted(fit, key=lambda name: (not _is_sorted(fit[name]), not _TIME.search(name)))
    return order[0] if order else ""


def find_group(table: Table, target: str) -> str:
    """Returns the column whose equal values make rows belong together, such as a patient's; empty if none.

    It is named like a key, or its values are codes, or all its rows share the target.
    """
    for name, kind in table.columns.items():
        values = table.sample[name]
        different = values.nunique() if kind is not ColumnKind.NESTED else 0
        whole = kind in (ColumnKind.WORDS, ColumnKind.IDENTIFIER) or _is_whole(values)
        if name == target or not whole or different < _FEWEST_GROUPS:
            continue
        repeated = different <= len(values) / 1.5 or _repeats(table, name)
        named = ID_NAME.search(name) or _WHO.search(name) or (kind is ColumnKind.WORDS and _are_codes(values))
        if repeated and not _POSITION.search(name) and (named or _is_shared(table.sample, name, target)):
            return name
    return ""


def moments(table: Table, name: str) -> pd.Series[Any]:
    """Returns a column as what can be ordered: dates, or numbers."""
    if name in table.dates:
        dates = table.dates[name]
        return read_dates(table.sample[name], dates.format, dates.day_first)
    return table.sample[name]


def _by_time(table: Table, name: str, split: Split) -> Split:
    if table.columns[name] not in (ColumnKind.DATE, ColumnKind.NUMBER, ColumnKind.IDENTIFIER):
        raise UsageError(
            f"--time {name}: holds neither dates nor numbers", "choose a column that can be ordered"
        )
    if moments(table, name).nunique() < _FEWEST_TIMES:
        raise UsageError(
            f"--time {name}: has fewer than {_FEWEST_TIMES} different times", "choose another column"
        )
    return Split(split.by, split.key, time=name, alike=split.alike)


def _by_group(table: Table, name: str) -> Split:
    groups = table.sample[name].nunique()
    if groups < _FEWEST_GROUPS:
        raise UsageError(
            f"--group {name}: has only {groups} groups",
            f"holding whole groups out needs {_FEWEST_GROUPS} at the very least",
        )
    return Split((name,), group=name)


def _is_shared(rows: pd.DataFrame, group: str, target: str) -> bool:
    """Tells whether all rows of a group have one target, where that would be strange by chance."""
    known = rows[[group, target]].dropna()
    groups = known.groupby(group, observed=True)[target]
    several = groups.size() > 1
    if several.sum() < _FEWEST_GROUPS or several.sum() < several.size / 2:
        return False
    different = groups.nunique()[several]
    # A target that is nearly always the same is shared by any rows.
    chance = float((known[target].value_counts(normalize=True) ** 2).sum())
    return bool((different == 1).mean() > _MOST and chance < 0.8)


def _are_alike(inputs: pd.DataFrame) -> bool:
    counts = inputs.value_counts(dropna=False)
    return bool(
        len(counts) < min(_FEWEST_DIFFERENT, len(inputs) / 2) or counts.iloc[0] > _LARGEST * len(inputs)
    )


def _are_codes(values: pd.Series[Any]) -> bool:
    texts = values.dropna().astype(str)
    return bool(texts.str.fullmatch(_CODE).mean() > _MOST and texts.str.len().nunique() == 1)


def _is_whole(values: pd.Series[Any]) -> bool:
    from pandas.api import types

    return bool(types.is_integer_dtype(values))


def _is_sorted(times: pd.Series[Any]) -> bool:
    known = times.dropna()
    return bool(known.is_monotonic_increasing or known.is_monotonic_decreasing)


def _repeats(table: Table, name: str) -> bool:
    """Tells whether a column repeats in a file of which only some rows were looked at."""
    return table.repeats.get(name, 1.0) > 1.1
