"""What a `.dvc` file says of a file, and how that stands to it; read without DVC, so that it costs nothing.

Bringing, keeping and pushing files is the business of `dvc`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml

from nbship.errors import NbshipError
from nbship.files import disk_error


class FileState(StrEnum):
    """How a file stands to its `.dvc` file."""

    SAME = "same"
    MISSING = "missing"
    EDITED = "edited"
    UNTRACKED = "untracked"


@dataclass(frozen=True)
class Tracked:
    """What a `.dvc` file says of its file; the size is in bytes, None if it does not say."""

    md5: str
    size: int | None


def tracking_file(path: Path) -> Path:
    """Returns the `.dvc` file that tracks a file."""
    return path.with_name(f"{path.name}.dvc")


def tracking_text(path: Path, tracked: Tracked, **beside: Tracked) -> str:
    """Returns what `dvc add` writes into the `.dvc` file of a file.

    Args:
        path: The file.
        tracked: What is to be said of it.
        beside: By name, files of the same folder that go with it, so that its `.dvc` file tracks them too.
    """
    outs = [
        {"md5": each.md5, "size": each.size, "hash": "md5", "path": name}
        for name, each in {path.name: tracked, **beside}.items()
    ]
    return yaml.safe_dump({"outs": outs}, sort_keys=False)


def read(path: Path, owner: Path | None = None) -> Tracked | None:
    """Reads what a `.dvc` file says of a file; None if nothing does.

    Args:
        path: The file.
        owner: The file whose `.dvc` file tracks it; itself if not given.

    Raises:
        NbshipError: It cannot be understood, or tracks what nbship does not: a folder, or a hash of DVC 2.
    """
    tracking = tracking_file(owner or path)
    try:
        outs = yaml.safe_load(tracking.read_text(encoding="utf-8"))["outs"]
        found = [out for out in outs if out["path"] == path.name]
        if owner and not found:
            return None
        (output,) = found
        md5, size = str(output["md5"]), output.get("size")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise disk_error(error, tracking) from None
    except (UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
        raise NbshipError(
            f"{tracking}: not a .dvc file with the hash of {path.name}",
            f"track it again: dvc add {path.name}",
        ) from None
    if md5.endswith(".dir"):
        raise NbshipError(f"{tracking}: tracks a folder", "a data file is one file: track an archive of it")
    if output.get("hash") != "md5":
        raise NbshipError(f"{tracking}: has a hash of DVC 2", "migrate it: dvc cache migrate --dvc-files")
    return Tracked(md5, size)


def md5_in(text: str, name: str) -> str:
    """Returns the hash that the text of a `.dvc` file gives for a file; empty if it does not track it."""
    outs = yaml.safe_load(text)["outs"]
    return next((str(out["md5"]) for out in outs if out["path"] == name), "")


def state(path: Path, owner: Path | None = None) -> FileState:
    """Compares a file with its `.dvc` file; reads the file once, if its size is right.

    Args:
        path: The file.
        owner: As for `read`.

    Raises:
        NbshipError: The `.dvc` file cannot be understood, or the file not be read.
    """
    tracked = read(path, owner)
    if tracked is None:
        return FileState.UNTRACKED
    if not path.exists():
        return FileState.MISSING
    return FileState.SAME if _matches(path, tracked) else FileState.EDITED


def _matches(path: Path, tracked: Tracked) -> bool:
    try:
        return tracked.size in (None, path.stat().st_size) and md5_of(path) == tracked.md5
    except OSError as error:
        raise disk_error(error, path) from None


def md5_of(path: Path) -> str:
    """Returns the MD5 of a file, by which DVC knows it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
