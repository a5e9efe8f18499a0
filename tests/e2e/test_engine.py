"""The engine as its users meet it: interrupted, killed, out of space, read by nobody, twice at once."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from nbship.record import RunRecord, State, all_runs
from tests.engine import (
    NAME,
    TRAIN,
    TRAIN_CODE,
    nbship,
    processes_of,
    start_nbship,
    states,
    write_points,
)
from tests.projects import write_notebook

pytestmark = pytest.mark.e2e
KERNELS = ["warm", "standard"]
WAIT = (
    'import subprocess, time\nsubprocess.Popen(["sleep", "600"])\nopen("begun", "w").close()\ntime.sleep(600)'
)


@pytest.fixture
def root(tmp_path):
    return write_points(tmp_path / "project")


@pytest.fixture
def slow(root):
    """A project whose step `train` begins, and goes on for ten minutes."""
    write_notebook(root / "notebooks/train.ipynb", TRAIN, WAIT)
    return root


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def last_run(root: Path) -> RunRecord:
    return next(all_runs(root))


def ended_properly(root: Path, process: subprocess.Popen[str], sent_at: float) -> None:
    """Checks what every interruption must leave behind."""
    process.communicate(timeout=20)
    assert time.monotonic() - sent_at < 5
    assert process.returncode == 130
    wait_for(lambda: not processes_of(root), 3)
    record = last_run(root)
    assert record.state is State.INTERRUPTED
    assert states(record) == {"prepare": "done", "train": "interrupted", "evaluate": "waiting"}
    page = root / "runs" / NAME / record.id / "index.html"
    assert "interrupted" in page.read_text()


@pytest.mark.parametrize(("kernel", "signum"), [("warm", signal.SIGTERM), ("standard", signal.SIGINT)])
def test_a_signal_ends_a_run_and_its_kernels(slow, kernel, signum):
    process = start_nbship("run", NAME, "--kernel", kernel, cwd=slow)
    wait_for((slow / "notebooks/begun").exists)
    process.send_signal(signum)
    ended_properly(slow, process, time.monotonic())


def test_ctrl_c_on_a_terminal_ends_a_run(slow):
    terminal, theirs = pty.openpty()
    process = start_nbship(
        "run", NAME, cwd=slow, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=False, preexec_fn=lambda: own_terminal(theirs), env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    wait_for((slow / "notebooks/begun").exists)
    os.write(terminal, b"\x03")
    ended_properly(slow, process, time.monotonic())
    write_notebook(slow / "notebooks/train.ipynb", TRAIN, TRAIN_CODE)
    assert nbship("run", NAME, cwd=slow).returncode == 0
    assert states(last_run(slow)) == {"prepare": "cached", "train": "done", "evaluate": "done"}
    text = read_all(terminal)
    assert "! train" in text
    assert "interrupted; its kernels are ended" in text
    assert "resume with the same command" in text
    assert "Traceback" not in text


def own_terminal(terminal: int) -> None:
    os.setsid()
    # Opened by a leader of a session that has none, it becomes the terminal whose Ctrl-C is heard.
    os.close(os.open(os.ttyname(terminal), os.O_RDWR))


def read_all(terminal: int) -> str:
    content = b""
    try:
        while chunk := os.read(terminal, 1 << 16):
            content += chunk
    except OSError:
        os.close(terminal)
    return content.decode()


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_killed_run_leaves_no_process_and_is_known_as_interrupted(slow, kernel):
    process = start_nbship("run", NAME, "--kernel", kernel, cwd=slow)
    wait_for((slow / "notebooks/begun").exists)
    assert "running" in nbship("runs", NAME, cwd=slow).stdout
    # A step is kept once its page is written, which is done beside the next step.
    wait_for(lambda: any((slow / ".nbship/cache/steps").glob("*.json")))
    process.kill()
    process.communicate(timeout=20)
    kernels = [p for p in processes_of(slow) if "sleep" not in p.name()]
    wait_for(lambda: not any(map(psutil.Process.is_running, kernels)), 5)
    left = processes_of(slow)
    for orphan in left:
        orphan.kill()
    # An ordinary kernel that loses its parent ends itself, but not what it had started.
    assert not left or kernel == "standard"
    assert "interrupted" in nbship("runs", NAME, cwd=slow).stdout
    write_notebook(slow / "notebooks/train.ipynb", TRAIN, TRAIN_CODE)
    assert nbship("run", NAME, cwd=slow).returncode == 0
    assert states(last_run(slow)) == {"prepare": "cached", "train": "done", "evaluate": "done"}


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_step_that_is_killed_ends_the_run_with_a_clear_error(slow, kernel):
    process = start_nbship("run", NAME, "--kernel", kernel, cwd=slow)
    wait_for((slow / "notebooks/begun").exists)
    children = [p for p in psutil.Process(process.pid).children(recursive=True) if p.name() != "sleep"]
    max(children, key=psutil.Process.create_time).kill()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err.splitlines()[0] == (
        "error: step 'train': train.ipynb, cell 3: the kernel died: it was killed by SIGKILL (out of memory?)"
    )
    assert "Traceback" not in err
    record = last_run(slow)
    assert states(record) == {"prepare": "done", "train": "failed", "evaluate": "skipped"}
    assert (slow / "runs" / NAME / record.id / record.steps["train"].html).is_file()
    wait_for(lambda: not processes_of(slow) or kernel == "standard", 3)
    for orphan in processes_of(slow):
        orphan.kill()


def test_a_failing_cell_is_told_in_full(root):
    write_notebook(
        root / "notebooks/train.ipynb", TRAIN, "ok = 1", "def f():\n    raise ValueError('bad')\nf()"
    )
    result = nbship("run", NAME, cwd=root)
    assert result.returncode == 1
    assert result.stderr.startswith(
        "error: step 'train': train.ipynb, cell 4: ValueError: bad\nfailing cell:\n"
    )
    assert "raise ValueError('bad')" in result.stderr
    assert "papermill" not in result.stderr
    record = last_run(root)
    folder = root / "runs" / NAME / record.id
    assert f"hint:  the notebook so far: {folder / 'notebooks/train.ipynb'}" in result.stderr
    assert "ValueError" in (folder / "notebooks/train.html").read_text()
    assert "ValueError" in (folder / "index.html").read_text()


def test_both_kernels_come_to_the_same(root):
    outcomes = []
    for kernel in KERNELS:
        assert nbship("run", NAME, "--force", "--kernel", kernel, cwd=root).returncode == 0
        record = last_run(root)
        hashes = {a.origin: a.hash for step in record.steps.values() for a in step.outputs.values()}
        outcomes.append((states(record), record.metrics, hashes, record.verdict))
    assert outcomes[0] == outcomes[1]


def test_machines_read_json_whatever_the_notebooks_print(root):
    noise = "import os, sys\nos.system('echo noise; echo noise >&2')\nprint('noise', file=sys.__stdout__)\n"
    write_notebook(root / "notebooks/train.ipynb", TRAIN, noise + TRAIN_CODE)
    result = nbship("run", NAME, "--json", cwd=root)
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events[-2:]] == ["step", "run"]
    assert events[-1]["state"] == "done"
    assert result.stderr == ""


def test_two_runs_at_once_do_not_disturb_each_other(root):
    both = [start_nbship("run", NAME, cwd=root) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert "error 1\n" in out
    result = nbship("run", NAME, cwd=root)
    assert result.stdout.count("cached") == 3
    assert [record.state for record in all_runs(root)] == [State.DONE] * 3


def test_a_reader_that_leaves_does_not_end_the_run(root):
    program = Path(sys.executable).with_name("nbship")
    for flag in ("", "--json"):
        command = f"set -o pipefail; '{program}' run {NAME} --force {flag} | head -n 1"
        result = subprocess.run(["bash", "-c", command], cwd=root, capture_output=True, text=True, timeout=60)
        assert (result.returncode, result.stderr) == (0, "")
        assert len(result.stdout.splitlines()) == 1
        assert last_run(root).state is State.DONE


def test_a_project_may_be_called_anything(tmp_path):
    root = write_points(tmp_path / "{my} pröject's [1] %s")
    (root / "notebooks").rename(root / "nötebooks {x}")
    pipeline = root / "pipelines/points.yaml"
    text = re.sub(r"notebooks/(\w+)\.ipynb", r'"nötebooks {x}/\1.ipynb"', pipeline.read_text())
    pipeline.write_text(text)
    (root / "below").mkdir()
    result = nbship("run", NAME, cwd=root / "below")
    assert (result.returncode, result.stderr) == (0, "")
    assert re.search(r"^page +\.\./runs/points/", result.stdout, re.MULTILINE)


def test_a_table_lives_on_a_terminal_of_80_columns(root):
    write_notebook(root / "notebooks/train.ipynb", TRAIN, "raise ValueError('too long ' * 30)")
    terminal, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = start_nbship("run", NAME, cwd=root, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    text = read_all(terminal)
    process.wait()
    table, _, _ = text.partition("run       ")
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", table).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= 80
    assert re.search(r"cell \d of \d  \d\.\d s", table)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of few megabytes, which only root can make."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk: Path, leave: int) -> Path:
    ballast = disk / "ballast"
    status = os.statvfs(disk)
    ballast.write_bytes(b"x" * (status.f_bavail * status.f_frsize - leave))
    return ballast


@pytest.mark.parametrize("leave", [0, 60_000])
def test_a_full_disk_is_told_and_loses_nothing(small_disk, leave):
    root = write_points(small_disk)
    ballast = fill(small_disk, leave)
    result = nbship("run", NAME, cwd=root)
    assert result.returncode == 1
    assert "No space left on device" in result.stderr
    assert "Traceback (most" not in result.stderr.partition("failing cell")[0]
    assert all(record.state in (State.FAILED, State.INTERRUPTED) for record in all_runs(root))
    ballast.unlink()
    assert nbship("run", NAME, cwd=root).returncode == 0
    assert last_run(root).state is State.DONE
    assert nbship("run", NAME, cwd=root).stdout.count("cached") == 3


def test_a_folder_that_is_read_only_is_told(small_disk):
    root = write_points(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    result = nbship("run", NAME, cwd=root)
    assert result.returncode == 1
    assert re.match(r"error: .*Read-only file system\nhint:  check the path", result.stderr)
