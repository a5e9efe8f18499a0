"""What other systems lack is not needed to import nbship: no `fcntl`, no `fork`, no signals of POSIX."""

from __future__ import annotations

import subprocess
import sys

from nbship.kernels import forkserver
from nbship.local import runner
from nbship.record import State
from nbship.workflow.run import RunRequest, run
from tests.engine import NAME, write_points

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


def test_where_nothing_forks_the_ordinary_kernel_runs_the_steps_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(forkserver, "AVAILABLE", False)
    monkeypatch.setattr(runner, "forkserver", None)  # is not asked for anything
    told: list[str] = []
    record, _ = run(write_points(tmp_path), RunRequest(NAME), report=told.append)
    assert record.state is State.DONE
    assert [line for line in told if "ordinary kernel" in line]
