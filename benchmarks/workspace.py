"""A temporary folder to measure in: copies of the project, an environment without leftovers, and a stopwatch.

Nothing outside the folder is written to, and it is gone afterwards.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = ("notebooks", "pipelines", "requirements.lock", "data.csv.dvc", ".dvc/config", ".gitignore")
_DATA, _PIPELINE = "data.csv", "auto-mpg"
# Settings of the person who measures that would change what is measured, or where files are left.
_PERSONAL = ("DVC_", "IPYTHON", "JUPYTER", "MPL", "PLOOMBER", "PYTHON", "XDG_")
_COMMIT = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost", "commit", "--quiet"]


class CommandError(Exception):
    """A command that was to be measured failed."""


@dataclass(frozen=True)
class Workspace:
    """A temporary folder.

    Attributes:
        folder: Where everything happens.
        environment: Environment variables of what is measured.
    """

    folder: Path
    environment: Mapping[str, str]

    def copy_project(self, root: Path, name: str) -> Path:
        """Copies what a run needs into a new Git repository, and brings the data if it is not there yet.

        Args:
            root: The project.
            name: Name of the copy's folder.
        """
        copy = self.folder / name
        for part in (*PROJECT, _DATA):
            source, target = root / part, copy / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("build", ".ipynb_checkpoints"))
            elif source.exists():
                shutil.copyfile(source, target)
        # With the person's own settings, which may say how pip reaches its packages.
        pull = [program("nbship"), "data", "pull", _PIPELINE]
        subprocess.run(pull, cwd=copy, stdout=subprocess.DEVNULL, check=True)
        for arguments in (["init", "--quiet"], ["add", "--all"], [*_COMMIT, "--message", "project"]):
            subprocess.run(["git", *arguments], cwd=copy, env=self.environment, check=True)
        return copy

    def seconds(self, command: Sequence[str], folder: Path, **variables: str) -> float:
        """Runs a command and returns its wall seconds.

        Raises:
            CommandError: It failed; the message is the end of its output.
        """
        # A file, for a pipe would be waited for until the last process that has inherited it ends.
        with tempfile.TemporaryFile(dir=self.folder) as output:
            started = time.perf_counter()
            result = subprocess.run(
                command,
                cwd=folder,
                env={**self.environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            elapsed = time.perf_counter() - started
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
        if result.returncode != 0:
            name = Path(command[0]).name
            raise CommandError(f"{said[-2000:]}\n{name} ended with exit code {result.returncode}")
        return elapsed


@contextlib.contextmanager
def workspace() -> Iterator[Workspace]:
    """Makes a temporary folder and, at the end, deletes it."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        for part in ("home", "tmp"):
            (folder / part).mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_PERSONAL)}
        yield Workspace(
            folder,
            {
                **kept,
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                "HOME": str(folder / "home"),
                "TMPDIR": str(folder / "tmp"),
                "DVC_SITE_CACHE_DIR": str(folder / "dvc"),
                "PLOOMBER_STATS_ENABLED": "false",
            },
        )


def program(name: str) -> str:
    """Returns the path of a program that is installed beside this Python."""
    return str(Path(sys.executable).with_name(name))
