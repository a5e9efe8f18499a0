"""Keeps kernels from running what a module of the project was before it was edited.

Python takes bytecode from `__pycache__` for that of a source with the same size and the same whole second of
its time, so of two edits within a second it may run the first. What is not sure to be of the source as it
is now is removed, as Git reads again what was changed when its index was written. Libraries keep theirs.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from nbship.errors import NbshipError

_HEADER = 16
# The forms of https://peps.python.org/pep-0552: by the source's time and size, by its hash, and by its
# hash when that is never looked at.
_BY_TIME, _NEVER_CHECKED = 0, 0b01
_SECOND = 1_000_000_000


def discard_stale(files: Iterable[Path]) -> None:
    """Removes the bytecode of modules that Python would load although it may be of an earlier source.

    Args:
        files: What a step uses of the project; only modules have bytecode.

    Raises:
        NbshipError: There is such bytecode, and it may not be removed.
    """
    for source in files:
        for path in _bytecode(source) if source.suffix == ".py" else ():
            try:
                if _may_be_stale(source, path):
                    path.unlink()
            except FileNotFoundError:
                continue  # another run was faster
            except OSError as error:
                raise NbshipError(
                    f"{source}: steps may get an earlier version of it, from {path}: {error.strerror}",
                    f"remove {path.name}, or save the module once more",
                ) from None


def _bytecode(source: Path) -> Iterator[Path]:
    """The files of every version and optimization level, beside the source or where Python keeps them."""
    folders = {Path(importlib.util.cache_from_source(source)).parent, source.parent / "__pycache__"}
    for folder in sorted(folders):
        yield from folder.glob(f"{_literal(source.stem)}.*.pyc")


def _literal(name: str) -> str:
    """A name in a pattern; of what is special in one, a module's file may hold brackets."""
    return name.replace("[", "[[]")


def _may_be_stale(source: Path, bytecode: Path) -> bool:
    with bytecode.open("rb") as file:
        header, written = file.read(_HEADER), os.fstat(file.fileno()).st_mtime_ns
    flags = int.from_bytes(header[4:8], "little")
    if flags == _NEVER_CHECKED:
        return header[8:16] != importlib.util.source_hash(source.read_bytes())
    now = source.stat()
    time, size = (int.from_bytes(header[start : start + 4], "little") for start in (8, 12))
    is_taken = (time, size) == (int(now.st_mtime) & 0xFFFFFFFF, now.st_size & 0xFFFFFFFF)
    # A copy may keep the time of what it is copied from, which the time of its last change tells. An edit
    # may fall between Python's look at a source and its writing the bytecode, hence the second.
    changed = max(now.st_mtime_ns, now.st_ctime_ns)
    return flags == _BY_TIME and is_taken and written <= changed + _SECOND
