"""`nbship serve`, as a person uses it: the champion, a run's model, a curl that works, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from typer.testing import CliRunner

from nbship.cli.main import app
from nbship.errors import NbshipError, UsageError
from nbship.workflow.publish import publish
from tests.runs import make_pipeline, make_run, model_hash

pytestmark = pytest.mark.e2e
FILE = """
name: line
data: {table: {path: data.csv}}
steps:
  prepare: {notebook: prepare.ipynb}
  train: {notebook: train.ipynb}
  evaluate: {notebook: evaluate.ipynb}
gate: {thresholds: {rmse: {max: 1}}}
publish: {target: y}
"""


@pytest.fixture
def served_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a champion, and a newer run with another model."""
    (project / "pipelines" / "line.yaml").write_text(FILE)
    first = make_run(project, "20250101-000000-aaaa")
    publish(project, make_pipeline(), commit=True)
    make_run(project, "20250102-000000-bbbb", slope=3.0, champion=model_hash(first))
    monkeypatch.chdir(project)
    return project


@contextlib.contextmanager
def serving(project: Path, *arguments: str) -> Iterator[tuple[list[str], subprocess.Popen[str]]]:
    """Starts the command, and yields what it prints until it listens."""
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("nbship")), "serve", "line", "--port", "0", *arguments],
        cwd=project,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith("  -d"):
                break
        yield lines, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def address_of(lines: list[str]) -> str:
    return next(line.split()[1] for line in lines if line.startswith("address"))


def ask(lines: list[str]) -> list[float]:
    """Runs the printed curl command, once the server listens."""
    command = shlex.split("\n".join(lines[-3:]).replace("\\\n", ""))
    retry = ["--retry", "60", "--retry-connrefused", "--retry-delay", "1", "--silent", "--fail"]
    answer = subprocess.run([*command, *retry], capture_output=True, text=True, check=True, timeout=60)
    return list(json.loads(answer.stdout)["predictions"])


def test_the_champion_and_the_model_of_a_run(served_project: Path) -> None:
    with serving(served_project) as (lines, _):
        assert lines[0] == "model     line v1.0.0"
        assert ask(lines) == [pytest.approx(1.0)]
        found = requests.get(f"{address_of(lines)}/v2/models/line", timeout=30).json()
        assert found["versions"] == ["v1.0.0"]
    with serving(served_project, "--run", "20250102") as (lines, _):
        assert lines[0] == "model     line of run 20250102-000000-bbbb"
        assert ask(lines) == [pytest.approx(1.5)]


@pytest.mark.parametrize(("workers", "answers"), [("1", True), ("2", True), ("2", False)])
def test_ctrl_c_ends_it_quietly(served_project: Path, workers: str, answers: bool) -> None:
    with serving(served_project, "--run", "latest", "--workers", workers) as (lines, process):
        if answers:
            assert ask(lines)
        else:
            time.sleep(1)  # the workers are being started
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, 130)
    assert "Traceback" not in errors
    assert errors.startswith("packaging the model of run ")  # what one waits for


def test_what_cannot_be_served(served_project: Path) -> None:
    runner = CliRunner()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        failed = runner.invoke(app, ["serve", "line", "--port", port])
        assert isinstance(failed.exception, NbshipError)
        assert failed.exception.message.startswith(f"cannot listen on 127.0.0.1:{port}: ")
        assert failed.exception.hint == "choose another: --port"
    unknown = runner.invoke(app, ["serve", "line", "--run", "2024"])
    assert isinstance(unknown.exception, UsageError)


def test_without_a_champion(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "pipelines" / "line.yaml").write_text(FILE)
    monkeypatch.chdir(project)
    failed = CliRunner().invoke(app, ["serve", "line"])
    assert isinstance(failed.exception, UsageError)
    assert failed.exception.message == "line has no champion yet"
