"""The few things that nbship asks of Git: which revision this is, a commit of given files, a file as it was.

Calls the `git` program, without a shell, so that the user's settings and hooks hold. Never rewrites history,
never touches what the user has staged. What is said to another repository is the business of `upstream`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbship.errors import NbshipError, without_credentials

# What Git writes into its folder while one of them is under way.
_OPERATIONS = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
}


@dataclass(frozen=True)
class Revision:
    """A commit; `dirty` if files that Git tracks differ from it. The commit is empty before the first one."""

    commit: str
    dirty: bool


@dataclass(frozen=True)
class Identity:
    """Who makes a commit or a tag."""

    name: str
    email: str


def in_repository(root: Path) -> bool:
    """Returns whether a folder belongs to a Git repository."""
    folder = root.absolute()
    return any((parent / ".git").exists() for parent in (folder, *folder.parents))


def require_repository(root: Path) -> None:
    """Checks that a folder belongs to a Git repository.

    Raises:
        NbshipError: It does not.
    """
    if not in_repository(root):
        raise NbshipError(f"{root}: no Git repository here or in a parent folder", "make one: nbship init")


def revision(root: Path) -> Revision | None:
    """Returns the revision that is checked out, or None where there is no repository.

    Raises:
        NbshipError: Git failed.
    """
    if not in_repository(root):
        return None
    # Without the optional lock, a `git add` of the user's at the same moment does not fail.
    status = output(
        root, "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no"
    ).splitlines()
    commit = next(line.split()[2] for line in status if line.startswith("# branch.oid"))
    dirty = any(not line.startswith("#") for line in status)
    return Revision("" if commit == "(initial)" else commit, dirty)


def branch(root: Path) -> str:
    """Returns the branch that is checked out; empty where there is none, as in most CI jobs."""
    return call(root, "symbolic-ref", "--quiet", "--short", "HEAD").stdout.strip()


def identity(root: Path) -> Identity:
    """Returns who would make a commit here.

    Raises:
        NbshipError: Git does not know.
    """
    try:
        written = output(root, "var", "GIT_COMMITTER_IDENT")
    except NbshipError as error:
        raise NbshipError(
            "Git does not know who you are",
            'tell it: git config user.name "Your Name"; git config user.email you@example.org',
            error.details,
        ) from None
    name, _, rest = written.partition(" <")
    return Identity(name, rest.partition(">")[0])


def require_no_operation(root: Path) -> None:
    """Checks that no merge, rebase, cherry-pick or revert of the user's is half done.

    Raises:
        NbshipError: One is: a commit now would become a part of it, or be lost with it.
    """
    for name, operation in _OPERATIONS.items():
        if (root / output(root, "rev-parse", "--git-path", name).strip()).exists():
            raise NbshipError(
                f"a {operation} is not finished in this repository",
                f"finish it first: git {operation} --continue; or abort it: git {operation} --abort",
            )


def committed(root: Path, paths: Sequence[Path]) -> bool:
    """Returns whether the commit that is checked out holds these files just as they are on disk."""
    names = [str(path.absolute()) for path in paths]
    return succeeds(root, "ls-files", "--error-unmatch", "--", *names) and succeeds(
        root, "diff", "--quiet", "HEAD", "--", *names
    )


def ignored(root: Path, paths: Sequence[Path]) -> list[Path]:
    """Returns those of these files that Git neither has nor would take."""
    if not paths or not in_repository(root):
        return []
    names = "\0".join(str(path.absolute()) for path in paths)
    # The command knows no literal paths.
    plain = {"GIT_LITERAL_PATHSPECS": "0"}
    listed = call(root, "check-ignore", "-z", "--stdin", text=names, environment=plain).stdout
    return [Path(name) for name in listed.split("\0") if name]


def commit(root: Path, paths: Sequence[Path], message: str) -> str:
    """Commits these files as they are on disk, and nothing else; what else is staged stays staged.

    Returns:
        The new commit.

    Raises:
        NbshipError: Git refused, as when a hook fails or a merge is not finished.
    """
    names = [str(path.absolute()) for path in paths]
    output(root, "add", "--", *names)
    output(root, "commit", "--quiet", "--only", "--message", message, "--", *names)
    return output(root, "rev-parse", "HEAD").strip()


def last_change(root: Path, paths: Sequence[Path]) -> str:
    """Returns the last commit that changed one of these files; empty if none did."""
    return output(root, "log", "-1", "--format=%H", "--", *(str(path.absolute()) for path in paths)).strip()


def read_at(root: Path, revision: str, path: Path) -> str | None:
    """Returns a text file as it was at a revision, or None if it was not there."""
    name = f"{revision}:./{path.relative_to(root).as_posix()}"
    return output(root, "show", name) if succeeds(root, "cat-file", "-e", name) else None


def output(root: Path, *arguments: str, text: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Runs a Git command and returns what it prints.

    Args:
        root: A folder of the repository.
        arguments: The command.
        text: Its standard input.
        environment: Variables for it alone.

    Raises:
        NbshipError: It ended with another exit code than 0.
    """
    result = call(root, *arguments, text=text, environment=environment)
    if result.returncode != 0:
        command = next(argument for argument in arguments if not argument.startswith("-"))
        raise NbshipError(
            f"git {command} failed with exit code {result.returncode}",
            "see what Git says above",
            said(result),
        )
    return result.stdout


def succeeds(root: Path, *arguments: str) -> bool:
    """Asks a question that Git answers with exit code 0 for yes, and 1 or 128 for no."""
    return call(root, *arguments).returncode == 0


def said(result: subprocess.CompletedProcess[str]) -> str:
    """Returns what Git said of a failure, without the credentials that an address may hold."""
    return without_credentials((result.stderr or result.stdout).strip())


def call(
    root: Path, *arguments: str, text: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a Git command, whatever its exit code will be; the arguments are those of `output`."""
    # A path is a path, whatever characters it has; and nothing waits for a password.
    fixed = {"GIT_LITERAL_PATHSPECS": "1", "GIT_TERMINAL_PROMPT": "0"}
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=root,
            capture_output=True,
            input=text,
            encoding="utf-8",
            errors="replace",
            check=False,
            env={**os.environ, **fixed, **(environment or {})},
        )
    except FileNotFoundError:
        raise NbshipError("git is not installed", "install Git") from None
