"""The page of `nbship monitor`: it says what it is given, whatever that is, and fits a telephone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nbship.pages.bars import Chart, Point, bars_svg, line_svg
from nbship.pages.monitor_page import ChangedColumn, FindingRow, MonitorView, WatchedMetric, monitor_page
from tests import browser

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
STRANGE = "<b>we & “they”</b>"
CHART = Chart(("a", STRANGE), (0.75, 0.25), (0.1, 0.9))
POINTS = tuple(
    Point(f"{day} Nov", 2.0 + day / 10, 1.5, 4.0, "v1.0.0" if day < 4 else "v1.1.0") for day in range(1, 8)
)
VIEW = MonitorView(
    name="cars",
    description="What they burn.",
    version="v1.1.0",
    reference="v1.1.0",
    since=NOW - timedelta(days=7),
    until=NOW,
    rows=1234,
    labels=56,
    state="act",
    reasons=(f"{STRANGE}: it moved", "and more"),
    advice=("Train again.",),
    columns=(
        ChangedColumn(STRANGE, ("It moved.",), "the week from 14 Nov 2026", 0.31, CHART),
        ChangedColumn("note", ("Longer than it was.",), "", None, None),
    ),
    together="A classifier tells them apart.",
    predictions=("Answers: lower.",),
    metrics=(WatchedMetric("rmse", "9.5", "8.1 to 10.2", "1.9"),),
    metric="rmse",
    points=POINTS,
    promised=1.9,
    slices=("Worse where it is hot.",),
    tests=(FindingRow(STRANGE, "distribution", "it moved", "< .0001", "0.65", "act"),),
    notes=("Nothing else.",),
)


def test_it_says_all_that_it_is_given_and_escapes_it() -> None:
    page = monitor_page(VIEW)
    assert STRANGE not in page and page.count("&lt;b&gt;we &amp; “they”&lt;/b&gt;") >= 4
    for said in (
        "1,234",
        "Train again.",
        "Since the week from 14 Nov 2026.",
        "PSI 0.31",
        "8.1 to 10.2",
        "Nothing else.",
    ):
        assert said in page
    assert page.count("<svg") == 2 and page.count("version-name") >= 2


@pytest.mark.parametrize("state", ["too few", "quiet", "look", "act"])
def test_it_has_nothing_to_show_where_nothing_was_found(state: str) -> None:
    page = monitor_page(
        replace(
            VIEW,
            state=state,
            reasons=("so",),
            advice=(),
            columns=(),
            metrics=(),
            points=(),
            tests=(),
            together="",
        )
    )
    assert "<svg" not in page and "What changed" not in page and "All tests" not in page


def test_bars_are_as_high_as_their_shares_say() -> None:
    svg = bars_svg("x", Chart(("a", "b"), (0.5, 0.5), (1.0, 0.0)))
    assert svg.count('class="reference"') == svg.count('class="window"') == 2
    assert 'height="146.0"' in svg and 'height="73.0"' in svg and 'height="0.0"' in svg
    assert line_svg("rmse", (), None) == "" == line_svg("rmse", (Point("a", float("nan"), 0, 0, ""),), 1.0)


@pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium")
def test_it_fits_a_telephone_and_can_be_read_in_the_dark(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_text(monitor_page(VIEW), encoding="utf-8")
    with browser.open_browser(tmp_path) as page:
        page.look(390, 800, dark=True)
        page.open(path.as_uri())
        page.wait("document.readyState === 'complete' && document.title.startsWith('cars')")
        assert page.run("document.documentElement.scrollWidth") <= 390
        assert page.run("getComputedStyle(document.querySelector('svg text')).fill") == "rgb(164, 174, 189)"
        assert page.log == []
