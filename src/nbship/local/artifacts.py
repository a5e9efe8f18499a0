"""The files that a step reads and writes: inputs stay what they were, outputs are plain files and folders.

The same here and on Kubeflow. Not for running notebooks, nor for what a model or a table holds.
"""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbship.files import below, content_hash, replace_by_copy
from nbship.local.execute import StepError
from nbship.notebook import Notebook

# A file that changed within a tick of the clock of its last change may show the same times.
_TOO_FRESH = 100_000_000
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Contents:
    """Knows what files and folders held when they were hashed. Threads may share it.

    Times can be set back, the time of the last change of a file's metadata cannot; so what looks the same in
    that, in size, place and times is the same, and only what does not is hashed again.
    """

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[object, str]] = {}
        self._lock = threading.Lock()

    def hash(self, path: Path) -> str:
        """Returns the content hash of a file or folder.

        Raises:
            OSError: Something cannot be read.
        """
        looks = _file_stamps(path)
        digest = content_hash(path)
        with self._lock:
            if looks is None:
                self._seen.pop(path, None)
            else:
                self._seen[path] = (looks, digest)
        return digest

    def holds(self, path: Path, digest: str) -> bool:
        """Returns whether a file or folder still has a content hash."""
        try:
            with self._lock:
                seen = self._seen.get(path)
            return seen == (_file_stamps(path), digest) or self.hash(path) == digest
        except OSError:
            return False


@dataclass(frozen=True)
class Input:
    """What a step reads.

    Attributes:
        path: The file or folder.
        hash: Its content hash, by which the step is known to the cache.
        place: What messages call it.
        remedy: How to get it back.
    """

    path: Path
    hash: str
    place: str
    remedy: str


@contextmanager
def unaltered(notebook: Notebook, inputs: Mapping[str, Input], contents: Contents) -> Iterator[None]:
    """Fails a step whose inputs are not, before and after it, what they were when they were hashed.

    Args:
        notebook: What runs meanwhile.
        inputs: Its inputs by variable.
        contents: What they held.

    Raises:
        StepError: An input was altered; says which, and how to get it back.
    """
    for name, given in inputs.items():
        if not contents.holds(given.path, given.hash):
            raise StepError(
                f"{notebook.path.name}: its input '{name}' ({given.place}) was altered before it ran",
                f"a step must not write to its inputs; {given.remedy}",
            )
    try:
        yield
    except StepError as error:
        for altered in _altered(notebook, inputs, contents):
            told = f"{altered.message}; {altered.hint}"
            details = "\n".join(filter(None, [error.details, told]))
            raise StepError(error.message, error.hint, details) from error
        raise
    for altered in _altered(notebook, inputs, contents):
        raise altered


def _altered(notebook: Notebook, inputs: Mapping[str, Input], contents: Contents) -> Iterator[StepError]:
    for name, given in inputs.items():
        if not contents.holds(given.path, given.hash):
            yield StepError(
                f"{notebook.path.name}: its input '{name}' ({given.place}) was altered while it ran",
                f"write to an output, or to a copy of the input; {given.remedy}",
            )


def file_names(notebook: Notebook) -> dict[str, str]:
    """Returns a file name for each output: the one that the notebook gives it, unless two have the same."""
    names = {name: Path(v.default).name or name for name, v in notebook.signature.outputs.items()}
    files = list(names.values())
    return {name: file if files.count(file) == 1 else f"{name}-{file}" for name, file in names.items()}


def check_outputs(notebook: Notebook, paths: Mapping[str, Path]) -> dict[str, Any]:
    """Checks that every declared output is there and of its kind.

    Links in it are replaced by what they lead to, so that it does not change with what is elsewhere.

    Args:
        notebook: The notebook that ran.
        paths: Where each output should be.

    Returns:
        The metrics of all its `Output[Metrics]` files together.

    Raises:
        StepError: An output is missing or not made of files and folders, or a metrics file is not a JSON
            object of numbers and texts.
        NbshipError: The disk is full.
    """
    metrics: dict[str, Any] = {}
    for name, variable in notebook.signature.outputs.items():
        path = paths[name]
        if not path.exists() and not path.is_symlink():
            raise StepError(
                f"{notebook.path.name}: ran to its end but did not write its output '{name}'",
                f"write the file to the path in the variable {name}",
            )
        _make_plain(f"{notebook.path.name}: its output '{name}'", path)
        if variable.type == "Metrics":
            metrics.update(_read_metrics(notebook, name, path))
    return metrics


def _file_stamps(path: Path) -> object:
    """What a file or folder looks like without being read; None if it changed just now."""
    found = {str(each): each.stat() for each in _files(path)}
    if any(time.time_ns() - file.st_ctime_ns < _TOO_FRESH for file in found.values()):
        return None
    return {
        name: (file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns)
        for name, file in found.items()
    }


def _files(path: Path) -> Iterable[Path]:
    return (each for each in below(path) if each.is_file()) if path.is_dir() else [path]


def _make_plain(where: str, output: Path) -> None:
    try:
        found = [output, *(below(output) if output.is_dir() else ())]
    except OSError as error:
        raise StepError(f"{where} holds {error.strerror}: {error.filename}", "leave that link out") from None
    for path in found:
        inside = "" if path == output else f" holds {path.relative_to(output)}, which"
        if not path.exists():
            raise StepError(f"{where}{inside} is a link that leads nowhere", "write the file itself")
        kind = stat.S_IFMT(path.stat().st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise StepError(
                f"{where}{inside} is {_KINDS.get(kind, 'special')}", "write a plain file or a folder"
            )
    for path in found:
        # What was below a link is gone with it, and the copy that came has no links.
        if path.is_symlink() or (path.is_file() and path.stat().st_nlink > 1):
            replace_by_copy(path)


def _read_metrics(notebook: Notebook, name: str, path: Path) -> dict[str, Any]:
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        metrics = None
    plain = isinstance(metrics, dict) and all(
        isinstance(v, int | float | str | bool) for v in metrics.values()
    )
    if not plain:
        raise StepError(
            f"{notebook.path.name}: its output '{name}' is not a flat JSON object of numbers and texts",
            'write something like {"rmse": 2.5}',
        )
    return dict(metrics)
