"""The user's commit hooks, run on a commit that is made beside the branch.

`git commit` would run them by itself, but it moves the branch; what is pushed must be made before anything
here moves. They see what `git commit --only` shows them: these files, staged on the commit checked out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from nbship.errors import NbshipError
from nbship.files import content_hash
from nbship.versions import git


def check_files(root: Path, paths: Sequence[Path]) -> None:
    """Runs the hook `pre-commit` on a commit of these files.

    Raises:
        NbshipError: It refuses them, or changes them.
    """
    if not _has_hook(root, "pre-commit"):
        return
    before = [content_hash(path) for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        git.output(root, "read-tree", "HEAD", environment=index)
        git.output(root, "add", "--", *(str(path.absolute()) for path in paths), environment=index)
        _run(root, "pre-commit", environment=index)
    if [content_hash(path) for path in paths] != before:
        raise NbshipError(
            "your hook pre-commit has changed the model's files",
            "leave models/ out of it: what model.json says of the model must stay as it is",
        )


def check_message(root: Path, message: str) -> str:
    """Runs the hooks `prepare-commit-msg` and `commit-msg`, and returns the message as they leave it.

    Raises:
        NbshipError: One of them refuses it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "COMMIT_EDITMSG")
        path.write_text(f"{message}\n", encoding="utf-8")
        for hook, *arguments in (("prepare-commit-msg", "message"), ("commit-msg",)):
            if _has_hook(root, hook):
                _run(root, hook, str(path), *arguments)
        return path.read_text(encoding="utf-8").rstrip("\n")


def _has_hook(root: Path, hook: str) -> bool:
    path = Path(git.output(root, "rev-parse", "--git-path", f"hooks/{hook}").strip())
    return (root / path).is_file()


def _run(root: Path, hook: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
    result = git.call(root, "hook", "run", hook, "--", *arguments, environment=environment)
    if result.returncode == 0:
        return
    if "is not a git command" in result.stderr:
        raise NbshipError(f"Git is too old to run your hook {hook} here", "use Git 2.36 or later")
    raise NbshipError(
        f"your hook {hook} refuses the commit of the model", "see what it says above", git.said(result)
    )
