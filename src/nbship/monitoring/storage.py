"""Where records are kept: a folder, or whatever fsspec has a filesystem for, such as S3.

Files appear whole or not at all. What is in them is the business of `partitions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nbship.errors import NbshipError, without_credentials
from nbship.files import write_bytes

T = TypeVar("T")


@dataclass(frozen=True)
class Storage:
    """A place for files.

    Attributes:
        address: Such as `s3://bucket/prefix`, or a folder.
        system: It, as fsspec has it.
        base: The address as the system says it.
        local: Whether it is a folder of this machine.
    """

    address: str
    system: Any
    base: str
    local: bool

    def write(self, path: str, content: bytes) -> None:
        """Writes a file: all of it or nothing.

        Raises:
            NbshipError: It cannot be written.
        """
        if self.local:
            write_bytes(Path(self.base, path), content)
            return
        with self._told():
            self.system.pipe_file(f"{self.base}/{path}", content)

    def read(self, path: str) -> bytes | None:
        """Returns the bytes of a file; None if it is not there.

        Raises:
            NbshipError: It cannot be read.
        """
        with self._told():
            try:
                return bytes(self.system.cat_file(f"{self.base}/{path}"))
            except FileNotFoundError:
                return None

    def names(self, folder: str) -> list[str]:
        """Returns the names of what is in a folder, sorted, but hidden ones; none if it is not there.

        Raises:
            NbshipError: It cannot be read.
        """
        with self._told():
            try:
                paths = self.system.ls(f"{self.base}/{folder}".rstrip("/"), detail=False)
            except FileNotFoundError:
                return []
        names = (str(path).rstrip("/").rpartition("/")[2] for path in paths)
        return sorted(name for name in names if name and not name.startswith("."))

    def remove(self, path: str) -> None:
        """Removes a file, if it is there.

        Raises:
            NbshipError: It cannot be removed.
        """
        with self._told():
            try:
                self.system.rm_file(f"{self.base}/{path}")
            except FileNotFoundError:
                return
            if self.local and not any((folder := Path(self.base, path).parent).iterdir()):
                folder.rmdir()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except NbshipError:
            raise
        except Exception as error:  # a filesystem raises whatever its client library does
            raise _failure(self.address, error) from None


def open_storage(address: str) -> Storage:
    """Opens a place for files; nothing is read or written yet.

    Args:
        address: A folder, or an address such as `s3://bucket/prefix`; its keys come from the environment.

    Raises:
        NbshipError: It holds credentials, is not understood, or its kind needs what is not installed.
    """
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    if without_credentials(address) != address:
        raise NbshipError(
            f"the address of the store of records holds credentials: {address}",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what fsspec reads for this kind of store",
        )
    try:
        system, base = fsspec.core.url_to_fs(address, use_listings_cache=False, skip_instance_cache=True)
    except ImportError as error:
        hint = "pip install 'nbship[s3]'" if address.startswith("s3:") else "install what it names"
        raise NbshipError(f"{address} cannot be opened: {error}", hint) from None
    except Exception as error:  # whatever its client library raises
        raise _failure(address, error) from None
    return Storage(address, system, str(base).rstrip("/"), isinstance(system, LocalFileSystem))


def _failure(address: str, error: Exception) -> NbshipError:
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return NbshipError(
        f"the store of records {address} failed: {said}", "see that it is there and that you may use it"
    )


def each(items: list[T], act: Callable[[T], Any]) -> list[Any]:
    """Does something with many files, some at a time: a store far away answers late, not little."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(act, items))
