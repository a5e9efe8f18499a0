"""Draws the comparison with the champion: the difference of the mean loss, its interval, what is tolerated.

The numbers stand in words beside the picture, so screen readers pass it over. Colours come from the page.
"""

from __future__ import annotations

from nbship.gate import Comparison, percent_text

_WIDTH, _HEIGHT = 400, 96
_LEFT, _RIGHT, _AXIS = 16, 384, 52


def interval_svg(comparison: Comparison) -> str:
    """Draws an interval on a line, better to the left."""
    tolerance = comparison.tolerance
    marks = [0.0, comparison.low, comparison.high, comparison.difference, tolerance]
    low, high = min(marks), max(marks)
    margin = 0.14 * (high - low) or 0.01

    def x(share: float) -> float:
        return _LEFT + (share - low + margin) / (high - low + 2 * margin) * (_RIGHT - _LEFT)

    start, end, middle, zero = x(comparison.low), x(comparison.high), x(comparison.difference), x(0.0)
    limit = x(tolerance)
    outcome = comparison.outcome.replace(" ", "-")
    parts = [
        f'<svg class="interval {outcome}" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">',
        f'<rect class="zone" x="{_LEFT}" y="34" width="{limit - _LEFT:.1f}" height="36"/>',
        _line("axis", _LEFT, _RIGHT, _AXIS, _AXIS),
        _line("zero", zero, zero, 18, 74),
        _label("quiet", zero, 12, "champion", _anchor(zero)),
    ]
    if tolerance:
        parts.append(_line("limit", limit, limit, 34, 74))
        parts.append(_label("quiet", limit, 88, f"tolerated {percent_text(tolerance)}", _anchor(limit)))
    parts += [
        _line("bar", start, end, _AXIS, _AXIS),
        f'<circle class="dot" cx="{middle:.1f}" cy="{_AXIS}" r="6"/>',
        _label("value", middle, 30, percent_text(comparison.difference), "middle"),
        "</svg>",
    ]
    return "".join(parts)


def _line(kind: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1}" y2="{y2}"/>'


def _label(kind: str, x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{text}</text>'


def _anchor(x: float) -> str:
    """Text near an edge grows away from it."""
    return "start" if x < _LEFT + 60 else "end" if x > _RIGHT - 60 else "middle"
