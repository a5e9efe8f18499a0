"""What is said of a table: what was decided, and what its owner should know before believing a result."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from nbship.templates.dates import MIXED
from nbship.templates.leaks import Leaks
from nbship.templates.splits import Split
from nbship.templates.table import ColumnKind, Table

if TYPE_CHECKING:
    import pandas as pd

_LISTED = 5
_YEAR = re.compile(r"(^|[_\s.-])(year|yr|jahr|season|month|week|day)$", re.IGNORECASE)
# A number of different whole numbers that can be classes as well as counts.
_COUNTS = range(3, 51)


def warnings(table: Table, target: str, task: str, leaks: Leaks) -> list[str]:
    """Returns what a reader of the notebooks must know; Markdown, a sentence or two each."""
    said = [f"`{name}` is `{target}` in other words: left out." for name in leaks.copies]
    said += [
        f"`{name}` alone tells {skill:.0%} of what there is to know of `{target}`. Is it known before "
        f"`{target}` is? If not, add it to `unused` in prepare."
        for name, skill in leaks.telling.items()
    ]
    said += [
        f"`{name}`, an identifier that is left out, ranks `{target}` ({skill:.0%} of it): the rows were "
        "numbered by what came out. Does another column follow from it?"
        for name, skill in leaks.ranking.items()
    ]
    dates = table.dates.items()
    said += [
        f"`{name}`: day and month could be exchanged; it is read as `{each.format}`."
        for name, each in dates
        if each.ambiguous
    ]
    said += [
        f"`{name}`: {each.unread:.1%} of its dates cannot be read."
        for name, each in dates
        if each.unread > 0.001
    ]
    said += [
        f"`{name}`: `{each.ambiguous}` could be a whole number or have three decimals; it is read with "
        f"`{each.decimal}` as the decimal mark."
        for name, each in table.amounts.items()
        if each.ambiguous
    ]
    return said + _on_target(table.sample[target], target, task)


def _on_target(values: pd.Series, target: str, task: str) -> list[str]:
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce").dropna()
    if numbers.empty or (numbers % 1 != 0).any() or numbers.nunique() not in _COUNTS:
        return []
    other, meaning = (
        ("classification", "names of classes")
        if task == "regression"
        else (
            "regression",
            "counts or grades",
        )
    )
    return [
        f"`{target}` has {numbers.nunique()} different whole numbers. "
        f"If they are {meaning}: `--task {other}`."
    ]


def notes(
    table: Table, target: str, task: str, split: Split, unused: Mapping[str, Iterable[str]], without: int
) -> list[str]:
    """Returns what was decided, a line each.

    Args:
        table: The table.
        target: The column to predict.
        task: `regression` or `classification`.
        split: How rows are held out.
        unused: Columns that are left out, by why.
        without: Rows without a target, of those looked at.
    """
    kept = {name: kind for name, kind in table.columns.items() if name != target}
    said = [f"{task} of '{target}'"]
    options = {"format": table.reading.format} if table.reading.format != "csv" else table.reading.options
    said += [f"read with {', '.join(f'{k}={v!r}' for k, v in options.items())}"] if options else []
    said += [_on_split(table, target, split)]
    said += [f"left out, {why}: {_listed([*names])}" for why, names in unused.items() if [*names]]
    said += [f"read as {words}: {_listed(names)}" for words, names in _read_as(table, kept).items() if names]
    twice = [c for c in kept if (base := c.rpartition("."))[2].isdigit() and base[0] in table.columns]
    said += [f"named twice in the table, so the second is called: {_listed(twice)}"] if twice else []
    if without:
        said.append(f"rows without a target, which are left out: {without:,} of {len(table.sample):,}")
    return said + (["decided from a sample of the rows, for the file is large"] if table.sampled else [])


def _read_as(table: Table, kept: Mapping[str, ColumnKind]) -> dict[str, list[str]]:
    dates = {name: table.dates[name].format for name, kind in kept.items() if kind is ColumnKind.DATE}
    return {
        "dates": [f"{name} ({'several formats' if how == MIXED else how})" for name, how in dates.items()],
        "texts": [name for name, kind in kept.items() if kind is ColumnKind.TEXT],
        "numbers like 1,234.5": [name for name, each in table.amounts.items() if each.decimal == "."],
        "numbers like 1.234,5": [name for name, each in table.amounts.items() if each.decimal == ","],
    }


def _on_split(table: Table, target: str, split: Split) -> str:
    if split.time:
        return f"held out and validated by time, '{split.time}': the latest rows (else --no-time)"
    years = [
        n
        for n, kind in table.columns.items()
        if kind is ColumnKind.NUMBER and n != target and _YEAR.search(n)
    ]
    hint = f"; --time {years[0]} if it will be used on later rows" if years else ""
    if split.group:
        return f"held out and validated by whole groups of '{split.group}' (else --no-group)"
    if split.key:
        return f"held out by a hash of the key '{split.by[0]}'{hint}"
    alike = ", rows alike told apart by a number" if split.alike else ""
    return f"held out by a hash of the inputs{alike}{hint}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
