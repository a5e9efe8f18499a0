"""Warm kernels from the outside: how they start, behave under signals, end, and what they leave behind."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import papermill
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from nbship.errors import NbshipError
from nbship.kernels import forkserver
from nbship.kernels.provisioner import KERNEL_NAME, Kernel, PromptKernelManager

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="warm kernels need fork")


@pytest.fixture(autouse=True)
def server():
    return forkserver.start(["numpy"])


@pytest.fixture(scope="module", autouse=True)
def end():
    yield
    forkserver.stop()


def write(folder: Path, *cells: str) -> Path:
    path = folder / "notebook.ipynb"
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}},
    )
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)
    return path


def execute(folder: Path, *cells: str, kernel: str = KERNEL_NAME, **options) -> list[str]:
    """Runs a notebook and returns the texts that its cells printed."""
    options = {"engine_name": "nbship", "progress_bar": False, "kernel_name": kernel} | options
    notebook = papermill.execute_notebook(write(folder, *cells), folder / "executed.ipynb", **options)
    return [
        "".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells if cell.source
    ]


def is_running(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_for_end(*processes: int, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(map(is_running, processes)):
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("kernel", [KERNEL_NAME, "python3"])
def test_the_engine_tells_of_its_progress(tmp_path, kernel):
    cells, processes = [], []
    printed = execute(
        tmp_path,
        "x = 1",
        "# a comment",
        "import os; print(x, os.getpid())",
        kernel=kernel,
        parameters={"x": 5},
        on_cell=lambda *cell: cells.append(cell),
        on_start=lambda kernel: processes.append(kernel.pid),
    )
    assert cells == [(1, 4), (2, 4), (3, 4), (4, 4)]  # papermill adds a cell with the parameters
    assert printed[-1] == f"5 {processes[0]}\n"
    assert wait_for_end(*processes)


def test_papermill_unmodified_runs_a_warm_kernel(tmp_path, server):
    [printed] = execute(tmp_path, "import os; print(os.getppid())", engine_name=None)
    assert int(printed) == server._process.pid


def test_the_notebook_so_far_is_saved_when_a_cell_fails(tmp_path):
    with pytest.raises(PapermillExecutionError, match="ZeroDivisionError"):
        execute(tmp_path, "print('done')", "1 / 0", "print('never')")
    saved = nbformat.read(tmp_path / "executed.ipynb", 4)
    assert [cell.metadata.papermill.status for cell in saved.cells if "papermill" in cell.metadata] == [
        "completed",
        "failed",
        "pending",
    ]


def test_a_long_notebook_is_saved_while_it_runs(tmp_path):
    """A person can follow it, though it is not saved for every cell."""
    printed = execute(
        tmp_path,
        "import time, pathlib; time.sleep(1.1)",
        "pass",
        f"print('time.sleep' in pathlib.Path({str(tmp_path / 'executed.ipynb')!r}).read_text())",
    )
    assert printed[-1] == "True\n"


@pytest.mark.parametrize(
    ("death", "told"),
    [
        ("os.kill(os.getpid(), 9)", "SIGKILL"),
        ("os._exit(3)", "exit code 3"),
        ("import ctypes; ctypes.string_at(0)", "signal 11"),
    ],
)
def test_a_kernel_that_dies_is_told_of_and_leaves_nothing_behind(tmp_path, death, told):
    children = tmp_path / "children"
    spawn = (
        "import os, pathlib, subprocess; child = subprocess.Popen(['sleep', '60'])\n"
        f"pathlib.Path({str(children)!r}).write_text(str(child.pid))"
    )
    processes = []
    with pytest.raises(DeadKernelError, match=told):
        execute(tmp_path, spawn, death, on_start=lambda kernel: processes.append(kernel.pid))
    assert wait_for_end(*processes, int(children.read_text()))
    assert (tmp_path / "executed.ipynb").exists()


def test_memory_can_be_limited_for_one_kernel(tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))"
    with pytest.raises(PapermillExecutionError, match="MemoryError"):
        execute(tmp_path, limit, "bytes(4 << 30)")
    assert execute(tmp_path, "print(len(bytes(1 << 30)))") == [f"{1 << 30}\n"]


def test_a_cell_that_takes_too_long_ends_with_its_kernel(tmp_path):
    processes = []
    with pytest.raises(CellTimeoutError):
        execute(
            tmp_path,
            "import time; time.sleep(60)",
            execution_timeout=1,
            on_start=lambda kernel: processes.append(kernel.pid),
        )
    assert wait_for_end(*processes)


def test_a_cell_that_takes_too_long_can_be_interrupted(tmp_path):
    with pytest.raises(PapermillExecutionError, match="KeyboardInterrupt"):
        execute(tmp_path, "import time; time.sleep(60)", execution_timeout=1, interrupt_on_timeout=True)


def test_threads_run_kernels_at_once_with_different_random_numbers(tmp_path):
    def draw(number: int) -> str:
        folder = tmp_path / str(number)
        folder.mkdir()
        return execute(
            folder,
            "import random, numpy, uuid, time, os",
            "time.sleep(0.5); print(random.random(), numpy.random.rand(), os.urandom(2).hex(), uuid.uuid4())",
        )[1]

    started = time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        draws = list(threads.map(draw, range(4)))
    assert time.monotonic() - started < 4 * 0.5 + 2
    assert all(len(set(column)) == 4 for column in zip(*map(str.split, draws), strict=True))


@pytest.mark.parametrize("kernel", [KERNEL_NAME, "python3"])
def test_what_a_notebook_leaves_is_finalized(tmp_path, kernel):
    """Though a warm kernel does not take down the libraries that it shares."""
    (tmp_path / "kept.py").write_text("")
    cell = """
        import atexit, os, sys, threading, time, weakref, numpy
        sys.path.insert(0, FOLDER); os.chdir(FOLDER)
        import kept
        unflushed = open("variable", "w"); unflushed.write("written")
        kept.unflushed = open("module", "w"); kept.unflushed.write("written")
        class Deleted:
            def __del__(self, open=open): open("deleted", "w").write("written")
        kept.deleted = Deleted()
        atexit.register(lambda: open("atexit", "w").write("written"))
        finalizer = weakref.finalize(kept, lambda: open("weakref", "w").write("written"))
        threading.Thread(target=lambda: (time.sleep(0.3), open("thread", "w").write("written"))).start()
    """
    execute(tmp_path, textwrap.dedent(cell).replace("FOLDER", repr(str(tmp_path))), kernel=kernel)
    names = ["variable", "module", "deleted", "atexit", "weakref", "thread"]
    assert {name: (tmp_path / name).read_text() for name in names} == dict.fromkeys(names, "written")


async def start_kernel(manager, **options):
    await manager.start_kernel(**options)
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready(timeout=30)
    return client


async def evaluate(client, code: str) -> str:
    printed = []

    def hear(message):
        if message["msg_type"] in ("stream", "error"):
            printed.append(message["content"].get("text") or message["content"]["ename"])

    await client.execute_interactive(code, timeout=30, output_hook=hear)
    return "".join(printed).strip()


def test_a_kernel_has_the_environment_directory_and_streams_it_was_given(tmp_path):
    async def scenario():
        manager = PromptKernelManager(kernel_name=KERNEL_NAME)
        environment = {k: v for k, v in os.environ.items() if k != "PATH"} | {
            "GIVEN": "x=ü\n",
            "TZ": "Asia/Tokyo",
        }
        with (tmp_path / "output").open("w") as output:
            client = await start_kernel(
                manager, cwd=str(tmp_path), env=environment, stdout=output, stderr=output
            )
        code = (
            "import os, time; os.write(1, b'raw')\n"
            "print([os.getcwd(), os.environ['GIVEN'], 'PATH' in os.environ, time.tzname[0]])"
        )
        seen = await evaluate(client, code)
        client.stop_channels()
        await manager.shutdown_kernel()
        return seen

    assert asyncio.run(scenario()).endswith(str([str(tmp_path), "x=ü\n", False, "JST"]))
    assert "raw" in (tmp_path / "output").read_text()


@pytest.mark.parametrize("different", ["OMP_NUM_THREADS", "PYTHONHASHSEED", "matplotlibrc"])
def test_a_kernel_that_a_fork_would_get_wrong_is_a_fresh_process(tmp_path, different):
    environment = dict(os.environ)
    if different == "matplotlibrc":
        (tmp_path / different).write_text("lines.linewidth: 7")
    else:
        environment[different] = "1"

    async def scenario():
        manager = PromptKernelManager(kernel_name=KERNEL_NAME)
        client = await start_kernel(manager, cwd=str(tmp_path), env=environment)
        parent = await evaluate(client, "import os; print(os.getppid())")
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
        return int(parent)

    assert asyncio.run(scenario()) == os.getpid()


@pytest.mark.parametrize("manager_class", [AsyncKernelManager, PromptKernelManager])
def test_a_person_can_interrupt_restart_and_shut_down(manager_class):
    async def scenario():
        manager = manager_class(kernel_name=KERNEL_NAME)
        client = await start_kernel(manager)
        sleeping = asyncio.ensure_future(evaluate(client, "x = 1; import time; time.sleep(60)"))
        await asyncio.sleep(0.3)
        await manager.interrupt_kernel()
        assert await sleeping == "KeyboardInterrupt"
        assert await evaluate(client, "print(x)") == "1"

        first = manager.provisioner.pid
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=30)
        assert manager.provisioner.pid != first
        assert not is_running(first)
        assert await evaluate(client, "print(x)") == "NameError"

        # A busy kernel ends as well: it is interrupted.
        client.execute("import time; time.sleep(60)")
        await asyncio.sleep(0.2)
        started = time.monotonic()
        await manager.shutdown_kernel()
        client.stop_channels()
        assert time.monotonic() - started < 3
        assert not is_running(manager.provisioner.pid)
        assert not await manager.is_alive()

    asyncio.run(scenario())


def test_jupyter_server_runs_warm_kernels():
    from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

    async def scenario():
        kernels = AsyncMappingKernelManager()
        kernel_id = await kernels.start_kernel(kernel_name=KERNEL_NAME)
        manager = kernels.get_kernel(kernel_id)
        await manager.ready
        first = manager.provisioner.pid
        await kernels.restart_kernel(kernel_id)
        assert manager.provisioner.pid != first
        assert kernels.kernel_model(kernel_id)["name"] == KERNEL_NAME
        await kernels.shutdown_kernel(kernel_id)
        assert wait_for_end(first, manager.provisioner.pid)

    asyncio.run(scenario())


def test_a_fork_server_that_dies_takes_its_kernels_along_and_is_replaced(tmp_path, server):
    processes = []

    def kill_server(kernel: Kernel) -> None:
        processes.append(kernel.pid)
        os.kill(server._process.pid, signal.SIGKILL)

    with pytest.raises(DeadKernelError, match="SIGKILL"):
        execute(tmp_path, "import time; time.sleep(60)", on_start=kill_server)
    assert wait_for_end(server._process.pid, *processes)
    assert execute(tmp_path, "print('again')") == ["again\n"]


def test_a_fork_server_that_cannot_start_is_an_error(tmp_path, monkeypatch):
    forkserver.stop()
    monkeypatch.setattr(forkserver, "_SERVER", "this")  # a module that ends at once
    with pytest.raises(
        NbshipError, match="fork server of the warm kernels has ended: it left with exit code 0"
    ):
        execute(tmp_path, "pass")


# A daemon, as a server that a notebook starts may be: it has a session of its own, and no parent.
DAEMON = """
import os, subprocess, sys, time
code = "import os, time; os.setsid(); open('daemon', 'w').write(f'{os.getpid()} '); time.sleep(60)"
subprocess.run(["sh", "-c", f'"{sys.executable}" -S -c "{code}" &'], cwd=FOLDER)
while not (os.path.exists(FOLDER + "/daemon") and " " in open(FOLDER + "/daemon").read()):
    time.sleep(0.01)
"""


def daemon_in(folder: Path) -> str:
    return f"FOLDER = {str(folder)!r}{DAEMON}"


def test_a_daemon_ends_with_its_kernel_and_not_with_another(tmp_path):
    for name in ("mine", "other"):
        (tmp_path / name).mkdir()
    kernels = []
    wait = "while not os.path.exists(FOLDER + '/go'): time.sleep(0.01)"
    with ThreadPoolExecutor(1) as other:
        mine = other.submit(
            execute, tmp_path / "mine", daemon_in(tmp_path / "mine"), wait, on_start=kernels.append
        )
        while not (tmp_path / "mine/daemon").exists():
            time.sleep(0.01)
        execute(tmp_path / "other", daemon_in(tmp_path / "other"))
        mine_and_other = [int((tmp_path / name / "daemon").read_text()) for name in ("mine", "other")]
        assert wait_for_end(mine_and_other[1])
        assert is_running(mine_and_other[0])
        (tmp_path / "mine/go").touch()
        mine.result()
    assert wait_for_end(mine_and_other[0])
    assert [len(kernel.left) for kernel in kernels] == [1]


def test_what_ended_before_its_kernel_is_not_told_of(tmp_path):
    kernels = []
    code = "import os; os.system('sleep 60 & (setsid true &) & wait $!')"
    execute(tmp_path, code, on_start=kernels.append)
    assert kernels[0].left == []


def test_a_process_id_is_not_reused_before_its_end_is_noted(server, tmp_path):
    """Else a signal that is meant for a kernel may reach a stranger."""
    held = []

    def note(kernel: Kernel) -> None:
        place = Path(f"/proc/{kernel.pid}")
        kernel.process.ended.add_done_callback(lambda _: held.append((place, place.exists())))

    execute(tmp_path, "pass", on_start=note)
    [(place, existed)] = held
    assert existed
    deadline = time.monotonic() + 5
    while place.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not place.exists()


def test_stop_ends_running_kernels(tmp_path):
    processes = []
    with ThreadPoolExecutor(1) as other:
        running = other.submit(
            execute,
            tmp_path,
            daemon_in(tmp_path),
            "time.sleep(60)",
            on_start=lambda kernel: processes.append(kernel.pid),
        )
        while not (tmp_path / "daemon").exists():
            time.sleep(0.01)
        forkserver.stop()
        with pytest.raises(DeadKernelError):
            running.result()
    assert wait_for_end(*processes, int((tmp_path / "daemon").read_text()))


def test_nothing_outlives_a_killed_parent(tmp_path):
    notebook = write(
        tmp_path,
        daemon_in(tmp_path),
        "child = subprocess.Popen(['sleep', '60'])\n"
        "print(os.getppid(), os.getpid(), child.pid, file=open('started', 'w'), flush=True)\n"
        "time.sleep(60)",
    )
    call = f"papermill.execute_notebook({str(notebook)!r}, None, engine_name='nbship', kernel_name='nbship')"
    code = f"import papermill; {call}"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    started = tmp_path / "started"
    deadline = time.monotonic() + 30
    while not (started.exists() and started.read_text().endswith("\n")) and time.monotonic() < deadline:
        time.sleep(0.02)
    processes = [int(process) for process in started.read_text().split()]
    processes.append(int((tmp_path / "daemon").read_text()))
    assert all(map(is_running, processes))
    parent.kill()
    parent.wait()
    assert wait_for_end(*processes)


def test_preloading_is_silent_and_survives_broken_modules(tmp_path):
    (tmp_path / "loud.py").write_text(
        "import logging, os, sys, warnings\n"
        "print('noise'); warnings.warn('noise'); logging.warning('noise')\n"
        "handler = logging.StreamHandler(); os.environ['SET'] = '1'"
    )
    (tmp_path / "leaves.py").write_text("import sys; sys.exit('noise')")
    code = f"""
        import sys
        from nbship.kernels import forkserver
        forkserver.start(["loud", "leaves", "no_such_module"])
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_kernels import execute
        use = "import loud; loud.handler.stream.write('heard'); print(loud.os.environ['SET'])"
        print(execute(Path.cwd(), use))
    """
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert "noise" not in result.stdout + result.stderr
    assert "heard" in result.stdout
    assert "1\\n" in result.stdout


def test_a_library_may_start_processes_while_it_is_imported(tmp_path, monkeypatch):
    (tmp_path / "starts.py").write_text(
        "import subprocess\nhelper = subprocess.Popen(['sleep', '60'])\n"
        "code = subprocess.run(['sh', '-c', 'exit 3']).returncode\n"
    )
    forkserver.stop()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    try:
        forkserver.start(["starts"])
        use = (
            "import os, starts; print(starts.code, open(f'/proc/{starts.helper.pid}/stat').read().split()[2])"
        )
        for _ in range(2):
            assert execute(tmp_path, use) == ["3 S\n"]
    finally:
        forkserver.stop()


def test_the_first_kernels_come_and_go_while_the_server_still_imports(tmp_path, monkeypatch):
    go = tmp_path / "go"
    (tmp_path / "waits.py").write_text(
        "import time\nfrom pathlib import Path\n"
        f"while not Path({str(go)!r}).exists():\n    time.sleep(0.01)\nready = 'ready'\n"
    )
    forkserver.stop()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    try:
        forkserver.start(["waits", "numpy"], first=["json"], kernels=1)
        use = "import sys; print('json' in sys.modules, 'waits' in sys.modules, 'numpy' in sys.modules)"
        assert execute(tmp_path, use) == ["True False False\n"]
        with ThreadPoolExecutor(1) as other:
            later = other.submit(execute, tmp_path, use)
            time.sleep(0.2)
            assert not later.done()
            go.touch()
            assert later.result() == ["True True True\n"]
    finally:
        forkserver.stop()
