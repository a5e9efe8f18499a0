"""Git and DVC as a user types them, for tests."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from nbship.versions import dvc


def git(root: Path, *arguments: str) -> str:
    """Runs Git in a project; returns what it prints."""
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


def set_remote(root: Path, url: str) -> None:
    """Sets the default DVC remote as `dvc remote add --local --default` does."""
    (root / ".dvc/config.local").write_text(
        f"[core]\n    remote = shared\n['remote \"shared\"']\n    url = {url}\n"
    )


def track(root: Path, name: str, content: bytes) -> Path:
    """Writes the `.dvc` file of a content that is not there."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    tracked = dvc.Tracked(md5(content), len(content))
    dvc.tracking_file(path).write_text(dvc.tracking_text(path, tracked))
    return path


def put_in_remote(remote: Path, content: bytes, *, under: bytes | None = None) -> Path:
    """Puts a content into a DVC remote, or a wrong one under the name of another content."""
    digest = md5(content if under is None else under)
    path = remote / "files/md5" / digest[:2] / digest[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def md5(content: bytes) -> str:
    """Returns the hash by which DVC knows a content."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
