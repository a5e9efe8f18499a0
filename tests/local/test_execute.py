"""One notebook on a real kernel: what it is given, what comes back, and how each way of failing is told."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest

from nbship.errors import NbshipError, UsageError
from nbship.files import content_hash
from nbship.kernels import forkserver
from nbship.local.environment import kernel_environment
from nbship.local.execute import StepError, execute, explained
from nbship.notebook import read_notebook
from tests.projects import write_notebook

KERNELS = ["nbship", "python3"]


@pytest.fixture(scope="module", autouse=True)
def server():
    forkserver.start([])
    yield
    forkserver.stop()


@pytest.fixture
def step(tmp_path):
    """Writes a notebook and executes it."""

    def run(
        parameters: str, *code: str, values: Any = None, kernel: str = "nbship", **options: Any
    ) -> dict[str, Any]:
        path = write_notebook(tmp_path / "step.ipynb", parameters, *code)
        executed = tmp_path / "run/step.ipynb"
        return execute(read_notebook(path), values or {}, executed, kernel=kernel, folder=tmp_path, **options)

    run.folder = tmp_path
    return run


def failure(step: Any, *arguments: Any, **options: Any) -> StepError:
    with pytest.raises(StepError) as caught:
        step(*arguments, **options)
    return caught.value


def executed(tmp_path: Path) -> Any:
    return nbformat.read(tmp_path / "run/step.ipynb", as_version=4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_values_go_in_and_results_come_out(step, tmp_path, kernel):
    parameters = 'n: int = 1\nwords: list = []\ndouble: "Output[int]" = 0\nname: "Output[str]" = ""\n'
    code = "double = 2 * n\nname = ' '.join(words)"
    values = {"n": 21, "words": ["ä", "{}", "'\"\\"]}
    assert step(parameters, code, values=values, kernel=kernel) == {"double": 42, "name": "ä {} '\"\\"}
    tags = [cell.metadata.tags for cell in executed(tmp_path).cells]
    assert tags == [[], ["parameters"], ["injected-parameters"], [], ["nbship-results"]]


@pytest.mark.parametrize("name", ["with space", "{braces}", "{", "Ünïcödé 漢字", "50%", "a'b\"c", "#1"])
def test_any_name_will_do(tmp_path, name):
    source = write_notebook(
        tmp_path / name / f"{name}.ipynb", "n: int = 1\n", "open('here.txt', 'w').write(str(n))"
    )
    before = content_hash(source)
    copy = tmp_path / "run" / name / f"{name}.ipynb"
    execute(read_notebook(source), {"n": 2}, copy, kernel="nbship", folder=source.parent)
    assert copy.is_file()
    assert (source.parent / "here.txt").read_text() == "2"
    assert content_hash(source) == before
    assert sorted(path.name for path in (tmp_path / "run").rglob("*.*")) == [f"{name}.ipynb"]


def test_a_notebook_that_says_nothing_of_its_language_is_python(tmp_path):
    cells = [
        {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "n: int = 1"},
        {"cell_type": "code", "metadata": {}, "source": "assert n == 5"},
    ]
    cells = [{**cell, "outputs": [], "execution_count": None} for cell in cells]
    path = tmp_path / "old.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 2}))
    execute(read_notebook(path), {"n": 5}, tmp_path / "run/old.ipynb", kernel="nbship", folder=tmp_path)


def test_old_outputs_are_not_taken_along(step, tmp_path):
    step("", "1 + 1")
    outputs = [cell.get("outputs") for cell in executed(tmp_path).cells]
    assert [o["data"]["text/plain"] for o in outputs[-1]] == ["2"]
    assert "from before" not in (tmp_path / "run/step.ipynb").read_text()


def test_what_a_cell_prints_is_told_while_it_runs(step):
    """Each line is told before the cell goes on, which waits for that."""
    told = []
    code = """
import sys, time, pathlib
print("epoch 1")
while not pathlib.Path("seen-1").exists(): time.sleep(0.01)
sys.stderr.write("\\r 10%|#  \\r 50%|## ")
while not pathlib.Path("seen-2").exists(): time.sleep(0.01)"""

    def on_line(line: str) -> None:
        told.append(line)
        Path(step.folder, f"seen-{len(told)}").touch()

    step("", code, on_line=on_line)
    assert told == ["epoch 1", "50%|##"]


def test_what_a_progress_bar_has_drawn_over_is_not_kept(step, tmp_path):
    step("", "import sys\nfor n in range(4): sys.stderr.write(f'\\r{n} of 3')", "print('a\\nb')")
    texts = [cell.outputs[0].text for cell in executed(tmp_path).cells if cell.get("outputs")]
    assert texts == ["3 of 3", "a\nb\n"]


def test_what_is_printed_after_something_shown_stays_after_it(step, tmp_path):
    code = (
        "import sys, time\nprint('a', flush=True)\ndisplay(1)\nprint('b\\r\\n', end='')\nfor n in range(3):\n"
    )
    step("", code + "    print(n, end='\\r', flush=True)\n    time.sleep(0.05)\nprint('c')")
    (cell,) = [cell for cell in executed(tmp_path).cells if cell.get("outputs")]
    shown = [output.get("text") or output.data["text/plain"] for output in cell.outputs]
    assert shown == ["a\n", "1", "b\nc\n"]


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        ("", ""),
        (" \n", ""),
        ("a\nb", "b"),
        ("a\nb\n\n", "b"),
        ("10%\r20%", "20%"),
        ("10%\r", "10%"),
        ("a\r\nb\r\n", "b"),
        ("\x1b[1;31mred\x1b[0m\n", "red"),
        ("x" * 500, "x" * 200),
    ],
)
def test_the_last_line_is_the_one_that_a_terminal_would_end_with(printed, line):
    import papermill  # noqa: F401 (it loads the engine)

    from nbship.kernels.engine import last_line

    assert last_line(printed) == line


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_failing_cell_is_shown_by_its_number_in_the_source(step, tmp_path, kernel):
    code = ["x = 1", "def f(y):\n    return 1 / y\nf(x - 1)", "open('after.txt', 'w')"]
    error = failure(step, "n: int = 1\n", *code, values={"n": 3}, kernel=kernel)
    assert error.message == "step.ipynb, cell 4: ZeroDivisionError: division by zero"
    assert error.details.startswith("failing cell:\n    def f(y):\n        return 1 / y\n    f(x - 1)\n")
    assert "----> 2" in error.details
    assert "\x1b" not in error.details
    assert str(tmp_path / "run/step.ipynb") in error.hint
    assert not (tmp_path / "after.txt").exists()
    assert "ZeroDivisionError" in (tmp_path / "run/step.ipynb").read_text()


def test_without_parameters_the_number_is_right_too(step):
    assert failure(step, "", "1 / 0").message.startswith("step.ipynb, cell 3: ")


def test_a_long_message_and_a_long_traceback_are_cut(step):
    error = failure(step, "", "def f(n):\n    f(n - 1) if n else 1 / 0\nf(90)")
    assert len(error.details.splitlines()) < 40
    error = failure(step, "", "raise ValueError('first line\\n' + 'more\\n' * 50)")
    assert error.message.endswith("ValueError: first line")


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_that_dies_is_told_at_its_cell(step, kernel):
    error = failure(step, "", "pass", "import os; os.kill(os.getpid(), 9)", kernel=kernel)
    assert error.message == "step.ipynb, cell 4: the kernel died: it was killed by SIGKILL (out of memory?)"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os\nos._exit(7)", "it left with exit code 7"),
        ("import faulthandler\nfaulthandler._sigsegv()", "it was killed by signal 11 (Segmentation fault)"),
    ],
)
def test_it_is_told_how_a_kernel_died(step, code, told, capfd):
    assert failure(step, "", code).message == f"step.ipynb, cell 3: the kernel died: {told}"
    assert capfd.readouterr() == ("", "")


def test_what_a_kernel_says_that_does_not_start_is_shown(step, tmp_path, monkeypatch):
    spec = {"argv": ["sh", "-c", "echo no such library >&2; exit 3"], "language": "python"}
    (tmp_path / "kernels/broken").mkdir(parents=True)
    (tmp_path / "kernels/broken/kernel.json").write_text(json.dumps({**spec, "display_name": "Broken"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    error = failure(step, "", "1", kernel="broken")
    assert error.message.startswith("step.ipynb: its kernel did not start")
    assert error.details == "no such library"


def test_a_cell_that_takes_too_long_is_ended(step):
    started = time.monotonic()
    error = failure(step, "", "import time\ntime.sleep(60)", timeout=0.5)
    assert error.message == "step.ipynb, cell 3: took longer than 0.5 s"
    assert time.monotonic() - started < 10


def test_a_timeout_is_for_each_cell(step):
    sleep = "import time\ntime.sleep(0.4)"
    step("", sleep, sleep, sleep, timeout=1)


def test_an_unknown_kernel_is_told(step):
    error = failure(step, "", "1", kernel="no-such-kernel")
    assert "step.ipynb: its kernel did not start" in error.message


def test_leaving_early_is_told_where_results_are_missing(step):
    assert step("", "import sys\nsys.exit(0)", "1 / 0") == {}
    error = failure(step, 'count: "Output[int]" = 0\n', "import sys\nsys.exit(0)")
    assert "left before its last cell" in error.message
    assert "SystemExit" in failure(step, "", "import sys\nsys.exit(3)").message


@pytest.mark.parametrize(
    ("way", "kernel"),
    [(way, "nbship") for way in ("exit", "quit()", "if x:\n    exit(0)")] + [("exit", "python3")],
)
def test_leaving_in_the_middle_is_told_at_its_cell(step, tmp_path, way, kernel):
    error = failure(step, "n: int = 1\n", "x = 1", way, "open('after.txt', 'w')", kernel=kernel)
    assert error.message == "step.ipynb, cell 4: exit was called, and the cells after it did not run"
    assert "sys.exit(0)" in error.hint
    assert not (tmp_path / "after.txt").exists()


def test_leaving_in_the_last_cell_leaves_nothing_out(step, tmp_path):
    step("", "open('before.txt', 'w')", "exit", "")
    assert (tmp_path / "before.txt").exists()
    error = failure(step, 'count: "Output[int]" = 0\n', "count = 3\nexit()")
    assert "exit was called" in error.message


@pytest.mark.parametrize(
    ("type_name", "value", "told"),
    [
        ("int", "1.5", "is 1.5 (float)"),
        ("int", "'3'", "is '3' (str)"),
        ("int", "True", "is True (bool)"),
        ("int", "None", "is None (NoneType)"),
        ("str", "__import__('pathlib').Path('x')", "is {'PosixPath': \"PosixPath('x')\"} (dict)"),
        ("float", "float('nan')", "finite"),
        ("bool", "[]", "is [] (list)"),
    ],
)
def test_a_result_of_another_type_is_told(step, type_name, value, told):
    zero = {"int": 0, "str": "", "float": 0.0, "bool": False}[type_name]
    error = failure(step, f'result: "Output[{type_name}]" = {zero!r}\n', f"result = {value}")
    assert "step.ipynb: result 'result' " in error.message
    assert told in error.message
    assert error.hint == f"it is declared Output[{type_name}]"


def test_a_number_of_numpy_is_a_number(step):
    parameters = 'a: "Output[int]" = 0\nb: "Output[float]" = 0.0\nc: "Output[bool]" = False\n'
    code = "import numpy as np\na, b, c = np.int64(3), np.float32(0.5), np.bool_(True)"
    assert step(parameters, code) == {"a": 3, "b": 0.5, "c": True}


def test_a_source_that_was_edited_meanwhile_is_not_run(tmp_path):
    path = write_notebook(tmp_path / "step.ipynb", "", "1")
    notebook = read_notebook(path)
    write_notebook(path, "", "2")
    with pytest.raises(StepError, match=r"step\.ipynb: was changed"):
        execute(notebook, {}, tmp_path / "run.ipynb", kernel="nbship", folder=tmp_path)


def test_an_executed_copy_that_cannot_be_written_is_told(step, tmp_path):
    (tmp_path / "run").write_text("no folder")
    with pytest.raises(NbshipError, match="run"):
        step("", "1")


def test_cells_are_counted_as_they_start(step):
    seen: list[tuple[int, int]] = []
    step("", "1", "2", on_cell=lambda *cell: seen.append(cell))
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize("kernel", KERNELS)
def test_nothing_of_a_kernel_reaches_this_process(step, capfd, caplog, tmp_path, kernel):
    code = "import os\nos.system('echo from a child')\nos.write(2, b'raw\\n')\nprint('cell')"
    with caplog.at_level(logging.WARNING):
        step("unused: int = 1\n", code, values={"unused": 2, "unknown": 3}, kernel=kernel)
    assert capfd.readouterr() == ("", "")
    text = (tmp_path / "run/step.ipynb").read_text()
    assert all(word in text for word in ("from a child", "raw", "cell"))


FOUND = """\
import json, os, subprocess, sys
import features, top
by_shell = !command -v python
by_cell = get_ipython().getoutput("bash -c 'command -v python'")
module = !python -c "import features; print(features.__file__)"
found = json.dumps({
    "programs": by_shell + by_cell,
    "modules": [features.__file__, top.__file__, *module],
    "path": sys.path,
    "environment": os.environ.get("VIRTUAL_ENV"),
})
parent = os.getppid()"""


def test_a_kernel_finds_the_environments_programs_and_the_projects_modules_first(step, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = elsewhere / "python"
    program.write_text("#!/bin/sh\necho wrong\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(elsewhere), "/usr/bin", "/bin"]))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    for name in ("src/features.py", "features.py", "top.py"):
        (project / name).write_text("")
    parameters = 'found: "Output[str]" = ""\nparent: "Output[int]" = 0'

    results = {kernel: step(parameters, FOUND, kernel=kernel, project=project) for kernel in KERNELS}

    found = json.loads(results["nbship"]["found"])
    assert found == json.loads(results["python3"]["found"])
    assert found["programs"] == [str(Path(sys.executable).with_name("python"))] * 2
    features = str(project / "src/features.py")
    assert found["modules"] == [features, str(project / "top.py"), features]
    assert found["path"][:3] == [str(tmp_path), str(project / "src"), str(project)]
    assert found["environment"] == (sys.prefix if sys.prefix != sys.base_prefix else None)
    # One was forked for all that.
    assert results["nbship"]["parent"] != os.getpid()
    assert results["python3"]["parent"] == os.getpid()


def test_the_kernels_environment_is_the_same_for_a_notebook_that_runs_nbship(tmp_path, monkeypatch):
    once = kernel_environment(tmp_path, tmp_path / "a")
    for name, value in once.items():
        monkeypatch.setenv(name, value)
    assert kernel_environment(tmp_path, tmp_path / "a") == once


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), "/x/y: No space left on device"),
        (OSError(errno.EIO, "Input/output error"), "there: Input/output error"),
        (UsageError("as it is"), "as it is"),
        (KeyError("a"), "KeyError: 'a'"),
    ],
)
def test_any_error_can_be_told(error, told):
    assert explained(error, Path("there")).message == told
