"""Contents under DVC that no `.dvc` file here names: not yet, for another branch, or not any more."""

from __future__ import annotations

from pathlib import Path

from nbship.errors import NbshipError, Report
from nbship.versions.dvc import Tracked, _cached, _first_line, _open, store
from nbship.versions.tracking import md5_in


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


def read_content(root: Path, tracking: str, name: str, report: Report = lambda _: None) -> bytes | None:
    """Returns a file of an earlier version, whose `.dvc` file need not be here any more.

    Args:
        root: The project's folder.
        tracking: The text of that `.dvc` file.
        name: The file, of those that it tracks.
        report: Told in a line where the file comes from.

    Returns:
        None if the `.dvc` file does not track it.

    Raises:
        NbshipError: Neither DVC's cache nor the user's default remote has it.
    """
    md5 = md5_in(tracking, name)
    if not md5:
        return None
    with _open(root) as repo:
        if _cached(repo, md5):
            return Path(repo.cache.local.oid_to_path(md5)).read_bytes()
        remote = repo.config["core"].get("remote")
        report(f"{name}: fetching it from the DVC remote '{remote}'")
        try:
            place = repo.cloud.get_remote_odb()
            return bytes(place.fs.cat_file(place.oid_to_path(md5)))
        except Exception as error:  # a remote raises whatever its client library does
            raise NbshipError(
                f"no DVC remote gives {name} of that version: {_first_line(error)}",
                "push it from where it was published: dvc push",
            ) from None
