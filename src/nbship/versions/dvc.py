"""Data files under DVC: their state, and bringing them here from a remote or from where they were published.

A state is read from the `.dvc` file and the file itself, by `tracking`, whose functions are here as well.
Bringing, keeping and pushing go through DVC as a library, with the user's own remotes and cache.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nbship import files
from nbship.config import Source
from nbship.errors import NbshipError, Report
from nbship.files import disk_error
from nbship.versions import git, sources
from nbship.versions.tracking import FileState as FileState
from nbship.versions.tracking import Tracked as Tracked
from nbship.versions.tracking import md5_of
from nbship.versions.tracking import read as read
from nbship.versions.tracking import state as state
from nbship.versions.tracking import tracking_file as tracking_file
from nbship.versions.tracking import tracking_text as tracking_text

if TYPE_CHECKING:
    from dvc.repo import Repo


def pull(
    root: Path,
    path: Path,
    source: Source | None = None,
    force: bool = False,
    report: Report = lambda _: None,
    restore: str = "nbship data pull --force",
    owner: Path | None = None,
) -> Path | None:
    """Brings the version of a file that its `.dvc` file names, if it is not here already.

    It comes from DVC's cache, else the user's DVC remote, else the source; what arrives is checked before the
    file is replaced. A version that DVC's cache has is replaced without a word, as DVC does.

    Args:
        root: The project's folder.
        path: The file.
        source: Where to find it when no remote has it.
        force: Bring it although the file was edited; the edited one is kept beside it.
        report: Told in a line where the file comes from.
        restore: The command by which an error says to bring back the tracked version.
        owner: As for `read`.

    Returns:
        Where the edited file was put; None if there was none.

    Raises:
        NbshipError: The file was edited, nothing has the version, what came is not it, or the disk is full.
            Nothing has changed then.
    """
    tracked = read(path, owner)
    if tracked is None:
        raise NbshipError(f"{path}: no .dvc file tracks it", f"track it: dvc add {path.name}")
    name = path.relative_to(root).as_posix()
    with _open(root) as repo:
        before = state(path, owner)
        if before is FileState.SAME:
            return None
        edited = before is FileState.EDITED and not _cached(repo, md5_of(path))
        if edited and not force:
            raise NbshipError(
                f"{name} was edited since `dvc add`",
                f"keep the edited one: dvc add {name}; restore the tracked one: {restore}",
            )
        if not _cached(repo, tracked.md5):
            _fill_cache(repo, root, path, tracked, source, report, owner or path)
        kept = _keep_beside(path) if edited else None
        _place(repo, tracked, path)
        return kept


def store(root: Path, path: Path) -> Tracked:
    """Puts a copy of a file into DVC's cache; for its `.dvc` file see `tracking_text`.

    Raises:
        NbshipError: There is no DVC repository, or the disk is full.
    """
    tracked = Tracked(md5_of(path), path.stat().st_size)
    with _open(root) as repo:
        if not _cached(repo, tracked.md5):
            _put(repo, path, tracked.md5, move=False)
    return tracked


def push(root: Path, path: Path, *beside: Path) -> None:
    """Pushes a tracked file to the user's default DVC remote, and sees that it is there.

    Args:
        root: The project's folder.
        path: The file.
        beside: Files that its `.dvc` file tracks too.

    Raises:
        NbshipError: There is no such remote, or it did not take the file.
    """
    name = path.relative_to(root).as_posix()
    hashes = [store(root, each).md5 for each in (path, *beside)]
    with _open(root) as repo:
        try:
            repo.push([str(tracking_file(path))])
            # DVC remembers what it once pushed, and passes over what its cache lacks without an error.
            remote = repo.cloud.get_remote_odb()
            there = all(remote.exists(md5) for md5 in hashes)
        except Exception as error:  # a remote raises whatever its client library does
            raise NbshipError(
                f"DVC could not push {name}: {_first_line(error)}",
                f"check the remote and its keys (on Kubeflow, the secret); see why: dvc push {name}.dvc",
            ) from None
    if not there:
        raise NbshipError(
            f"DVC pushed {name}, but the remote has no such file", f"push it: dvc push {name}.dvc"
        )


def filesystem(root: Path, address: str) -> tuple[Any, str]:
    """Opens another place than the user's default DVC remote, with that remote's settings if it is of a kind.

    Returns:
        A filesystem as fsspec defines it, and the path that the address has there.

    Raises:
        NbshipError: The address is not understood, or its kind needs what is not installed.
    """
    from dvc.config import ConfigError, NoRemoteError
    from dvc.fs import RemoteMissingDepsError, get_cloud_fs, known_implementations

    scheme = urlsplit(address).scheme
    with _open(root) as repo:
        try:
            kind, settings, path = get_cloud_fs(repo.config, url=address)
            with contextlib.suppress(NoRemoteError):
                remote = repo.cloud.get_remote().fs
                settings = remote.config if remote.protocol == kind.protocol else settings
            return kind(**settings).fs, str(path)
        except (ConfigError, ImportError, RemoteMissingDepsError) as error:
            missing = {"s3": "'nbship[s3]'"}.get(scheme, f"'dvc[{scheme}]'")
            hint = (
                f"install it: pip install {missing}"
                if scheme in known_implementations
                else "an address begins with s3://, gs:// …, or is a folder"
            )
            raise NbshipError(f"{address} cannot be opened: {_first_line(error)}", hint) from None


def default_remote(root: Path) -> str:
    """Returns the name of the user's default DVC remote; empty if none is set."""
    with _open(root) as repo:
        return str(repo.config["core"].get("remote") or "")


@contextlib.contextmanager
def _open(root: Path) -> Iterator[Repo]:
    """Opens the DVC repository: quietly, and once another process that uses it is done."""
    from dvc.config import ConfigError
    from dvc.exceptions import NotDvcRepoError
    from dvc.logger import set_loggers_level
    from dvc.repo import Repo

    settings = {} if git.in_repository(root) else {"core": {"no_scm": True}}
    with set_loggers_level(logging.CRITICAL):
        try:
            with contextlib.closing(Repo(str(root), config=settings, _wait_for_lock=True)) as repo:
                yield repo
        except NotDvcRepoError:
            raise NbshipError(
                f"{root}: no DVC repository here or in a parent folder", "make one: nbship init"
            ) from None
        except ConfigError as error:
            raise NbshipError(
                f"DVC: {_first_line(error)}", "correct .dvc/config or .dvc/config.local"
            ) from None
        except (OSError, sqlite3.Error) as error:
            hint = "see that the disk is not full, and that .dvc and DVC's site cache can be written to"
            raise NbshipError(f"DVC failed in {root}: {_first_line(error)}", hint) from None


def _fill_cache(
    repo: Repo,
    root: Path,
    path: Path,
    tracked: Tracked,
    source: Source | None,
    report: Report,
    owner: Path,
) -> None:
    name = path.relative_to(root).as_posix()
    reason = _from_remote(repo, path, tracked, report, owner)
    if not reason:
        return
    if source is None:
        raise NbshipError(
            f"{name}: {reason}",
            f"set a remote: dvc remote add --local --default NAME URL; see why it fails: dvc pull {name}",
        )
    report(f"{name}: {reason}; fetching it from {sources.describe(source)}")
    _from_source(repo, root, path, tracked, source)


def _from_remote(repo: Repo, path: Path, tracked: Tracked, report: Report, owner: Path) -> str:
    """Fetches a file into DVC's cache; returns why the remote did not give it, or nothing."""
    remote = repo.config["core"].get("remote")
    if remote:
        report(f"{path.name}: fetching it from the DVC remote '{remote}'")
    try:
        repo.fetch([str(tracking_file(owner))])
    except Exception as error:  # a remote raises whatever its client library does
        reason = f"the DVC remote '{remote}' failed: {_first_line(error)}"
    else:
        reason = f"the DVC remote '{remote}' does not have it"
    cached = _cache_path(repo, tracked.md5)
    if not cached.exists():
        return reason if remote else "no DVC remote is set"
    if md5_of(cached) != tracked.md5:
        files.remove(cached)
        raise NbshipError(
            f"what the DVC remote '{remote}' has for {path.name} is not what {owner.name}.dvc names",
            "push it again from a complete copy: dvc push",
        )
    return ""


def _from_source(repo: Repo, root: Path, path: Path, tracked: Tracked, source: Source) -> None:
    with tempfile.TemporaryDirectory(dir=repo.tmp_dir) as folder:
        fetched = Path(folder) / path.name
        sources.fetch(source, fetched, root)
        digest = md5_of(fetched)
        if digest != tracked.md5:
            where = sources.describe(source)
            raise NbshipError(
                f"{where} is not what {path.name}.dvc names: md5 {digest}, not {tracked.md5}",
                f"correct `source`; or, if the new content is right, save it as {path.name} and `dvc add` it",
            )
        _put(repo, fetched, tracked.md5, move=True)


def _put(repo: Repo, path: Path, md5: str, move: bool) -> None:
    from dvc.fs import localfs

    try:
        repo.cache.local.add(str(path), localfs, md5, hardlink=move)
    except OSError as error:
        raise disk_error(error, _cache_path(repo, md5)) from None


def _place(repo: Repo, tracked: Tracked, path: Path) -> None:
    """Puts the cached file into the workspace in one step, linked or copied as DVC is set up to."""
    from dvc.fs import localfs
    from dvc_objects.fs.generic import transfer

    cache = repo.cache.local
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            placed = Path(folder) / path.name
            transfer(
                localfs, cache.oid_to_path(tracked.md5), localfs, str(placed), links=list(cache.cache_types)
            )
            placed.replace(path)
    except OSError as error:
        raise disk_error(error, path) from None


def _keep_beside(path: Path) -> Path:
    """Copies an edited file to a name that its content decides, so that twice makes no second copy."""
    kept = path.with_name(f"{path.name}.edited-{md5_of(path)[:8]}")
    files.copy(path, kept)
    return kept


def _cached(repo: Repo, md5: str) -> bool:
    """Returns whether DVC's cache has a file; a damaged one is removed, as DVC does."""
    cached = _cache_path(repo, md5)
    if cached.exists() and md5_of(cached) != md5:
        files.remove(cached)
    return cached.exists()


def _cache_path(repo: Repo, md5: str) -> Path:
    return Path(repo.cache.local.oid_to_path(md5))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
