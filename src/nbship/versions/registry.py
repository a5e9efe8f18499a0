"""The model registry: `models/NAME/` is the champion, GTO's tags `NAME@v1.2.3` are the versions.

A new champion is staged beside the old one, and put in place file by file once a journal says that all of it
is there. Killed at any point, the next `recover` finishes what the journal began, or throws away what was
staged. What is in a model's description is not known here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Literal

from nbship import files
from nbship.errors import NbshipError, Report
from nbship.files import disk_error
from nbship.package import COMPILED, DESCRIPTION, MODEL
from nbship.package.sample import SAMPLE
from nbship.package.trained import TRAINED_ROWS
from nbship.versions import dvc, git

MODELS = "models"
_STAGING = ".staging"
_JOURNAL = "journal.json"


@dataclass(frozen=True)
class Version:
    """A registered version of a model.

    Attributes:
        name: The model.
        version: Such as `v1.2.0`.
        commit: The commit that holds it.
        created: When it was registered.
        message: What was said of it then.
        active: False once it was deregistered.
        stages: The stages that it is in, such as `production`.
    """

    name: str
    version: str
    commit: str
    created: datetime
    message: str
    active: bool = True
    stages: tuple[str, ...] = ()


def model_folder(root: Path, name: str) -> Path:
    """Returns the folder of a model's champion."""
    return root / MODELS / name


def versioned_files(root: Path, name: str) -> list[Path]:
    """Returns the files of a champion that Git keeps; the model itself is DVC's."""
    folder = model_folder(root, name)
    return [dvc.tracking_file(folder / MODEL), folder / DESCRIPTION]


def champion(root: Path, name: str, report: Report = lambda _: None) -> Path | None:
    """Returns the champion's model file, brought here by DVC if need be; None if there is no champion.

    Raises:
        NbshipError: The file is not the one that its `.dvc` file names, or no remote has it.
    """
    folder = model_folder(root, name)
    if (folder / _STAGING).exists():
        with exclusive(root, name, report):
            recover(root, name)
    model = folder / MODEL
    state = dvc.state(model)
    if state is dvc.FileState.UNTRACKED:
        return None
    if state is not dvc.FileState.SAME:
        restore = f"dvc checkout --force {dvc.tracking_file(model).relative_to(root)}"
        dvc.pull(root, model, report=report, restore=restore)
    return model


def trained_rows(root: Path, name: str, report: Report = lambda _: None) -> Path | None:
    """Returns the hashes of the rows that the champion was trained on, brought here by DVC if need be.

    Returns:
        The file; None where there is no champion, or it was published without.

    Raises:
        NbshipError: The file is not the one that the `.dvc` file names, or no remote has it.
    """
    return _beside(root, name, TRAINED_ROWS, report)


def compiled(root: Path, name: str, report: Report = lambda _: None) -> Path | None:
    """Returns the champion's compiled form; for the rest see `trained_rows`."""
    return _beside(root, name, COMPILED, report)


def reference_sample(root: Path, name: str, report: Report = lambda _: None) -> Path | None:
    """Returns the sample that what the champion is asked is compared with; see `trained_rows`."""
    return _beside(root, name, SAMPLE, report)


def _beside(root: Path, name: str, file: str, report: Report) -> Path | None:
    model = model_folder(root, name) / MODEL
    path = model.with_name(file)
    state = dvc.state(path, owner=model)
    if state is dvc.FileState.UNTRACKED:
        return None
    if state is not dvc.FileState.SAME:
        restore = f"dvc checkout --force {dvc.tracking_file(model).relative_to(root)}"
        dvc.pull(root, path, report=report, restore=restore, owner=model)
    return path


@contextlib.contextmanager
def exclusive(root: Path, name: str, report: Report = lambda _: None) -> Iterator[None]:
    """Keeps every other process from changing the champion meanwhile; ends with the process, however it ends.

    Raises:
        NbshipError: The folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    path = root / ".nbship" / f"publish-{name}.lock"
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        report(f"waiting for another process that publishes {name}")
        lock.acquire()
    except OSError as error:
        raise disk_error(error, path) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def staged(root: Path, name: str) -> Iterator[Path]:
    """Gives an empty folder for the files of a new champion, and puts them in place if all goes well.

    To be used under `exclusive`, after `recover`.

    Raises:
        NbshipError: The disk is full or the folder cannot be written to; the old champion is whole.
    """
    folder = model_folder(root, name)
    staging = folder / _STAGING
    try:
        staging.mkdir(parents=True)
        (staging / ".gitignore").write_text("*\n", encoding="utf-8")
        yield staging
        _seal(staging)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
        if isinstance(error, OSError):
            raise disk_error(error, folder) from None
        raise
    recover(root, name)


def recover(root: Path, name: str) -> None:
    """Puts sealed files in place, or throws unsealed ones away, if a publishing was cut off.

    To be used under `exclusive`.

    Raises:
        NbshipError: The folder cannot be written to; the next call goes on.
    """
    folder = model_folder(root, name)
    staging = folder / _STAGING
    if not staging.exists():
        return
    try:
        journal = staging / _JOURNAL
        if journal.exists():
            for file in json.loads(journal.read_text(encoding="utf-8")):
                if (staging / file).exists():
                    (staging / file).replace(folder / file)
            _sync(folder)
            # The journal goes first: a folder without one is only rubbish.
            journal.unlink()
        shutil.rmtree(staging)
    except OSError as error:
        raise disk_error(error, folder) from None


def versions(root: Path, name: str) -> list[Version]:
    """Returns the registered versions of a model, the newest first.

    Raises:
        NbshipError: There is no Git repository, or GTO cannot read its tags.
    """
    from gto.exceptions import ArtifactNotFound

    with _gto(root) as api:
        try:
            shown = api.show(str(root), name, registered_only=True, deprecated=True)
        except ArtifactNotFound:
            shown = []
    return [
        Version(
            name=name,
            version=entry["version"],
            commit=entry["commit_hexsha"],
            created=entry["created_at"],
            message=entry["message"],
            active=entry["is_active"],
            stages=tuple(sorted(stage["stage"] for stage in entry["stages"])),
        )
        for entry in sorted(shown, key=lambda entry: version_numbers(entry["version"]), reverse=True)
    ]


def next_version(latest: str, change: Literal["major", "minor", "patch"]) -> str:
    """Returns the version after another; the first one if that is empty."""
    major, minor, patch = version_numbers(latest) if latest else (0, 0, 0)
    if change == "major" or not latest:
        return f"v{major + 1}.0.0"
    return f"v{major}.{minor + 1}.0" if change == "minor" else f"v{major}.{minor}.{patch + 1}"


def register(root: Path, name: str, version: str, commit: str, message: str) -> str:
    """Registers a version with GTO: an annotated tag on the commit that holds the model.

    Returns:
        The tag.

    Raises:
        NbshipError: Git does not know who makes the tag, or GTO refuses it.
    """
    who = git.identity(root)
    with _gto(root) as api:
        made = api.register(
            str(root),
            name,
            ref=commit,
            version=version,
            message=message,
            author=who.name,
            author_email=who.email,
        )
    return str(made.tag)


@contextlib.contextmanager
def _gto(root: Path) -> Iterator[ModuleType]:
    """Gives GTO's interface, whose errors become ours."""
    git.require_repository(root)
    from dvc.scm import SCMError
    from gto import api
    from gto.exceptions import GTOException

    try:
        yield api
    except (GTOException, SCMError, OSError) as error:
        raise NbshipError(f"GTO: {error}", "look at the tags: gto show, git tag") from None


def version_numbers(version: str) -> tuple[int, int, int]:
    """Returns the numbers of a version such as `v1.2.0`, by which versions are ordered."""
    major, minor, patch = version.removeprefix("v").split("-")[0].split("+")[0].split(".")
    return int(major), int(minor), int(patch)


def _seal(staging: Path) -> None:
    """Writes the journal, after which the staged files will be put in place whatever happens."""
    names = sorted(path.name for path in staging.iterdir() if path.name != ".gitignore")
    for name in names:
        _sync(staging / name)
    _sync(staging)
    files.write_text(staging / _JOURNAL, json.dumps(names))
    _sync(staging)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
