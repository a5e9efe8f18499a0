"""The project as it was at a revision, in a folder of its own; and the names that Git has for where it is.

Reads the repository only: nothing is checked out, so the user's files stay as they are.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

from nbship.errors import NbshipError, UsageError


def branch(root: Path) -> str:
    """Returns the branch that is checked out; empty where there is none, as in most CI jobs."""
    result = _git(root, "symbolic-ref", "--quiet", "--short", "HEAD")
    return result.stdout.decode("utf-8").strip() if result.returncode == 0 else ""


def resolve(root: Path, revision: str) -> str:
    """Returns the commit that a branch, a tag or an abbreviated hash means.

    Raises:
        UsageError: There is no such revision here.
    """
    # What begins with a dash would be read as an option.
    name = "" if revision.startswith("-") else f"{revision}^{{commit}}"
    result = _git(root, "rev-parse", "--quiet", "--verify", name)
    if result.returncode != 0:
        raise UsageError(f"Git knows no revision '{revision}' here", "fetch it: git fetch --tags origin")
    return result.stdout.decode("ascii").strip()


def export(root: Path, commit: str, folder: Path) -> None:
    """Writes the project's files as they are in a commit.

    Args:
        root: The project's folder; it may be a part of the repository.
        commit: A commit, as `resolve` gives it.
        folder: An empty folder.

    Raises:
        NbshipError: Git failed, as when the project was elsewhere at that commit.
    """
    result = _git(root, "archive", "--format=tar", commit)
    if result.returncode != 0:
        said = result.stderr.decode("utf-8", "replace").strip()
        raise NbshipError(f"git archive of {commit[:12]} failed", "see what Git says above", said)
    with tarfile.open(fileobj=io.BytesIO(result.stdout)) as archive:
        archive.extractall(folder, filter="data")


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=root,
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        )
    except FileNotFoundError:
        raise NbshipError("the program git is not there", "install Git") from None
