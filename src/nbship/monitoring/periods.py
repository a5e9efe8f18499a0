"""Follows a model over days or weeks: its metrics with versions marked, and since when a change is there.

Looks back on what a window showed; decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from nbship.monitoring.columns import compare_column
from nbship.monitoring.decision import FEWEST_ROWS, Finding
from nbship.monitoring.performance import MeasuredMetric, measure
from nbship.monitoring.rows import answers_of, given, labelled, reference_table, shown
from nbship.monitoring.values import comparable
from nbship.package import Package
from nbship.package.sample import ReferenceSample
from nbship.package.schema import Output

if TYPE_CHECKING:
    import pandas as pd

    from nbship.monitoring.records import Records

_AT_MOST = 12
_FEWEST_LABELS = 5
# In one period, of a change that the window has shown.
_LEVEL = 0.01


@dataclass(frozen=True)
class Period:
    """A day or a week.

    Attributes:
        begin: When it began; it ends where the next one begins.
        end: When it ended.
        rows: Records in it.
        labels: How many of them have one.
        versions: Which answered, the one with the most records first.
        metric: Of the labelled ones; None for too few.
    """

    begin: datetime
    end: datetime
    rows: int
    labels: int
    versions: tuple[str, ...]
    metric: MeasuredMetric | None


def periods_of(output: Output, records: Records, until: datetime) -> tuple[Period, ...]:
    """Returns weeks, or days where there are not two weeks of records: twelve at most, up to a time."""
    times = records.answers["time"]
    if times.empty:
        return ()
    first = times.min().to_pydatetime()
    length = timedelta(days=7 if until - first > timedelta(days=14) else 1)
    found = []
    for back in range(_AT_MOST):
        end = until - back * length
        if end <= first:
            break
        found.append(_period(output, records, end - length, end))
    return tuple(reversed(found))


def changed_since(
    package: Package,
    sample: ReferenceSample | None,
    records: Records,
    own: pd.Series[bool],
    periods: Sequence[Period],
    findings: Sequence[Finding],
    private: Collection[str],
) -> tuple[tuple[str, datetime], ...]:
    """Returns since when the columns that changed have been as they are now, the longest first.

    From the end backwards, the periods in which the column by itself still differs from the reference;
    periods with too few rows say nothing.
    """
    names = {each.about for each in findings if each.state != "quiet" and each.about}
    if not names:
        return ()
    before = reference_table(sample)
    since: dict[str, datetime] = {}
    going = set(names)
    for period in reversed(periods):
        chosen = own & (records.answers["time"] >= period.begin) & (records.answers["time"] < period.end)
        if int(chosen.sum()) < FEWEST_ROWS:
            continue
        inputs = given(package.inputs, records.inputs[chosen], private)
        columns, window = comparable(shown(package.inputs, private), inputs)
        here = {column.name: column for column in columns if column.name in going}
        going = set()
        for name, column in here.items():
            described = any(each.name == name for each in package.inputs)
            known = before[name] if before is not None and name in before else None
            change = compare_column(column, package.rows if described else 0, known, window[name])
            if any(finding.p <= _LEVEL for finding in change.findings):
                since[name] = period.begin
                going.add(name)
    return tuple(sorted(since.items(), key=lambda item: (item[1], item[0])))


def _period(output: Output, records: Records, begin: datetime, end: datetime) -> Period:
    chosen = (records.answers["time"] >= begin) & (records.answers["time"] < end)
    versions = records.answers.loc[chosen, "version"].value_counts()
    ordered = sorted(versions.index, key=lambda version: (-versions[version], str(version)))
    table = labelled(records, chosen, output.kind)
    metric = None
    if len(table) >= _FEWEST_LABELS:
        inputs = records.inputs.loc[table.index]
        metric = measure(output, [], inputs, answers_of(table), None, []).metrics[0]
    return Period(begin, end, int(chosen.sum()), len(table), tuple(map(str, ordered)), metric)
