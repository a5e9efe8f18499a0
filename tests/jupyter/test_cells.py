"""What cells show on a real kernel: a run, its progress, errors in two lines, the magic; hostile texts."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from nbship.jupyter import cards
from nbship.jupyter.results import Opened
from nbship.local.events import Event
from nbship.record import State, all_runs
from nbship.workflow.open_step import OpenedStep
from nbship.workflow.progress import Progress
from tests.engine import NAME, TRAIN_CODE, write_points, write_steps
from tests.records import every_state, write_run

CELLS = {
    "run": f"import nbship\nrun = nbship.run('{NAME}')\nrun",
    "loaded": "run['train.model']",
    "loop": "import asyncio\nasyncio.get_running_loop().is_running()",
    "wrong": "nbship.run('pionts')",
    "failing": "nbship.run('failing', jobs=1)",
    "extension": "%load_ext nbship",
    "magic": f"wanted = 9\n%nbship run {NAME} --set train.slope=$wanted",
    "help": "%nbship runs --limit 1",
    "usage": "%nbship run --nothing",
    "signals": "import signal\n[signal.getsignal(n) in (signal.SIG_DFL, signal.default_int_handler) "
    "for n in (signal.SIGINT, signal.SIGTERM)]",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What each cell showed."""
    root = write_points(tmp_path_factory.mktemp("project"))
    pipeline = root / f"pipelines/{NAME}.yaml"
    failing = pipeline.read_text().replace(f"name: {NAME}", "name: failing")
    (root / "pipelines/failing.yaml").write_text(failing.replace("train.ipynb", "broken.ipynb"))
    source = (root / "notebooks/train.ipynb").read_text()
    assert "slope, open" in TRAIN_CODE
    (root / "notebooks/broken.ipynb").write_text(source.replace("slope, open", "gone, open"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS.values()])
    client = NotebookClient(
        notebook, kernel_name="python3", allow_errors=True, resources={"metadata": {"path": str(root)}}
    )
    client.execute()
    return {name: cell.outputs for name, cell in zip(CELLS, notebook.cells, strict=True)}


def html(output: Any) -> str:
    return str(output.data["text/html"])


def told(outputs: list[Any]) -> str:
    """All that a cell says, as text."""
    parts = [
        re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", o.get("text", "")) or "\n".join(o.get("traceback", ()))
        for o in outputs
    ]
    parts += [o.data.get("text/plain", "") for o in outputs if "data" in o]
    return "\n".join(parts)


def test_a_run_shows_its_progress_and_itself(outputs):
    progress, run = outputs["run"]
    assert progress.output_type == "display_data"
    assert re.findall(r"✓ (\w+) +done", progress.data["text/plain"]) == ["prepare", "train", "evaluate"]
    assert "3 done" in html(progress)
    assert run.output_type == "execute_result"
    assert "Passed: the first model" in html(run)
    assert 'aria-label="The run ' in html(run)
    assert re.search(rf'href="runs/{NAME}/[\w-]+/index\.html"', html(run))
    assert re.search(rf'href="runs/{NAME}/[\w-]+/notebooks/train\.ipynb"', html(run))
    assert "at most 5" in html(run)
    assert outputs["loaded"][0].data["text/plain"] == "2.0"


def test_it_runs_where_a_loop_is_running(outputs):
    """Of which a cell is a part."""
    assert outputs["loop"][0].data["text/plain"] in ("True", "False")
    assert not [o for o in outputs["run"] if o.output_type == "error"]


def test_what_goes_wrong_is_two_lines_and_no_traceback(outputs):
    (error,) = outputs["wrong"]
    assert error.output_type == "error"
    assert len(error.traceback) == 2
    assert error.traceback[0].startswith("error: ")
    assert error.traceback[1] == "hint:  did you mean 'points'?"
    progress, failed = outputs["failing"]
    assert "✗ train" in progress.data["text/plain"]
    assert (
        failed.traceback[0]
        == "error: step 'train': broken.ipynb, cell 3: NameError: name 'gone' is not defined"
    )
    assert 'File "' not in told([failed]).partition("failing cell")[0]


def test_the_magic_is_the_command_and_its_code_ends_the_cell(outputs):
    assert outputs["extension"] == []
    shown = told(outputs["magic"])
    assert "▸ train                running\n" in shown
    assert "gate      rejected" in shown
    assert "train.slope=9: ended with 3" in shown
    assert "rejected" in told(outputs["help"])
    assert not [o for o in outputs["help"] if o.output_type == "error"]
    assert "ended with 2" in told(outputs["usage"])
    assert "No such option" in told(outputs["usage"])
    assert outputs["signals"][0].data["text/plain"] == "[True, True]"


def test_interrupting_the_kernel_ends_the_run_and_not_the_kernel(tmp_path):
    root = write_steps(tmp_path, slow="import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(600)")
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(root))
    try:
        request = client.execute(f"import nbship\nnbship.run('{NAME}')")
        while not (root / "notebooks/begun").exists():
            time.sleep(0.05)
        manager.interrupt_kernel()
        # A kernel that was slow to start has answers to its first greeting to give.
        while (reply := client.get_shell_msg(timeout=60))["parent_header"]["msg_id"] != request:
            pass
        assert reply["content"]["traceback"] == [
            "interrupted; its kernels are ended",
            "hint: run the cell again: finished steps are reused",
        ]
        state = client.execute_interactive("print(nbship.Run.find().state)", timeout=60)
        assert state["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    (record,) = all_runs(root)
    assert (record.state, record.steps["slow"].state) == (State.INTERRUPTED, State.INTERRUPTED)


@pytest.mark.parametrize("name", sorted(every_state()))
def test_every_run_shows_itself_and_asks_nobody(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = every_state()[name]
    card = cards.run_card(record, write_run(tmp_path, record))
    assert record.id in card
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", card)
    assert "<script" not in card


def test_hostile_texts_stay_texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evil = '<img src=x onerror="alert(1)">'
    record = every_state()["failed"].model_copy(deep=True)
    record.steps["train"].error = record.error = evil
    record.pipeline = record.id = evil.replace("/", "")
    progress = Progress()
    for step in record.steps.values():
        progress.update(Event(evil, State.RUNNING, 1, 2, 0.5, line=evil, error=evil))
        step.title = evil
    opened = Opened(OpenedStep(tmp_path / f"{evil}.ipynb", evil, evil, (evil,), (evil,), {evil: evil}))
    shown = [
        cards.run_card(record, tmp_path),
        cards.progress_card(evil, progress, ended=False),
        opened._repr_html_(),
    ]
    for each in shown:
        assert "<img src=x" not in each
        assert "&lt;img src=x" in each


def test_links_lead_from_where_the_kernel_works(tmp_path, monkeypatch):
    record = every_state()["better"]
    folder = write_run(tmp_path, record)
    (folder / "index.html").touch()
    below = tmp_path / "notebooks/deep er"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    card = cards.run_card(record, folder)
    (page,) = set(re.findall(r'href="([^"#]*index\.html)"', card))
    assert (below / Path(page)).resolve() == (folder / "index.html").resolve()
