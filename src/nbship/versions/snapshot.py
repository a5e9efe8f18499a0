"""The project as it was at a revision, in a folder of its own.

Reads the repository only: nothing is checked out, so the user's files stay as they are.
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

from nbship.errors import NbshipError, UsageError
from nbship.versions import git


def resolve(root: Path, revision: str) -> str:
    """Returns the commit that a branch, a tag or an abbreviated hash means.

    Raises:
        UsageError: There is no such revision here.
    """
    # What begins with a dash would be read as an option.
    name = "" if revision.startswith("-") else f"{revision}^{{commit}}"
    result = git.call(root, "rev-parse", "--quiet", "--verify", name)
    if result.returncode != 0:
        raise UsageError(f"Git knows no revision '{revision}' here", "fetch it: git fetch --tags origin")
    return result.stdout.strip()


def export(root: Path, commit: str, folder: Path) -> None:
    """Writes the project's files as they are in a commit.

    Args:
        root: The project's folder; it may be a part of the repository.
        commit: A commit, as `resolve` gives it.
        folder: An empty folder.

    Raises:
        NbshipError: Git failed, as when the project was elsewhere at that commit.
    """
    with tempfile.NamedTemporaryFile(prefix="nbship-", suffix=".tar") as file:
        result = git.call(root, "archive", "--format=tar", f"--output={file.name}", commit)
        if result.returncode != 0:
            raise NbshipError(
                f"git archive of {commit[:12]} failed", "see what Git says above", git.said(result)
            )
        with tarfile.open(file.name) as archive:
            archive.extractall(folder, filter="data")
