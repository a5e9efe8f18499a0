"""Examines a window of what a model was asked and answered: all tests together, and the decision.

Puts together what the modules beside it find. Does not read a store, and does not show anything.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from nbship.monitoring.columns import ColumnChange, compare_column
from nbship.monitoring.decision import Finding, Promise, WindowDecision, adjust, decide
from nbship.monitoring.joint import Joint, compare_together
from nbship.monitoring.performance import Performance, doubts, keep_promise, losses_of, measure
from nbship.monitoring.periods import Period, changed_since, periods_of
from nbship.monitoring.predictions import Estimate, compare_predictions, estimate_performance, mean_width
from nbship.monitoring.rows import answers_of, given, labelled, reference_table, shown
from nbship.monitoring.values import comparable, identifier_key
from nbship.package import Package
from nbship.package.sample import ReferenceSample
from nbship.package.schema import Column

if TYPE_CHECKING:
    import pandas as pd

    from nbship.monitoring.records import Records

# Of a window; more rows make no test more useful, only longer.
ROWS_AT_MOST = 5000


@dataclass(frozen=True)
class Examination:
    """What was found of a window.

    Attributes:
        name: The model.
        version: Whose answers were examined; empty if all were.
        reference: Whose reference they were compared with.
        since: Of the window.
        until: The end of it.
        rows: Of the window.
        decision: What is to be done, and why.
        findings: All that was tested, adjusted for each other, the most certain first.
        columns: What became of each column.
        joint: All columns together; None where it cannot be said.
        widths: Mean widths of the intervals, of the reference and of the window.
        estimate: Of a classifier's performance, while its inputs are quiet; None otherwise.
        performance: What the labels of the window say; None without.
        promise: What all labels say of what was promised; None without.
        broken: When the label arrived that broke it.
        periods: Days or weeks up to the end of the window, of all versions.
        changed: Beginning of the first period since which each finding was there, by its column and kind.
        notes: What else is to be known.
    """

    name: str
    version: str
    reference: str
    since: datetime
    until: datetime
    rows: int
    decision: WindowDecision
    findings: tuple[Finding, ...] = ()
    columns: tuple[ColumnChange, ...] = ()
    joint: Joint | None = None
    widths: tuple[float | None, float | None] = (None, None)
    estimate: Estimate | None = None
    performance: Performance | None = None
    promise: Promise | None = None
    broken: datetime | None = None
    periods: tuple[Period, ...] = ()
    changed: tuple[tuple[str, datetime], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Changes:
    """What is found of a table of inputs and answers, without labels."""

    findings: tuple[Finding, ...]
    columns: tuple[ColumnChange, ...]
    joint: Joint | None


def examine(
    package: Package,
    sample: ReferenceSample | None,
    records: Records,
    since: datetime,
    until: datetime,
    version: str = "",
    reference: str = "",
    private: Collection[str] = (),
) -> Examination:
    """Examines a window.

    Args:
        package: The description of the model that is the reference.
        sample: Its sample; None where the package has none, and columns are compared with their description.
        records: What was asked and answered up to the end of the window, of all versions.
        since: The beginning of the window.
        until: Its end.
        version: Whose answers are examined; all if empty.
        reference: The reference's version; predictions are compared only where it is the one that answered.
        private: Columns that records leave out or hash, which cannot be compared.
    """
    own = records.answers["version"] == version if version else records.answers["version"].notna()
    chosen = own & (records.answers["time"] >= since) & (records.answers["time"] < until)
    inputs, answers = _window(package.inputs, records, chosen, private)
    answered = sample if reference == version else None
    changes = compare(package, sample, inputs, answers if answered else None, private)
    promise, broken = _promise(package, answered, records, own)
    performance = _performance(package, answered, records, chosen, private)
    told = _with_doubts(promise, performance)
    rows = int(chosen.sum())
    quiet = bool(rows) and all(
        each.state == "quiet" for each in changes.findings if each.kind != "prediction"
    )
    estimate = None
    if quiet and answered and answered.kind == "held out":
        estimate = estimate_performance(answered.answers, package.output.classes, answers)
    periods = periods_of(package.output, records, until)
    return Examination(
        name=package.name,
        version=version,
        reference=reference,
        since=since,
        until=until,
        rows=rows,
        decision=decide(rows, changes.findings, told),
        findings=changes.findings,
        columns=changes.columns,
        joint=changes.joint,
        widths=_widths(answered, answers),
        estimate=estimate,
        performance=performance,
        promise=told,
        broken=broken,
        periods=periods,
        changed=changed_since(package, sample, records, own, periods, changes.findings, private),
        notes=_notes(sample, reference == version, rows, private),
    )


def compare(
    package: Package,
    sample: ReferenceSample | None,
    inputs: pd.DataFrame,
    answers: pd.DataFrame | None = None,
    private: Collection[str] = (),
    together: bool = True,
) -> Changes:
    """Compares rows with the reference: each column, all together, and what the model answered.

    Args:
        package: The description of the model.
        sample: Its sample.
        inputs: Raw columns; one that is absent and not private was never given.
        answers: To these rows; None if they are not to be compared.
        private: Columns that cannot be compared.
        together: Whether to ask a classifier, which takes longest.
    """
    if not len(inputs):
        return Changes((), (), None)
    columns, window = comparable(shown(package.inputs, private), inputs)
    before = reference_table(sample)
    described = {column.name for column in package.inputs}
    changed = [
        compare_column(
            column,
            package.rows if column.name in described else 0,
            before[column.name] if before is not None and column.name in before else None,
            window[column.name],
        )
        for column in columns
    ]
    common = [column for column in columns if before is not None and column.name in before]
    joint = compare_together(common, before, window) if together and before is not None and common else None
    findings = [finding for each in changed for finding in each.findings]
    findings += [joint.finding] if joint else []
    if sample is not None and answers is not None and sample.kind == "held out":
        findings += compare_predictions(package.output.kind, sample.answers, answers)
    return Changes(adjust(findings), tuple(changed), joint)


def _window(
    columns: Sequence[Column], records: Records, chosen: pd.Series[bool], private: Collection[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that are tested."""
    inputs = given(columns, records.inputs[chosen], private)
    answers = records.answers[chosen]
    if len(inputs) > ROWS_AT_MOST:
        drawn = sorted(inputs.index, key=identifier_key)[:ROWS_AT_MOST]
        inputs, answers = inputs.loc[drawn], answers.loc[drawn]
    return inputs, answers


def _promise(
    package: Package, sample: ReferenceSample | None, records: Records, own: pd.Series[bool]
) -> tuple[Promise | None, datetime | None]:
    table = labelled(records, own, package.output.kind)
    if table.empty:
        return None, None
    held_out = sample.answers if sample and sample.kind == "held out" else None
    promise, place = keep_promise(package.output, held_out, answers_of(table))
    return promise, None if place is None else table["arrived"].iloc[place].to_pydatetime()


def _performance(
    package: Package,
    sample: ReferenceSample | None,
    records: Records,
    chosen: pd.Series[bool],
    private: Collection[str],
) -> Performance | None:
    table = labelled(records, chosen, package.output.kind)
    if table.empty:
        return None
    held_out = sample.answers if sample and sample.kind == "held out" else None
    promised = losses_of(package.output, held_out) if held_out and held_out.truth else None
    columns, inputs = comparable(
        shown(package.inputs, private), given(package.inputs, records.inputs.loc[table.index], private)
    )
    delays = (table["arrived"] - table["time"]).dt.total_seconds().to_numpy() / 86_400
    return measure(package.output, columns, inputs, answers_of(table), promised, delays)


def _with_doubts(promise: Promise | None, performance: Performance | None) -> Promise | None:
    if promise is None or performance is None:
        return promise
    return Promise(promise.evidence, promise.text, doubts(performance))


def _widths(sample: ReferenceSample | None, answers: pd.DataFrame) -> tuple[float | None, float | None]:
    before = mean_width(sample.answers.low, sample.answers.high) if sample else None
    return before, mean_width(answers["low"].tolist(), answers["high"].tolist())


def _notes(
    sample: ReferenceSample | None, same: bool, rows: int, private: Collection[str]
) -> tuple[str, ...]:
    notes = []
    if sample is None:
        notes.append(
            "the package has no reference sample: columns are compared with their histograms, and neither "
            "all of them together nor predictions are; publish again to have one"
        )
    elif not same:
        notes.append("the reference is another version: predictions and labels are not compared with it")
    elif sample.kind != "held out":
        notes.append("no rows were held out from training: predictions and labels are not judged")
    if rows > ROWS_AT_MOST:
        notes.append(f"of {rows:,} records {ROWS_AT_MOST:,} were drawn for the tests")
    if private:
        notes.append(f"private columns are not compared: {', '.join(sorted(private))}")
    return tuple(notes)
