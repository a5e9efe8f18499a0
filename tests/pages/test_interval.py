import re

from hypothesis import given
from hypothesis import strategies as st

from nbship.pages.interval import interval_svg
from tests.records import comparison, parse_svg

SHARES = st.floats(-5, 5, allow_nan=False)


def positions(svg):
    root = parse_svg(svg)
    found = {e.get("class"): (float(e.get("x1")), float(e.get("x2"))) for e in root.iter("line")}
    return found, float(next(root.iter("circle")).get("cx"))


@given(SHARES, SHARES, st.floats(0.001, 1))
def test_everything_is_in_order_and_in_the_picture(one, other, tolerance):
    low, high = sorted((one, other))
    lines, dot = positions(interval_svg(comparison("worse", low, high, tolerance)))
    start, end = lines["bar"]
    assert 16 <= start <= dot <= end <= 384
    zero, limit = lines["zero"][0], lines["limit"][0]
    assert zero <= limit
    # Rounded to a tenth of a pixel, unequal numbers may meet but never change sides.
    assert start <= zero if low <= 0 else start >= zero
    assert end <= limit if high <= tolerance else end >= limit


def test_numbers_are_written_out():
    svg = interval_svg(comparison("no worse", -0.02, 0.04))
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert texts == ["champion", "tolerated +5\u00a0%", "+1\u00a0%"]
    assert 'class="interval no-worse"' in svg


def test_without_tolerance_there_is_no_limit():
    assert "limit" not in positions(interval_svg(comparison(tolerance=0)))[0]


def test_no_difference_at_all():
    lines, dot = positions(interval_svg(comparison("no worse", 0.0, 0.0)))
    assert lines["bar"] == (dot, dot) == lines["zero"]
