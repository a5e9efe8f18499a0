"""Draws two distributions beside each other, and a metric over time.

The pictures bring no style of their own: their colours come from the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 10, 34
_LONGEST = 12
_LABELS = 6


@dataclass(frozen=True)
class Chart:
    """Two distributions.

    Attributes:
        labels: Of each bar; of a range of numbers its lower end.
        reference: Share of the reference's rows in each.
        window: Share of the window's.
    """

    labels: tuple[str, ...]
    reference: tuple[float, ...]
    window: tuple[float, ...]


@dataclass(frozen=True)
class Point:
    """A metric of a time, with its interval and the version that answered."""

    label: str
    value: float
    low: float
    high: float
    version: str


def bars_svg(name: str, chart: Chart) -> str:
    """Draws the window's bars beside the reference's."""
    highest = max((*chart.reference, *chart.window), default=0) or 1.0
    step = (_WIDTH - _LEFT - _RIGHT) / max(len(chart.labels), 1)
    floor = _HEIGHT - _BOTTOM
    scale = (floor - _TOP) / highest
    parts = [_open(f"{name}: the reference's rows and the window's", "bars")]
    for share in (0.0, highest / 2, highest):
        y = floor - share * scale
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text("tick", _LEFT - 5, y + 4, f"{100 * share:.0f}%", "end"))
    every = max(1, math.ceil(len(chart.labels) / _LABELS))
    for place, label in enumerate(chart.labels):
        x = _LEFT + place * step
        for side, (kind, share) in enumerate(
            (("reference", chart.reference[place]), ("window", chart.window[place]))
        ):
            left, width = x + step * (0.08 + 0.43 * side), step * 0.41
            parts.append(
                f'<rect class="{kind}" x="{left:.1f}" y="{floor - share * scale:.1f}" '
                f'width="{width:.1f}" height="{share * scale:.1f}"/>'
            )
        if place % every == 0:
            parts.append(_text("tick", x + step / 2, floor + 16, _short(label), "middle"))
    return "".join([*parts, "</svg>"])


def line_svg(metric: str, points: Sequence[Point], promised: float | None) -> str:
    """Draws a metric over time with its intervals, what was promised, and where another version began."""
    shown = [point for point in points if math.isfinite(point.value)]
    if not shown:
        return ""
    width = 720
    ends = [end for p in shown for end in (p.low, p.high)] + ([] if promised is None else [promised])
    low, high = min(ends), max(ends)
    margin = 0.08 * (high - low) or 1.0
    low, high = low - margin, high + margin
    floor = _HEIGHT - _BOTTOM
    step = (width - _LEFT - 60) / len(shown)

    def down(value: float) -> float:
        return _TOP + (high - value) / (high - low) * (floor - _TOP)

    parts = [_open(f"{metric} over time", "line", width)]
    for tick in (low + margin, high - margin):
        parts.append(_text("tick", _LEFT - 5, down(tick) + 4, f"{tick:.3g}", "end"))
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{width - 60}" y1="{floor}" y2="{floor}"/>')
    if promised is not None:
        y = down(promised)
        parts.append(f'<line class="promised" x1="{_LEFT}" x2="{width - 60}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text("tick", width - 56, y + 4, "promised", "start"))
    before, every = "", max(1, math.ceil(len(shown) / _LABELS))
    for place, point in enumerate(shown):
        x = _LEFT + step * (place + 0.5)
        parts.append(
            f'<line class="spread" x1="{x:.1f}" x2="{x:.1f}" '
            f'y1="{down(point.low):.1f}" y2="{down(point.high):.1f}"/>'
        )
        parts.append(f'<circle cx="{x:.1f}" cy="{down(point.value):.1f}" r="4.5"/>')
        if place % every == 0:
            parts.append(_text("tick", x, floor + 15, point.label, "middle"))
        if point.version != before:
            edge = x - step / 2 + 2
            parts.append(f'<line class="version" x1="{edge:.1f}" x2="{edge:.1f}" y1="{_TOP}" y2="{floor}"/>')
            parts.append(
                _text("version-name", edge + 3, floor + 29, _short(point.version or "no version"), "start")
            )
            before = point.version
    return "".join([*parts, "</svg>"])


def _open(label: str, kind: str, width: int = _WIDTH) -> str:
    return f'<svg class="{kind}" viewBox="0 0 {width} {_HEIGHT}" role="img" aria-label="{escape(label)}">'


def _text(kind: str, x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
