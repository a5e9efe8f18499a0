"""Files written so that a reader, or a process killed half-way, never meets half of one.

Also the content hash by which the cache and the records know a file or a folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from nbship.errors import NbshipError


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically: to a temporary name beside it, then renamed.

    Raises:
        NbshipError: The disk is full or the folder cannot be written; the old file is whole.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically; see `write_text`."""
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise disk_error(error, path) from None
    finally:
        remove(temporary)


def link(source: Path, target: Path) -> None:
    """Puts a file or folder at a second place without a second copy of its bytes, where the disk can do that.

    The two places share their content, so the file is made read-only. A target that is there stays.

    Raises:
        NbshipError: The disk is full or the target cannot be written.
    """
    if target.exists():
        return
    if source.is_file() and not source.is_symlink():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.chmod(0o444)
            os.link(source, target)
            return
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                raise disk_error(error, target) from None
    try:
        copy(source, target)
    except NbshipError:
        if not target.exists():  # nobody else put it there meanwhile
            raise


def copy(source: Path, target: Path) -> None:
    """Copies a file or folder, atomically for a reader of the target, which must not exist or be a file.

    Raises:
        NbshipError: The disk is full or the target cannot be written.
    """
    temporary = _temporary(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, temporary)
        else:
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    except OSError as error:
        raise disk_error(error, target) from None
    finally:
        remove(temporary)


def replace_by_copy(path: Path) -> None:
    """Puts a copy in the place of a link, or of a file that has a second name elsewhere.

    Raises:
        NbshipError: The disk is full, or it cannot be copied.
    """
    source = path.resolve()
    if path.is_symlink():
        path.unlink()
    copy(source, path)


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there and may be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def below(folder: Path) -> Iterator[Path]:
    """Yields all that is in a folder and its folders, links to folders followed, in no order.

    Raises:
        OSError: A folder cannot be read, or a link leads back to a folder that it is in.
    """
    yield from _below(folder, (folder.resolve(),))


def _below(folder: Path, inside: tuple[Path, ...]) -> Iterator[Path]:
    for path in folder.iterdir():
        yield path
        if path.is_dir():
            real = path.resolve() if path.is_symlink() else inside[-1] / path.name
            if path.is_symlink() and real in inside:
                raise OSError(errno.ELOOP, "a link to a folder that it is in", str(path))
            yield from _below(path, (*inside, real))


def content_hash(path: Path) -> str:
    """Returns the SHA-256 of a file, or of a folder's relative paths and contents; links are followed.

    Raises:
        OSError: Something cannot be read, or is a pipe or a device, which may have no end.
    """
    if not path.is_dir():
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(errno.EINVAL, "neither a file nor a folder", str(path))
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for child in sorted(p for p in below(path) if p.is_file()):
        digest.update(os.fsencode(f"{child.relative_to(path).as_posix()}\0{content_hash(child)}\n"))
    return digest.hexdigest()


def disk_error(error: OSError, path: Path) -> NbshipError:
    """Turns an operating system's error about a path into one that says what to do."""
    text = error.strerror or str(error)
    if isinstance(error, shutil.Error):  # of a folder: what happened to each file, as text
        text = "; ".join(reason for _, _, reason in error.args[0][:3])
    full = (errno.ENOSPC, errno.EDQUOT)
    is_full = error.errno in full or any(f"[Errno {number}]" in text for number in full)
    return NbshipError(
        f"{path}: {text}", "free some disk space" if is_full else "check the path and its permissions"
    )


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
