"""The run page in a real browser, opened from disk, with the network watched."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from nbship.local.html import export_html
from nbship.pages.run_page import write_run_page
from tests.browser import PROGRAM, QUIET
from tests.records import (
    code_cell,
    data_output,
    every_state,
    markdown_cell,
    picture_cell,
    write_executed,
    write_run,
)

pytestmark = pytest.mark.e2e
# What the browser itself wants to know must not leave the machine either.
SWITCHES = (*QUIET, "--host-resolver-rules=MAP * ~NOTFOUND")


@pytest.fixture
def browse(tmp_path):
    """Opens a page and returns its document after scripts ran, its log, and where it looked for anything."""
    if PROGRAM is None:
        pytest.skip("no Chromium on this machine")

    def open_page(address: str, *switches: str) -> tuple[str, str, list[str]]:
        profile, trace = tmp_path / "profile", tmp_path / "network.json"
        command = [
            PROGRAM,
            *SWITCHES,
            f"--user-data-dir={profile}",
            f"--log-net-log={trace}",
            "--enable-logging=stderr",
        ]
        done = subprocess.run(
            [*command, *switches, "--dump-dom", address],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr, _requests(trace)

    return open_page


def write_page(root: Path, name: str) -> str:
    record = every_state()[name]
    return write_run_page(record, write_run(root, record)).as_uri()


def _requests(trace: Path) -> list[str]:
    """Addresses that the page asked for; what the browser asks on its own has no origin."""
    events = (event.get("params", {}) for event in json.loads(trace.read_text())["events"])
    asked = (event["url"] for event in events if event.get("initiator", "not an origin") != "not an origin")
    return sorted({url for url in asked if not url.startswith(("file:", "data:"))})


@pytest.mark.parametrize("name", ["better", "failed"])
def test_it_opens_from_disk_and_asks_nobody(browse, tmp_path, name):
    document, log, requests = browse(write_page(tmp_path, name))
    assert "What to do next" in document
    assert not re.search(r"CONSOLE.*(refused|error|violat)", log, re.IGNORECASE)
    assert requests == []


def test_the_script_opens_the_step_that_is_linked_to(browse, tmp_path):
    document, _, _ = browse(write_page(tmp_path, "better") + "#step-train")
    opened = re.findall(r'<details class="card step" id="([\w-]+)" open="">', document)
    assert opened == ["step-train"]


def test_a_foreign_script_does_not_run(browse, tmp_path):
    page = Path(write_page(tmp_path, "better").removeprefix("file://"))
    page.write_text(
        page.read_text().replace("</main>", "<script>document.title = 'taken over'</script></main>")
    )
    document, log, _ = browse(page.as_uri())
    assert "<title>auto-mpg: Passed" in document
    assert "Content Security Policy" in log


def test_an_exported_notebook_asks_nobody(browse, tmp_path):
    html = tmp_path / "executed.html"
    export_html(write_executed(tmp_path / "executed.ipynb", [markdown_cell("# Title"), picture_cell()]), html)
    document, _, requests = browse(html.as_uri())
    assert "Title" in document
    assert requests == []


def test_an_output_of_an_exported_notebook_runs_its_own_scripts_and_asks_nobody(browse, tmp_path):
    html = """<div id=here></div><script>document.getElementById('here').textContent = 'drawn'</script>
    <script src="http://example.org/plot.js"></script><link rel=stylesheet href="http://example.org/plot.css">
    <img src="http://example.org/a.png"><script>fetch('http://example.org/data')</script>"""
    executed = write_executed(
        tmp_path / "executed.ipynb", [markdown_cell("$x^2$"), code_cell("x", data_output(html=html))]
    )
    export_html(executed, tmp_path / "executed.html")
    document, _, requests = browse((tmp_path / "executed.html").as_uri())
    assert ">drawn</div>" in document
    assert requests == []


def test_a_page_that_asks_would_be_noticed(browse, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<img src='http://example.org/picture.png'>")
    assert browse(page.as_uri())[2] == ["http://example.org/picture.png"]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["better", "failed"])
def test_nothing_is_wider_than_the_screen(browse, tmp_path, name, width):
    address = write_page(tmp_path, name)
    # A headless window is at least 500 pixels wide; a frame is as narrow as it is told to be.
    measure = "const e = frames[0].document.documentElement; document.title = e.scrollWidth - e.clientWidth"
    style = f"width:{width}px;height:900px;border:0"
    outer = tmp_path / "frame.html"
    outer.write_text(f"<title></title><iframe src='{address}' style='{style}' onload='{measure}'></iframe>")
    document, _, _ = browse(outer.as_uri(), "--allow-file-access-from-files", "--window-size=1400,1000")
    assert "<title>0</title>" in document
