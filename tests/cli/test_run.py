"""`nbship run` on the command line: what it prints, and the code that it ends with."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest
from typer.testing import CliRunner

from nbship.cli.main import app
from nbship.errors import NbshipError, UsageError
from nbship.kernels import forkserver
from tests.engine import NAME, TRAIN, TRAIN_CODE, put_champion, start_nbship, write_points
from tests.projects import write_notebook


@pytest.fixture(scope="module", autouse=True)
def server():
    yield
    forkserver.stop()


@pytest.fixture(autouse=True)
def signals():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(write_points(tmp_path))
    return tmp_path


def nbship(*arguments: str):
    return CliRunner().invoke(app, ["run", NAME, *arguments], standalone_mode=False)


def test_a_run_ends_with_what_to_type_next(root):
    result = nbship()
    assert result.return_value == 0
    assert "gate      passed: no champion yet: only the thresholds were applied" in result.output
    assert "metrics   error 1\n" in result.output
    assert f"page      runs/{NAME}/" in result.output
    assert result.output.rstrip().endswith(f"nbship publish {NAME} --commit")


def test_it_works_from_a_folder_below(root, monkeypatch):
    monkeypatch.chdir(root / "notebooks")
    assert nbship().return_value == 0
    assert (root / "runs" / NAME).is_dir()


def test_a_rejected_model_ends_with_3(root):
    result = nbship("--set", "train.slope=9")
    assert result.return_value == 3
    assert "gate      rejected: error" in result.output
    assert "champion stays" not in result.output
    put_champion(root, 2.0)
    assert "the champion stays" in nbship("--set", "train.slope=9").output


def test_json_ends_with_the_run_however_it_ended(root):
    write_notebook(root / "notebooks/train.ipynb", TRAIN, "1 / 0")
    result = nbship("--json")
    assert isinstance(result.exception, NbshipError)
    lines = [json.loads(line) for line in result.output.splitlines()]
    assert {line["event"] for line in lines[:-1]} == {"step"}
    assert (lines[-1]["event"], lines[-1]["state"]) == ("run", "failed")
    assert lines[-1]["steps"]["evaluate"]["state"] == "skipped"


def test_a_failure_says_where_the_page_is(root):
    write_notebook(root / "notebooks/train.ipynb", TRAIN, "1 / 0")
    result = nbship()
    assert "failed after" in result.output
    assert "index.html" in result.output
    assert "nbship publish" not in result.output


@pytest.mark.parametrize("kernel", ["warn", ""])
def test_an_unknown_kernel_is_told(root, kernel):
    result = nbship("--kernel", kernel)
    assert isinstance(result.exception, UsageError)
    assert "warm" in result.exception.hint
    assert not (root / "runs").exists()


def test_watching_runs_again_what_was_saved_until_it_is_ended(root):
    process = start_nbship("run", NAME, "--watch", cwd=root, stderr=subprocess.STDOUT)
    try:
        first = told_until(process, "watching")
        write_notebook(root / "notebooks/train.ipynb", TRAIN, "1 / 0")
        failed = told_until(process, "watching")
        write_notebook(root / "notebooks/train.ipynb", TRAIN, TRAIN_CODE)
        mended = told_until(process, "watching")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
    assert "gate      passed" in first
    assert "saved     notebooks/train.ipynb" in failed
    assert "≡ prepare              cached" in failed
    assert "error: step 'train': train.ipynb, cell 3: ZeroDivisionError" in failed
    assert "gate      passed" in mended


def told_until(process: subprocess.Popen[str], word: str) -> str:
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(word):
            break
    return "".join(lines)
