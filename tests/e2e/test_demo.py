"""`make demo`, as on a fresh machine: data, training, gate, publish and serve, without a word to Git."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from docs.renew import copy_project

from nbship.serving.server import free_port
from tests.repositories import git

pytestmark = pytest.mark.e2e
VENV = Path(sys.executable).parent.parent
DEADLINE = 120.0


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone by somebody whom Git does not know."""
    root = tmp_path / "clone"
    copy_project(root)
    for key in ("user.name", "user.email"):
        git(root, "config", key, "")
    return root


def demo(root: Path) -> str:
    """Runs the demo until its page is there, ends it with Ctrl-C, and returns the page."""
    port = free_port("127.0.0.1")
    # The environment is here already, whatever the times of the copied files.
    ready = ["-o", "requirements.lock", "-o", "pyproject.toml", f"VENV={VENV}"]
    process = subprocess.Popen(
        ["make", "demo", "PIPELINE=iris", f"PORT={port}", *ready], cwd=root, start_new_session=True
    )
    try:
        page = wait_for_page(f"http://127.0.0.1:{port}/", process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/", timeout=10)
    return page


def wait_for_page(address: str, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end and process.poll() is None:
        try:
            return requests.get(address, headers={"Accept": "text/html"}, timeout=10).text
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError("the page does not come")


def test_the_demo_shows_the_page_and_does_so_again(clone: Path) -> None:
    before = git(clone, "rev-parse", "HEAD")
    for _ in range(2):
        assert "<form" in demo(clone)
    assert (clone / "models/iris/model.json").is_file()
    assert git(clone, "rev-parse", "HEAD") == before
    assert git(clone, "tag") == ""
