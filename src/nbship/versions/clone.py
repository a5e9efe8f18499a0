"""A clone of a Git repository at a revision, as a step in a container needs it; and its address.

Only fetches. What is pushed from a clone is the business of `upstream`, whose credentials this uses too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from nbship.errors import NbshipError, UsageError
from nbship.project import PIPELINES
from nbship.versions import git, snapshot, upstream

_REMOTE = "origin"


def clone(address: str, revision: str, folder: Path) -> str:
    """Clones a repository with its history and checks a revision out.

    Args:
        address: Of the repository; the token of the environment is shown to its server alone.
        revision: A branch, a tag or a commit; the head of the default branch if empty.
        folder: An empty folder.

    Returns:
        The commit.

    Raises:
        UsageError: The repository does not have the revision.
        NbshipError: The repository cannot be read.
    """
    _fetch(address, folder)
    found = _resolve(folder, revision)
    git.output(folder, "checkout", "--quiet", "--detach", found)
    _identify(folder, address)
    return found


def clone_with(address: str, path: str, wanted: Callable[[str], bool], folder: Path) -> str:
    """Clones a repository and checks out a commit that has some content, wherever in the history that is.

    Args:
        address: Of the repository; see `clone`.
        path: A file or a folder, from the top of the repository.
        wanted: Tells by Git's hash of the content whether it is the wanted one.
        folder: An empty folder.

    Returns:
        The commit: the head of the default branch if that has it, else the newest that does.

    Raises:
        NbshipError: No commit has it, or the repository cannot be read.
    """
    _fetch(address, folder)
    commits = git.output(folder, "rev-list", "--ignore-missing", f"refs/remotes/{_REMOTE}/HEAD", "-1").split()
    commits += git.output(folder, "rev-list", "--all").split()
    asked = "".join(f"{commit}:{path}\n" for commit in commits)
    told = git.output(folder, "cat-file", "--batch-check=%(objectname)", text=asked).splitlines()
    known: dict[str, bool] = {}
    for commit, content in zip(commits, told, strict=True):
        if content.endswith(" missing"):
            continue
        if content not in known:
            known[content] = wanted(content)
        if known[content]:
            git.output(folder, "checkout", "--quiet", "--detach", commit)
            return commit
    raise NbshipError(
        f"no commit of the repository has this version of {path} any more",
        "push the branch that has it, and submit again",
    )


def find_project(folder: Path, pipeline: str) -> Path:
    """Returns the folder of the project in a clone: the one that has the pipeline's file.

    Args:
        folder: The clone.
        pipeline: The pipeline's name.

    Raises:
        UsageError: None has it; or several have, and the uppermost is not one of them.
    """
    name = f"{PIPELINES}/{pipeline}.yaml"
    paths = git.output(folder, "ls-files", "-z").split("\0")
    found = [path.removesuffix(name) for path in paths if f"/{path}".endswith(f"/{name}")]
    if not found:
        raise UsageError(f"the repository has no {name} at this revision", "push it first")
    if "" in found or len(found) == 1:
        return folder / min(found)
    raise UsageError(
        f"the repository has several {name}: in {', '.join(found)}",
        "give the pipelines of a repository different names",
    )


def find_commit(address: str, revision: str, folder: Path) -> str:
    """Returns the commit that a revision means in a repository; empty if it cannot be told.

    A whole hash is its own answer, and no one is asked; see `clone` for the arguments.
    """
    if is_commit(revision):
        return revision
    try:
        _fetch(address, folder)
        return _resolve(folder, revision)
    except NbshipError:
        return ""


def is_commit(text: str) -> bool:
    """Returns whether a text is the whole hash of a commit."""
    return re.fullmatch("[0-9a-f]{40}([0-9a-f]{24})?", text) is not None


def web_address(address: str) -> str:
    """Returns the web address of a repository, without credentials; empty if it is none on a server.

    Args:
        address: As Git knows it: `https://…`, `ssh://…`, or `git@host:path`.
    """
    short = re.fullmatch(r"(?:[^@/]+@)([^:/]+):(?!/)(.+)", address)
    if short:
        return f"https://{short[1]}/{short[2]}"
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https", "ssh") or not parts.hostname:
        return ""
    host = parts.hostname if parts.scheme == "ssh" else parts.netloc.rpartition("@")[2]
    return f"{'https' if parts.scheme == 'ssh' else parts.scheme}://{host}{parts.path}"


def own_address(root: Path) -> str:
    """Returns the web address of a project's `origin`; empty if there is none."""
    if not git.in_repository(root):
        return ""
    return web_address(git.call(root, "remote", "get-url", _REMOTE).stdout.strip())


def _fetch(address: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    git.output(folder, "init", "--quiet")
    git.output(folder, "remote", "add", _REMOTE, address)
    environment = upstream.credentials(folder, _REMOTE)
    try:
        git.output(folder, "fetch", "--quiet", "--tags", _REMOTE, environment=environment)
        git.output(folder, "remote", "set-head", _REMOTE, "--auto", environment=environment)
    except NbshipError as error:
        raise NbshipError(
            f"Git cannot clone {web_address(address) or 'the repository'}",
            f"check the run's parameter repository, and the token in {upstream.TOKEN}",
            error.details,
        ) from None


def _resolve(folder: Path, revision: str) -> str:
    for name in (f"refs/remotes/{_REMOTE}/{revision or 'HEAD'}", revision):
        try:
            return snapshot.resolve(folder, name)
        except UsageError:
            continue
    raise UsageError(
        f"the repository has no revision '{revision}'", "push it first, or submit with another revision"
    )


def _identify(folder: Path, address: str) -> None:
    """A container has no user whose name Git could put on commits and tags."""
    known = git.call(folder, "config", "--get", "user.email").stdout.strip()
    if known or os.environ.get("GIT_COMMITTER_EMAIL"):
        return
    git.output(folder, "config", "user.name", "nbship")
    git.output(folder, "config", "user.email", f"nbship@{urlsplit(address).hostname or 'localhost'}")
