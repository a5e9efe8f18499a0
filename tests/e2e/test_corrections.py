"""The page of a served model tells what really came true, in a real browser, and only of what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from nbship.monitoring.records import read_records
from tests.browser import Browser, open_browser
from tests.served import write_cars
from tests.serving.test_log import Server, server, until

pytestmark = pytest.mark.e2e
SHOWN = "document.querySelector('#answer[aria-busy=false] .figure:not(.none)')"
FORM = "!document.querySelector('#correction').hidden"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("corrections")
    write_cars(folder / "cars")
    with server(folder / "cars", folder / "kept", "--corrections", rules='{"seconds": 0.2}') as found:
        yield found


def test_a_person_says_what_it_really_was(running: Server, tmp_path: Path) -> None:
    with open_browser(tmp_path / "browser") as browser:
        browser.look()
        browser.open(f"{running.address}/")
        browser.wait(f"!!{SHOWN}")
        assert not browser.run(FORM)  # the typical example is nobody's question
        browser.click("#form .primary")
        browser.wait(FORM)
        assert "It was really" in browser.text("#correction")
        browser.click("#correction button")
        assert browser.text("#correction p") == "Enter what it was."
        browser.fill("#correction input", "21")
        browser.photograph(tmp_path / "correction.png")
        browser.click("#correction button")
        browser.wait("document.querySelector('#correction p').innerText.startsWith('Thank you')")
        browser.photograph(tmp_path / "thanks.png")
        assert browser.log == []
        until(lambda: read_records(str(running.store), "cars").labels["value"].tolist() == [21])
        # Of the curves of "What if" and of the first example, no record is kept.
        assert len(running.records()) == 1
        narrow(browser, tmp_path)
    answer = requests.post(f"{running.address}/v1/models/churn:correct", json={}, timeout=30)
    assert answer.status_code == 404


def narrow(browser: Browser, folder: Path) -> None:
    browser.look(width=390, height=844, dark=True)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    browser.photograph(folder / "narrow.png")
