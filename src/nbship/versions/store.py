"""The model store: `<store>/<name>/<version>/` with a package's files, from which model servers load.

A version never changes: a file is only ever created, and the description, which is written last, says that
all of it is there. The store is a folder, or anything that DVC has a filesystem for, with DVC's credentials.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nbship.errors import NbshipError, without_credentials
from nbship.files import disk_error, remove, write_bytes
from nbship.package import DESCRIPTION, MODEL
from nbship.versions import dvc

ADDRESS = "NBSHIP_MODEL_STORE"
_FILES = (MODEL, DESCRIPTION)


class TakenError(NbshipError):
    """A version has other files in the store than those that are to be written."""


@dataclass(frozen=True)
class Store:
    """A place for models.

    Attributes:
        address: Such as `s3://bucket/prefix`, or a folder.
        read: Returns the bytes of a file, or None if it is not there; takes its path from the address.
        create: Writes a file that is not there, all of it or nothing.
    """

    address: str
    read: Callable[[str], bytes | None]
    create: Callable[[str, bytes], None]


def open_store(root: Path, address: str) -> Store:
    """Opens a model store; nothing is read or written yet.

    Args:
        root: The project's folder; a store that is a folder may be relative to it.
        address: The store's.

    Raises:
        NbshipError: The address is not understood, or its kind needs what is not installed.
    """
    parts = urlsplit(address)
    if without_credentials(address) != address:
        raise NbshipError(
            f"the address of the model store holds credentials: {address}",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what DVC reads for this kind of store",
        )
    if parts.scheme in ("", "file"):
        folder = root / (parts.path if parts.scheme else address)
        return Store(
            str(folder), lambda path: _read(folder / path), lambda path, b: _create(folder / path, b)
        )
    system, base = dvc.filesystem(root, address.rstrip("/"))

    def create(path: str, content: bytes) -> None:
        _create_remotely(system, f"{base}/{path}", content)

    return Store(address.rstrip("/"), lambda path: _read_remotely(system, f"{base}/{path}"), create)


def is_free(store: Store, name: str, version: str, folder: Path, files: Sequence[str] = _FILES) -> bool:
    """Returns whether the store has nothing else under a version than files of this package."""
    held = ((read(store, name, version, file), _content(folder, file)) for file in files)
    return all(there in (None, content) for there, content in held)


def put(store: Store, name: str, version: str, folder: Path, files: Sequence[str] = _FILES) -> str:
    """Writes a version of a model, if it is not there already.

    Args:
        store: Where to.
        name: The model.
        version: Its version.
        folder: Its package.
        files: Of the package, the description last.

    Returns:
        The address that a model server is given.

    Raises:
        NbshipError: The store has something else under this version, or cannot be written to.
    """
    address = f"{store.address}/{name}/{version}"
    for file in files:
        content = _content(folder, file)
        there = read(store, name, version, file)
        if there is None:
            try:
                store.create(f"{name}/{version}/{file}", content)
            except Exception as error:  # a store raises whatever its client library does
                raise _failure(address, error) from None
            there = read(store, name, version, file)
        if there != content:
            raise TakenError(
                f"the model store has another {file} at {address}",
                "a version never changes: publish again, which takes the next one",
            )
    return address


def read(store: Store, name: str, version: str, file: str) -> bytes | None:
    """Returns a file of a version of a model, or None if the store does not have it.

    Raises:
        NbshipError: The store cannot be read.
    """
    try:
        return store.read(f"{name}/{version}/{file}")
    except Exception as error:  # a store raises whatever its client library does
        raise _failure(store.address, error) from None


def _failure(address: str, error: Exception) -> NbshipError:
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return NbshipError(
        f"the model store {address} failed: {said}", "see that it is there and that you may write to it"
    )


def _content(folder: Path, file: str) -> bytes:
    try:
        return (folder / file).read_bytes()
    except OSError as error:
        raise disk_error(error, folder / file) from None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _create(path: Path, content: bytes) -> None:
    # Beside the version's folder: what a process that is killed leaves behind is not part of the version.
    temporary = path.parent.with_name(f".{path.parent.name}.{secrets.token_hex(4)}")
    try:
        write_bytes(temporary, content)
        path.parent.mkdir(exist_ok=True)
        # Unlike a rename, a link is refused where another process was faster.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        remove(temporary)


def _read_remotely(system: Any, path: str) -> bytes | None:
    try:
        return bytes(system.cat_file(path))
    except FileNotFoundError:
        return None


def _create_remotely(system: Any, path: str, content: bytes) -> None:
    try:
        system.pipe_file(path, content, mode="create")
    except Exception:  # the file is there now, or this kind of store cannot be asked to create
        if _read_remotely(system, path) is None:
            system.pipe_file(path, content)
