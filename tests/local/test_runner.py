"""Running a graph: what runs and what does not, side by side, and how each way of ending is recorded."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from nbship.config import load_pipeline
from nbship.errors import NbshipError
from nbship.files import content_hash
from nbship.graph import Graph, read_graph
from nbship.kernels import forkserver
from nbship.local import cache, runner
from nbship.record import RunRecord, State, read
from tests.engine import NAME, TRAIN, TRAIN_CODE, states, write_points, write_steps
from tests.projects import write_notebook
from tests.records import make_record


@pytest.fixture(scope="module", autouse=True)
def server():
    yield
    forkserver.stop()


def graph_of(root: Path) -> Graph:
    return read_graph(root, load_pipeline(root, NAME))


def run(root: Path, name: str = "first", graph: Graph | None = None, **options) -> tuple[RunRecord, Path]:
    record = make_record(steps={}, state=State.RUNNING, verdict=None)
    folder = root / "runs" / name
    runner.run_graph(root, graph or graph_of(root), folder, record, runner.Options(jobs=2, **options))
    return record, folder


def failing(root: Path, **options) -> tuple[NbshipError, RunRecord, Path]:
    with pytest.raises(NbshipError) as caught:
        run(root, **options)
    return caught.value, read(root / "runs/first"), root / "runs/first"


def sources(root: Path) -> dict[str, str]:
    return {path.name: content_hash(path) for path in root.glob("notebooks/*")}


def test_a_run_leaves_a_folder_that_is_whole(tmp_path):
    before = sources(write_points(tmp_path))
    record, folder = run(tmp_path)
    assert states(record) == {"prepare": "done", "train": "done", "evaluate": "done"}
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert sorted(files) == [
        "artifacts/evaluate/losses.csv",
        "artifacts/evaluate/metrics.json",
        "artifacts/prepare/rows.csv",
        "artifacts/train/model.json",
        *(
            f"notebooks/{step}.{kind}"
            for step in ("evaluate", "prepare", "train")
            for kind in ("html", "ipynb")
        ),
        "run.json",
    ]
    assert record.steps["prepare"].results == {"count": 29}
    assert record.metrics == {"prepare.count": 29, "evaluate.error": 1.0}
    for step in record.steps.values():
        for artifact in step.outputs.values():
            assert content_hash(folder / artifact.path) == artifact.hash
    assert sources(tmp_path) == before
    assert not (tmp_path / "build").exists()


def test_nothing_is_run_twice_and_what_is_restored_is_the_same(tmp_path):
    write_points(tmp_path)
    first, folder = run(tmp_path)
    again, other = run(tmp_path, "again")
    assert states(again) == dict.fromkeys(states(first), "cached")
    assert again.metrics == first.metrics
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "run.json":
            assert (other / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_only_what_depends_on_a_change_is_run(tmp_path):
    write_points(tmp_path)
    run(tmp_path)
    write_notebook(tmp_path / "notebooks/train.ipynb", TRAIN, TRAIN_CODE + "\n# the same model")
    again, _ = run(tmp_path, "again")
    # Its model has the same content, so what reads it does not depend on the change.
    assert states(again) == {"prepare": "cached", "train": "done", "evaluate": "cached"}
    with (tmp_path / "data.csv").open("a") as file:
        file.write("99,199\n")
    last, _ = run(tmp_path, "last")
    assert set(states(last).values()) == {"done"}


def test_a_step_that_is_not_to_be_cached_always_runs(tmp_path):
    write_points(tmp_path)
    pipeline = tmp_path / "pipelines/points.yaml"
    pipeline.write_text(pipeline.read_text().replace("train.ipynb}", "train.ipynb, cache: false}"))
    run(tmp_path)
    assert states(run(tmp_path, "again")[0]) == {"prepare": "cached", "train": "done", "evaluate": "cached"}


def test_independent_steps_run_side_by_side(tmp_path):
    meet = (
        "import pathlib, time\nfor _ in range(200):\n    pathlib.Path('{mine}').touch()\n"
        "    if pathlib.Path('{other}').exists(): break\n    time.sleep(.05)\nelse:\n    1 / 0"
    )
    write_steps(tmp_path, a=meet.format(mine="A", other="B"), b=meet.format(mine="B", other="A"))
    record, _ = run(tmp_path)
    assert states(record) == {"a": "done", "b": "done"}


def test_a_failure_skips_what_depends_on_it_and_nothing_else(tmp_path):
    write_points(tmp_path)
    write_notebook(tmp_path / "notebooks/train.ipynb", TRAIN, "pass", "raise ValueError('no slope')")
    write_notebook(
        tmp_path / "notebooks/other.ipynb", "", "import time\ntime.sleep(.5)\nopen('other.txt', 'w')"
    )
    pipeline = tmp_path / "pipelines/points.yaml"
    pipeline.write_text(
        pipeline.read_text().replace("gate:", "  other: {notebook: notebooks/other.ipynb}\ngate:")
    )
    events: list[runner.Event] = []
    error, record, folder = failing(tmp_path, on_event=events.append)
    assert error.message == "step 'train': train.ipynb, cell 4: ValueError: no slope"
    assert states(record) == {"prepare": "done", "train": "failed", "evaluate": "skipped", "other": "done"}
    assert record.steps["train"].error.startswith(error.message + "\nfailing cell:\n")
    assert "no slope" in (folder / record.steps["train"].notebook).read_text()
    assert "no slope" in (folder / record.steps["train"].html).read_text()
    assert [e.error for e in events if e.state == "failed"] == [error.message]
    assert states(run_again(tmp_path)) == {**states(record), "prepare": "cached", "other": "cached"}


def run_again(root: Path) -> RunRecord:
    with pytest.raises(NbshipError):
        run(root, "again")
    return read(root / "runs/again")


def test_a_step_that_writes_no_output_fails(tmp_path):
    write_points(tmp_path)
    write_notebook(tmp_path / "notebooks/train.ipynb", TRAIN, "pass")
    error, record, folder = failing(tmp_path)
    assert "step 'train': train.ipynb: ran to its end but did not write its output 'model'" in error.message
    assert states(record) == {"prepare": "done", "train": "failed", "evaluate": "skipped"}
    assert (folder / record.steps["train"].html).exists()


def test_a_file_that_no_longer_can_be_read_fails_its_step(tmp_path):
    write_points(tmp_path)
    loop = tmp_path / "notebooks/helper.py"
    write_notebook(tmp_path / "notebooks/train.ipynb", TRAIN, "import helper\n" + TRAIN_CODE)
    graph = graph_of(tmp_path)
    loop.symlink_to(loop)
    error, record, _ = failing(tmp_path, graph=graph)
    assert str(loop) in error.message
    assert record.steps["train"].state is State.FAILED


def test_an_html_that_cannot_be_written_fails_its_step(tmp_path, monkeypatch):
    def export(executed: Path, html: Path) -> None:
        if executed.stem == "prepare":
            raise RuntimeError("no template")

    monkeypatch.setattr(runner, "export_html", export)
    write_steps(tmp_path, prepare="1")
    error, record, _ = failing(tmp_path)
    assert error.message == "step 'prepare': RuntimeError: no template"
    assert states(record) == {"prepare": "failed"}


ALTERING = {
    "rows": ("artifacts/prepare/rows.csv", "run again"),
    "table": ("data.csv", "put it back"),
}


@pytest.mark.parametrize("altered", ALTERING)
def test_a_step_that_writes_into_its_input_fails_and_leaves_no_wrong_hit(tmp_path, altered):
    write_points(tmp_path)
    parameters = TRAIN + 'table: "Input[Dataset]" = "data.csv"  # points\n'
    code = f"import os\nos.chmod({altered}, 0o644)\nopen({altered}, 'a').write('99,0\\n')\n" + TRAIN_CODE
    write_notebook(tmp_path / "notebooks/train.ipynb", parameters, code)
    error, record, _ = failing(tmp_path)
    place, remedy = ALTERING[altered]
    told = f"step 'train': train.ipynb: its input '{altered}' ({place}) was altered while it ran"
    assert error.message == told
    assert error.hint == f"write to an output, or to a copy of the input; {remedy}"
    assert states(record) == {"prepare": "done", "train": "failed", "evaluate": "skipped"}
    assert record.steps["train"].error == told
    # What the altered file would have led to is not found by what it was before.
    write_points(tmp_path)
    again, _ = run(tmp_path, "again")
    assert again.metrics == {"prepare.count": 29, "evaluate.error": 1.0}
    assert again.steps["train"].state is State.DONE


def test_a_step_does_not_run_on_what_another_has_altered(tmp_path):
    write_points(tmp_path)
    write_notebook(tmp_path / "notebooks/spoil.ipynb", "", "open('../data.csv', 'a').write('99,0\\n')")
    pipeline = tmp_path / "pipelines/points.yaml"
    spoil = "  spoil: {notebook: notebooks/spoil.ipynb}\ngate:"
    text = pipeline.read_text().replace("prepare.ipynb}", "prepare.ipynb, after: [spoil]}")
    pipeline.write_text(text.replace("gate:", spoil))
    error, record, _ = failing(tmp_path)
    assert "step 'prepare': prepare.ipynb: its input 'table' (data.csv) was altered before" in error.message
    assert states(record) == {
        "spoil": "done",
        **dict.fromkeys(["train", "evaluate"], "skipped"),
        "prepare": "failed",
    }


def test_a_data_file_that_a_step_altered_can_be_got_back(tmp_path):
    write_points(tmp_path)
    (tmp_path / "data.csv.dvc").write_text("outs: []\n")
    code = "import os\nos.remove(table)\nopen(table, 'w').write('x,y\\n')\n1 / 0"
    write_notebook(tmp_path / "notebooks/prepare.ipynb", 'table: "Input[Dataset]" = "data.csv"\n', code)
    (tmp_path / "pipelines/points.yaml").write_text(
        "name: points\ndata: {table: {path: data.csv}}\n"
        "steps: {prepare: {notebook: notebooks/prepare.ipynb}}\n"
    )
    error, _, _ = failing(tmp_path)
    assert error.message == "step 'prepare': prepare.ipynb, cell 3: ZeroDivisionError: division by zero"
    assert "its input 'table' (data.csv) was altered while it ran" in error.details
    assert "get it back: dvc checkout --force data.csv" in error.details


DAEMON = """import os, subprocess, sys, time
code = "import os, time; os.setsid(); open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
subprocess.run(["sh", "-c", f'{sys.executable} -c "{code}" &'])
while not (os.path.exists("pid") and open("pid").read()):
    time.sleep(0.01)"""


def test_a_daemon_ends_with_its_step_and_is_told_of(tmp_path):
    write_steps(tmp_path, one=DAEMON)
    record, _ = run(tmp_path)
    pid = int((tmp_path / "notebooks/pid").read_text())
    assert states(record) == {"one": "done"}
    assert record.steps["one"].note.startswith("left running, and ended with the step: ")
    assert "os.setsid()" in record.steps["one"].note
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return False
        time.sleep(0.02)
    return True


def test_what_was_edited_while_it_ran_is_not_kept(tmp_path):
    write_points(tmp_path)
    helper = tmp_path / "notebooks/helper.py"
    helper.write_text("slope = 2")
    code = "import helper\nopen('helper.py', 'a').write('\\n# edited')\n" + TRAIN_CODE
    write_notebook(tmp_path / "notebooks/train.ipynb", TRAIN, code)
    run(tmp_path)
    helper.write_text("slope = 2")
    again, _ = run(tmp_path, "again")
    assert again.steps["train"].state is State.DONE


def test_damage_to_the_cache_is_repaired_by_running(tmp_path):
    write_points(tmp_path)
    first, _ = run(tmp_path)
    model = first.steps["train"].outputs["model"].hash
    kept = tmp_path / cache.CACHE / "objects" / model[:2] / model[2:]
    kept.unlink()
    kept.write_text("9")
    again, folder = run(tmp_path, "again")
    assert states(again) == {"prepare": "cached", "train": "done", "evaluate": "cached"}
    assert (folder / "artifacts/train/model.json").read_text() == "2.0"
    assert set(states(run(tmp_path, "last")[0]).values()) == {"cached"}


def test_runs_at_the_same_time_do_not_disturb_each_other(tmp_path):
    write_points(tmp_path)
    found: dict[str, dict[str, float]] = {}

    def once(name: str) -> None:
        found[name] = run(tmp_path, name)[0].metrics

    threads = [threading.Thread(target=once, args=(f"run-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(found.values()) == [{"prepare.count": 29, "evaluate.error": 1.0}] * 4
    assert set(states(run(tmp_path, "last")[0]).values()) == {"cached"}


def test_two_outputs_of_one_name_do_not_meet(tmp_path):
    parameters = 'a: "Output[Dataset]" = "x/out.csv"\nb: "Output[Dataset]" = "y/out.csv"\n'
    write_steps(tmp_path, one="1")
    write_notebook(
        tmp_path / "notebooks/one.ipynb", parameters, "open(a, 'w').write('a'); open(b, 'w').write('b')"
    )
    record, folder = run(tmp_path)
    written = {name: (folder / a.path).read_text() for name, a in record.steps["one"].outputs.items()}
    assert written == {"a": "a", "b": "b"}


def test_a_folder_can_be_an_output(tmp_path):
    write_steps(tmp_path, one="1")
    code = "import os\nos.makedirs(out + '/deep')\nopen(out + '/deep/a', 'w').write('a')"
    write_notebook(tmp_path / "notebooks/one.ipynb", 'out: "Output[Artifact]" = "build/out"\n', code)
    run(tmp_path)
    record, folder = run(tmp_path, "again")
    assert states(record) == {"one": "cached"}
    assert (folder / "artifacts/one/out/deep/a").read_text() == "a"


def test_results_go_to_the_parameters_that_take_them(tmp_path):
    write_points(tmp_path)
    pipeline = tmp_path / "pipelines/points.yaml"
    text = pipeline.read_text().replace("train.ipynb}", "train.ipynb, inputs: {slope: prepare.count}}")
    pipeline.write_text(text)
    record, folder = run(tmp_path)
    assert record.steps["train"].parameters == {"slope": 29}
    assert json.loads((folder / "artifacts/train/model.json").read_text()) == 29


SLOW = """\
import os, subprocess, time
child = subprocess.Popen(["sleep", "600"])
open("pids", "w").write(f"{os.getpid()} {child.pid}")
time.sleep(600)"""


@pytest.mark.parametrize("kernel", ["nbship", "python3"])
def test_an_interruption_ends_the_kernels(tmp_path, kernel):
    write_steps(tmp_path, quick="1", slow=SLOW, later="1")
    pipeline = tmp_path / "pipelines/points.yaml"
    pipeline.write_text(pipeline.read_text().replace('later.ipynb"', 'later.ipynb", "after": ["slow"]'))
    record = make_record(steps={}, state=State.RUNNING, verdict=None)
    pids = tmp_path / "notebooks/pids"
    interrupted_at = 0.0

    def interrupt() -> None:
        nonlocal interrupted_at
        while not (pids.exists() and pids.read_text() and record.steps["quick"].state is State.DONE):
            time.sleep(0.02)
        interrupted_at = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    options = runner.Options(jobs=2, kernel=kernel)
    with pytest.raises(KeyboardInterrupt):
        runner.run_graph(tmp_path, graph_of(tmp_path), tmp_path / "run", record, options)
    assert time.monotonic() - interrupted_at < 2
    assert states(record) == {"quick": "done", "slow": "interrupted", "later": "waiting"}
    for pid in map(int, pids.read_text().split()):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    # What was finished is kept.
    write_steps(tmp_path, quick="1")
    assert states(run(tmp_path)[0]) == {"quick": "cached"}
