"""What other systems lack is not needed to import nbship: no `fcntl`, no `fork`, no signals of POSIX."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from nbship.kernels import forkserver
from nbship.local import runner
from nbship.record import State
from nbship.workflow.run import RunRequest, run
from tests.engine import NAME, write_points

SOURCE = Path(__file__).parent.parent / "src/nbship"
POSIX = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}

# What Windows does not have; a module that is None cannot be imported.
WITHOUT = """
import importlib, os, pkgutil, signal, socket, sys
# The libraries know their way without these.
import multiprocessing.connection, asyncio, zmq, jupyter_client, typer, rich
import dvc.repo, filelock, papermill, kfp, pandas, sklearn
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
for name in ("fork", "getuid", "killpg", "setsid", "waitid", "sched_getaffinity", "register_at_fork"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGCHLD", "SIGHUP", "pthread_sigmask", "sigwait", "siginterrupt"):
    delattr(signal, name)
delattr(socket, "AF_UNIX")
import nbship
failed = []
for module in pkgutil.walk_packages(nbship.__path__, "nbship."):
    if not module.name.startswith("nbship.serving"):  # its libraries have no Windows
        try:
            importlib.import_module(module.name)
        except Exception as error:
            failed.append(f"{module.name}: {error!r}")
print(failed)
"""


def test_no_import_needs_posix():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


# Those that cannot be imported above, for their libraries, are read.
def test_no_module_imports_at_once_what_posix_alone_has():
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:  # inside of a function, `if` or `try` it is guarded
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path.name}: {name}" for name in names if name in POSIX]
    assert found == []
    rooms = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert {"serving", "kernels", "monitoring", "chatops"} <= rooms


def test_where_nothing_forks_the_ordinary_kernel_runs_the_steps_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(forkserver, "AVAILABLE", False)
    monkeypatch.setattr(runner, "forkserver", None)  # is not asked for anything
    told: list[str] = []
    record, _ = run(write_points(tmp_path), RunRequest(NAME), report=told.append)
    assert record.state is State.DONE
    assert [line for line in told if "ordinary kernel" in line]
