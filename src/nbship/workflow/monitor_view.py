"""Words an examination for its page: what is shown, and what a person may do about it.

Neither finds anything nor draws.
"""

from __future__ import annotations

from nbship.monitoring.columns import ColumnChange, percent
from nbship.monitoring.decision import Finding, p_text
from nbship.monitoring.examination import Examination
from nbship.monitoring.predictions import estimate_text
from nbship.package import Package
from nbship.pages.bars import Chart, Point
from nbship.pages.monitor_page import ChangedColumn, FindingRow, MonitorView, WatchedMetric

_COLUMNS_AT_MOST = 24


def view_of(package: Package, found: Examination) -> MonitorView:
    """Returns what the page of an examination shows."""
    metrics = found.performance.metrics if found.performance else ()
    labels = [period for period in found.periods if period.metric]
    return MonitorView(
        name=found.name,
        description=package.description,
        version=found.version,
        reference=found.reference,
        since=found.since,
        until=found.until,
        rows=found.rows,
        labels=found.performance.rows if found.performance else 0,
        state=found.decision.state,
        reasons=found.decision.reasons,
        advice=_advice(found),
        columns=_columns(found),
        together=_sentence(found.joint.finding.text) if found.joint else "",
        predictions=_predictions(found),
        metrics=tuple(
            WatchedMetric(
                metric.name,
                f"{metric.value:.4g}",
                f"{metric.low:.4g} to {metric.high:.4g}",
                "" if metric.promised is None else f"{metric.promised:.4g}",
            )
            for metric in metrics
        ),
        metric=labels[-1].metric.name if labels and labels[-1].metric else "",
        points=tuple(
            Point(
                f"{period.begin:%d %b}",
                period.metric.value,
                period.metric.low,
                period.metric.high,
                period.versions[0] if period.versions else "",
            )
            for period in labels
            if period.metric
        ),
        promised=metrics[0].promised if metrics else None,
        slices=_labels(found),
        tests=tuple(_row(finding) for finding in found.findings),
        notes=tuple(map(_sentence, found.notes)),
    )


def _advice(found: Examination) -> tuple[str, ...]:
    state = found.decision.state
    broken = found.broken is not None
    if state == "act" and broken:
        return (
            "The model is less right than it was when it passed the gate. Train it on newer rows: "
            f"nbship retrain {found.name}.",
            "Until there is a better one, decide whether it may go on serving.",
        )
    if state == "act":
        return (
            "Look at the columns below: is it the world that changed, or what sends the requests?",
            "If it is the world, get labels of such rows and train on them: what is asked is not what the "
            "model was trained on.",
            "If it is a mistake of a client, mend that; the model is not at fault.",
        )
    if state == "look":
        return ("Look again tomorrow, or at a longer window: a small change shows on more rows.",)
    if state == "too few":
        return ("Take a longer window: --since 30d.",)
    return ()


def _columns(found: Examination) -> tuple[ChangedColumn, ...]:
    since = dict(found.changed)
    weeks = bool(found.periods) and (found.periods[0].end - found.periods[0].begin).days > 1
    kind = "week" if weeks else "day"
    told: dict[str, list[Finding]] = {}
    for finding in found.findings:
        if finding.state != "quiet" and finding.about:
            told.setdefault(finding.about, []).append(finding)
    changes = {change.name: change for change in found.columns}
    return tuple(
        ChangedColumn(
            name,
            tuple(_sentence(f"{each.text} ({p_text(each.adjusted)})") for each in findings),
            f"the {kind} from {since[name]:%d %b %Y}" if name in since else "",
            changes[name].psi,
            _chart(changes[name]),
        )
        for name, findings in list(told.items())[:_COLUMNS_AT_MOST]
    )


def _chart(change: ColumnChange) -> Chart | None:
    bars = change.bars
    return Chart(bars.labels, bars.reference, bars.window) if bars else None


def _predictions(found: Examination) -> tuple[str, ...]:
    told = [
        f"Answers: {finding.text} ({p_text(finding.adjusted)})."
        for finding in found.findings
        if finding.kind == "prediction"
    ]
    before, now = found.widths
    if before is not None and now is not None:
        told.append(
            f"Intervals are {now:.4g} wide on average; on the reference's rows they were {before:.4g}."
        )
    if found.estimate:
        told.append(f"Estimated without labels, while its inputs are quiet: {estimate_text(found.estimate)}.")
    return tuple(told)


def _labels(found: Examination) -> tuple[str, ...]:
    told = []
    performance = found.performance
    if found.promise and found.promise.text:
        told.append(_sentence(found.promise.text))
    if found.broken:
        told.append(f"The label that broke the promise arrived on {found.broken:%d %b %Y, %H:%M} UTC.")
    if performance and performance.covered is not None:
        told.append(f"{percent(performance.covered)} of the truths lie in their 90 % intervals.")
    if performance and performance.delay is not None:
        told.append(f"Half of the labels came within {performance.delay:.1f} days.")
    if performance:
        told += [
            f"Worse where {each.where}: {each.times:.3g} times the mean loss, on {each.rows} labels."
            for each in performance.slices
        ]
    return tuple(told)


def _row(finding: Finding) -> FindingRow:
    p = p_text(finding.adjusted).removeprefix("p ").removeprefix("= ")
    return FindingRow(finding.about, finding.kind, finding.text, p, f"{finding.effect:.2f}", finding.state)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
