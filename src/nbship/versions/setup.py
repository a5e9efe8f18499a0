"""Makes Git and DVC ready in a folder that has neither, or only one; commits nothing and stages nothing."""

from __future__ import annotations

import logging
from pathlib import Path

from nbship.errors import NbshipError
from nbship.versions import git

GIT = "Git repository"
DVC = "DVC repository"


def missing(root: Path) -> list[str]:
    """Returns what a folder has neither itself nor from a folder above in its repository: `GIT`, `DVC`."""
    if not git.in_repository(root):
        return [GIT] if (root / ".dvc").is_dir() else [GIT, DVC]
    top = root / git.output(root, "rev-parse", "--show-cdup").strip()
    above = len(root.resolve().relative_to(top.resolve()).parts)
    folders = (root, *root.absolute().parents)[: above + 1]
    return [] if any((folder / ".dvc").is_dir() for folder in folders) else [DVC]


def below(root: Path) -> str:
    """Returns the folder from the repository's; empty if it is the same."""
    return git.output(root, "rev-parse", "--show-prefix").strip().rstrip("/")


def default_branch(root: Path) -> str:
    """Returns the branch that others start from: what `origin` says, or else the one that is checked out."""
    remote = git.call(root, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD").stdout.strip()
    return remote.partition("/")[2] or git.branch(root) or "main"


def make(root: Path, what: str) -> None:
    """Makes a Git or a DVC repository.

    Raises:
        NbshipError: It cannot be made there.
    """
    if what == GIT:
        git.output(root, "init", "--quiet")
    else:
        _make_dvc(root)


def _make_dvc(root: Path) -> None:
    from dvc.exceptions import DvcException
    from dvc.logger import set_loggers_level
    from dvc.repo import Repo

    try:
        with set_loggers_level(logging.CRITICAL):
            Repo.init(str(root), subdir=bool(below(root))).close()
    except (DvcException, OSError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise NbshipError(f"DVC cannot be set up in {root}: {text}", "remove what is in its way") from None
    # DVC stages what it wrote; a commit of something else would take it along.
    git.call(root, "reset", "--quiet", "--", ".dvc", ".dvcignore")
