"""Grafana's dashboard of a project's models: JSON, made from what each model takes and predicts.

Shows the metrics of the model servers, the recordings of `rules.yaml` and the gauges of `nbship monitor`;
decides nothing. One dashboard a project: all models at the top, and a row for each with its columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nbship.package import Package

Json = dict[str, Any]

_SCHEMA_VERSION = 39  # of Grafana 10.1, which later ones bring up to theirs
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_WIDTH, _HEIGHT = 24, 8
_GREEN, _YELLOW, _RED = "green", "yellow", "red"
_STATES = {"0": ("quiet", _GREEN), "1": ("look", _YELLOW), "2": ("act", _RED)}


def dashboard(title: str, identifier: str, packages: Sequence[Package]) -> str:
    """Returns a dashboard as Grafana imports it.

    Args:
        title: Its title.
        identifier: By which Grafana knows it again, 40 characters at most.
        packages: The published models' descriptions; without any, what is known of every model is shown.
    """
    panels = _overview()
    top = 1 + 2 * _HEIGHT
    for package in packages:
        panels += [_row(package, top), *_model(package, top + 1)]
        top += 1 + 2 * _HEIGHT
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    made = {
        "uid": identifier[:40],
        "title": title,
        "description": "Written by `nbship dashboard` from the models' schemas.",
        "tags": ["nbship"],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-24h", "to": "now"},
        "refresh": "1m",
        "templating": {"list": [_source_variable(), _namespace_variable()]},
        "annotations": {"list": [_alerts()]},
        "panels": panels,
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _overview() -> list[Json]:
    where = '{namespace=~"$namespace"}'
    version = "{{model}} {{version}} {{namespace}}"
    return [
        _panel(
            "stat",
            "What monitor says",
            (0, 0, 8),
            [_query("max by (model, stage) (nbship_monitor_state)", "{{model}} {{stage}}")],
            mappings=_state_mappings(),
        ),
        _panel(
            "timeseries",
            "Requests a second",
            (8, 0, 8),
            [_query(f"nbship:requests:rate5m{where}", version)],
            unit="reqps",
        ),
        _panel(
            "timeseries",
            "One answer in twenty takes longer",
            (16, 0, 8),
            [_query(f"nbship:latency:p95_5m{where}", version)],
            unit="s",
        ),
        _panel(
            "timeseries",
            "Share of requests that failed",
            (0, _HEIGHT, 8),
            [_query(f"nbship:errors:ratio5m{where}", version)],
            unit="percentunit",
        ),
        _panel(
            "timeseries",
            "Share of requests that were refused",
            (8, _HEIGHT, 8),
            [_query(f"nbship:refused:ratio5m{where}", version)],
            unit="percentunit",
        ),
        _panel(
            "timeseries",
            "Age of the newest label",
            (16, _HEIGHT, 8),
            [_query("time() - nbship_monitor_newest_label_timestamp_seconds", "{{model}} {{stage}}")],
            unit="s",
        ),
    ]


def _row(package: Package, top: int) -> Json:
    target = package.output.reference
    unit = f", {target.unit}" if target.unit else ""
    return {
        "type": "row",
        "title": f"{package.name}: {target.description or target.name}{unit}",
        "collapsed": False,
        "gridPos": {"x": 0, "y": top, "w": _WIDTH, "h": 1},
        "panels": [],
    }


def _model(package: Package, top: int) -> list[Json]:
    whose = f'model="{package.name}"'
    where = f'{{{whose}, namespace=~"$namespace"}}'
    columns = {column.name: _worded(column.name, column.description) for column in package.inputs}
    measured = sorted({name.rpartition(".")[2] for name in _judged(package)})
    return [
        _panel(
            "timeseries",
            "Records unlike those in training, by column",
            (0, top, 12),
            [_query(f"sum by (field) (nbship:flagged:ratio1h{where})", "{{field}}")],
            unit="percentunit",
            names=columns,
        ),
        _panel(
            "timeseries",
            "Refused values a request, by column",
            (12, top, 12),
            [_query(f"sum by (field) (nbship:refused_values:per_request15m{where})", "{{field}}")],
            names=columns,
        ),
        _panel(
            "bargauge",
            "How far each column is from training, 0 to 1",
            (0, top + _HEIGHT, 12),
            [_query(f"max by (column) (nbship_monitor_column_effect{{{whose}}})", "{{column}}")],
            names=columns,
            steps=((0, _GREEN), (0.1, _YELLOW), (0.2, _RED)),
        ),
        _panel(
            "timeseries",
            f"{', '.join(measured) or 'metrics'}: by labels, and as the gate saw it",
            (12, top + _HEIGHT, 12),
            [
                _query(f"nbship_monitor_metric{{{whose}}}", "{{metric}} by labels", "A"),
                _query(f"nbship_monitor_promised_metric{{{whose}}}", "{{metric}} at the gate", "B"),
            ],
        ),
    ]


def _judged(package: Package) -> Sequence[str]:
    """The metrics that the gate looked at, else all that were measured."""
    checks = package.verdict.checks if package.verdict else ()
    return [check.metric for check in checks] or list(package.metrics)


def _worded(name: str, description: str) -> str:
    return f"{description} ({name})" if description else name


def _panel(
    kind: str,
    title: str,
    place: tuple[int, int, int],
    targets: Sequence[Json],
    *,
    unit: str = "",
    names: Mapping[str, str] | None = None,
    mappings: Sequence[Json] = (),
    steps: Sequence[tuple[float, str]] = (),
) -> Json:
    """A panel.

    Args:
        kind: Of Grafana's panels.
        title: Its title.
        place: Column and row of its corner, and its width, of 24.
        targets: What it shows.
        unit: Of its values, by Grafana's name.
        names: What series are called, by the name that their legend has.
        mappings: Words for values.
        steps: Values from which on there is another colour.
    """
    defaults: Json = {"min": 0, "mappings": list(mappings)} | ({"unit": unit} if unit else {})
    if steps:
        # The first step holds for all that is below the second.
        values = [None, *(value for value, _ in steps[1:])]
        colours = [colour for _, colour in steps]
        defaults |= {
            "max": 1,
            "thresholds": {
                "mode": "absolute",
                "steps": [{"value": v, "color": c} for v, c in zip(values, colours, strict=True)],
            },
        }
    renamed = [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "displayName", "value": worded}],
        }
        for name, worded in (names or {}).items()
        if name != worded
    ]
    left, top, width = place
    return {
        "type": kind,
        "title": title,
        "datasource": dict(_SOURCE),
        "gridPos": {"x": left, "y": top, "w": width, "h": _HEIGHT},
        "targets": list(targets),
        "fieldConfig": {"defaults": defaults, "overrides": renamed},
        "options": dict(_OPTIONS[kind]),
    }


_NOW = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: Mapping[str, Json] = {
    "stat": {"reduceOptions": _NOW, "colorMode": "background", "graphMode": "none", "textMode": "auto"},
    "bargauge": {"reduceOptions": _NOW, "orientation": "horizontal", "displayMode": "basic"},
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
}


def _query(expression: str, legend: str, name: str = "A") -> Json:
    return {"refId": name, "datasource": dict(_SOURCE), "expr": expression, "legendFormat": legend}


def _state_mappings() -> list[Json]:
    words = {value: {"text": text, "color": colour} for value, (text, colour) in _STATES.items()}
    return [{"type": "value", "options": words}]


def _source_variable() -> Json:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _namespace_variable() -> Json:
    # Everything also matches where there are no namespaces, as with a server on one's own machine.
    return {
        "name": "namespace",
        "label": "Stage",
        "type": "query",
        "datasource": dict(_SOURCE),
        "query": {"query": "label_values(nbship_requests_total, namespace)", "refId": "namespaces"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
    }


def _alerts() -> Json:
    return {
        "name": "Alerts",
        "datasource": dict(_SOURCE),
        "enable": True,
        "iconColor": _RED,
        "expr": 'ALERTS{alertname=~"Nbship.+", alertstate="firing"}',
    }
