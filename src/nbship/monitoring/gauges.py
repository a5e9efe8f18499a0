"""What `nbship monitor` found of a model, as gauges for Prometheus: its text format, and a push.

What the numbers mean is decided where they are found. Labels name models, stages and the model's own columns,
never the content of a record.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from nbship.errors import NbshipError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

# As the alert rules read them.
STATES: Mapping[str, int] = {"too few": 0, "quiet": 0, "look": 1, "act": 2}
JOB = "nbship-monitor"
_TIMEOUT = 30.0


@dataclass(frozen=True)
class Look:
    """One look at a model.

    Attributes:
        model: Its name.
        stage: The stage whose records were looked at; empty for all of them.
        state: What was said: one of `STATES`.
        time: When, in UTC.
        records: How many records the window holds.
        labels: How many of them have a label.
        newest_record: When the newest record was asked; None if there is none.
        newest_label: When the newest label arrived; None if there is none.
        effects: By column, how much its values differ from the reference, from 0 to 1.
        metrics: By name, what labels say of the model in this window.
        promised: The same metrics as they were on held-out rows, when the gate let the model pass.
    """

    model: str
    stage: str
    state: str
    time: datetime
    records: int
    labels: int
    newest_record: datetime | None = None
    newest_label: datetime | None = None
    effects: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    promised: Mapping[str, float] = field(default_factory=dict)


def exposition(look: Look) -> str:
    """Returns a look in Prometheus' text format, version 0.0.4.

    Raises:
        NbshipError: prometheus_client is not installed.
    """
    from prometheus_client import generate_latest

    return generate_latest(_registry(look)).decode()


def push(look: Look, address: str) -> None:
    """Puts a look in the place of the last one of this model and stage at a Pushgateway.

    Args:
        look: The look.
        address: Such as http://nbship-pushgateway:9091.

    Raises:
        NbshipError: prometheus_client is not installed, or the Pushgateway refuses or does not answer.
    """
    registry = _registry(look)
    from prometheus_client import push_to_gateway

    grouping = {"model": look.model} | ({"stage": look.stage} if look.stage else {})
    try:
        push_to_gateway(address, JOB, registry, grouping, _TIMEOUT)
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors
        raise NbshipError(
            f"{address} rejected the gauges of {look.model}: {error}",
            "see that a Pushgateway answers there: kubectl get service nbship-pushgateway",
        ) from None


def _registry(look: Look) -> CollectorRegistry:
    try:
        from prometheus_client import CollectorRegistry, Gauge
    except ModuleNotFoundError:
        raise NbshipError("gauges need prometheus_client", "pip install 'nbship[serve]'") from None
    registry = CollectorRegistry()
    whose = {"model": look.model} | ({"stage": look.stage} if look.stage else {})

    def gauge(name: str, text: str, values: Mapping[str, float], by: str = "") -> None:
        finite = {key: value for key, value in values.items() if math.isfinite(value)}
        if finite:
            made = Gauge(f"nbship_monitor_{name}", text, [*whose, *([by] if by else [])], registry=registry)
        for key, value in finite.items():
            made.labels(*whose.values(), *([key] if by else [])).set(value)

    newest = {"record": look.newest_record, "label": look.newest_label}
    gauge("state", "What monitor says: 0 quiet, 1 look, 2 act", {"": STATES[look.state]})
    gauge("run_timestamp_seconds", "When monitor looked, in seconds since 1970", {"": look.time.timestamp()})
    gauge("records", "Records in the window", {"": look.records})
    gauge("labelled_records", "Records in the window that have a label", {"": look.labels})
    for what, when in newest.items():
        text = f"When the newest {what} of the window came, in seconds since 1970"
        gauge(f"newest_{what}_timestamp_seconds", text, {"": when.timestamp()} if when else {})
    gauge("column_effect", "How far a column's values are from the reference, 0 to 1", look.effects, "column")
    gauge("metric", "What labels say of the model in the window", look.metrics, "metric")
    gauge("promised_metric", "The metric when the gate let the model pass", look.promised, "metric")
    return registry
