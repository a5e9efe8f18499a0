"""What `nbship monitor` found, as the gauges that Prometheus takes."""

from __future__ import annotations

from datetime import UTC, datetime

from nbship.monitoring.gauges import Look
from nbship.workflow.monitor import Monitored


def look_of(monitored: Monitored, stage: str = "", now: datetime | None = None) -> Look:
    """Returns a look at a model.

    Args:
        monitored: What was found.
        stage: The stage that was asked about; empty for the champion, wherever it serves.
        now: The time; now if None.
    """
    found = monitored.examination
    performance = found.performance
    metrics = performance.metrics if performance else ()
    effects: dict[str, float] = {}
    for finding in found.findings:
        if finding.about and finding.kind == "distribution":
            effects[finding.about] = max(finding.effect, effects.get(finding.about, 0.0))
    return Look(
        model=found.name,
        stage=stage,
        state=found.decision.state,
        time=now or datetime.now(UTC),
        records=found.rows,
        labels=performance.rows if performance else 0,
        newest_record=monitored.newest_record,
        newest_label=monitored.newest_label,
        effects=effects,
        metrics={metric.name: metric.value for metric in metrics},
        promised={metric.name: metric.promised for metric in metrics if metric.promised is not None},
    )
