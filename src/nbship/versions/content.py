"""Contents under DVC that no `.dvc` file here names yet: what is for another branch."""

from __future__ import annotations

from pathlib import Path

from nbship.errors import NbshipError
from nbship.versions.dvc import Tracked, _first_line, _open, store


def push_content(root: Path, path: Path) -> Tracked:
    """Puts a copy of a file into DVC's cache and onto the user's default remote.

    Raises:
        NbshipError: There is no such remote, or it did not take the file.
    """
    from dvc_data.hashfile.hash_info import HashInfo

    tracked = store(root, path)
    with _open(root) as repo:
        try:
            repo.cloud.push([HashInfo("md5", tracked.md5)])
            there = repo.cloud.get_remote_odb().exists(tracked.md5)
        except Exception as error:  # a remote raises whatever its client library does
            raise NbshipError(
                f"DVC could not push {path.name}: {_first_line(error)}", "check the remote and its keys"
            ) from None
    if not there:
        raise NbshipError(f"DVC pushed {path.name}, but the remote has no such file", "see why: dvc push")
    return tracked
