"""Makes Git and DVC ready in a folder that has neither, or only one; commits nothing and stages nothing."""

from __future__ import annotations

import logging
from pathlib import Path

from nbship.errors import NbshipError, UsageError
from nbship.versions import git

GIT = "Git repository"
DVC = "DVC repository"
# What others usually start from.
_USUAL = ("main", "master")
_PLACES = [f"refs/{at}/{name}" for at in ("heads", "remotes/origin") for name in _USUAL]


def missing(root: Path) -> list[str]:
    """Returns what a folder has neither itself nor from a folder above in its repository: `GIT`, `DVC`.

    Raises:
        UsageError: The folder is Git's own, as a bare repository's is.
    """
    if git.call(root, "rev-parse", "--is-inside-git-dir").stdout.strip() == "true":
        raise UsageError(f"{root}: a bare repository, or Git's own folder", "work in a clone: git clone")
    if not git.in_repository(root):
        return [GIT] if _has_dvc(root) else [GIT, DVC]
    top = root / git.output(root, "rev-parse", "--show-cdup").strip()
    above = len(root.resolve().relative_to(top.resolve()).parts)
    folders = (root, *root.absolute().parents)[: above + 1]
    return [] if any(map(_has_dvc, folders)) else [DVC]


def _has_dvc(folder: Path) -> bool:
    # The first file that DVC writes there; without it, somebody ended DVC before.
    return (folder / ".dvc/config").is_file()


def below(root: Path) -> str:
    """Returns the folder from the repository's; empty if it is the same."""
    return git.output(root, "rev-parse", "--show-prefix").strip().rstrip("/")


def default_branch(root: Path) -> str:
    """Returns the branch that others start from: what `origin` says, a usual name, or what is checked out."""
    remote = git.call(root, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD").stdout.strip()
    if remote:
        return remote.partition("/")[2]
    found = git.call(root, "for-each-ref", "--format=%(refname:lstrip=-1)", *_PLACES).stdout.split()
    return next((name for name in _USUAL if name in found), "") or git.branch(root) or _USUAL[0]


def make(root: Path, what: str) -> None:
    """Makes a Git or a DVC repository.

    Raises:
        NbshipError: It cannot be made there.
    """
    if what == GIT:
        # As forges name it, unless the user has set another.
        chosen = git.call(root, "config", "init.defaultBranch").stdout.strip()
        git.output(root, "init", "--quiet", "--initial-branch", chosen or _USUAL[0])
    else:
        _make_dvc(root)


def _make_dvc(root: Path) -> None:
    from dvc.exceptions import DvcException
    from dvc.logger import set_loggers_level
    from dvc.repo import Repo

    try:
        with set_loggers_level(logging.CRITICAL):
            if (root / ".dvc").is_dir():
                (root / ".dvc/config").touch()
                Repo(str(root)).close()
            else:
                Repo.init(str(root), subdir=bool(below(root))).close()
    except (DvcException, OSError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise NbshipError(f"DVC cannot be set up in {root}: {text}", "remove what is in its way") from None
    # DVC stages what it wrote; a commit of something else would take it along.
    git.call(root, "reset", "--quiet", "--", ".dvc", ".dvcignore")
