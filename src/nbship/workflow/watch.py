"""Notices that something was saved that a run depends on: a notebook's code, own code, or a file of settings.

Looks at the files twice a second rather than asking the system to tell, which shared folders and containers
often do not do. Runs nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from nbship.config import load_pipeline
from nbship.errors import NbshipError
from nbship.graph import read_graph
from nbship.own_code import step_code
from nbship.project import PIPELINES, SETTINGS
from nbship.workflow.run import RunRequest

_SECONDS_BETWEEN_LOOKS = 0.5


def saved(
    root: Path, request: RunRequest, pause: Callable[[float], None] = time.sleep
) -> Iterator[tuple[str, ...]]:
    """Yields when there is something to run: at once, and whenever something was saved since it last yielded.

    What a notebook shows is not looked at: Jupyter saves that at each run of a cell.

    Args:
        root: The project's folder.
        request: What is run.
        pause: Waits so many seconds.

    Yields:
        What was saved, from the project's folder; nothing the first time.
    """
    files = _Files(root, request)
    before = files.look()
    yield ()
    while True:
        pause(_SECONDS_BETWEEN_LOOKS)
        now = files.look()
        if now == before:
            continue
        # A save of several files is one change.
        while True:
            pause(_SECONDS_BETWEEN_LOOKS)
            settled, now = now, files.look()
            if now == settled:
                break
        names = sorted(path for path in {*before, *now} if before.get(path) != now.get(path))
        before = now
        yield tuple(Path(os.path.relpath(name, root)).as_posix() for name in names)


class _Files:
    """The files that a run depends on, each known by what matters in it."""

    def __init__(self, root: Path, request: RunRequest) -> None:
        self._root = root
        self._request = request
        self._read: set[Path] = set()
        self._known: dict[Path, tuple[tuple[int, int], str]] = {}
        self._last: dict[Path, str] = {}

    def look(self) -> dict[Path, str]:
        """Returns what the files say now; which files there are changes only with what is in them."""
        now = self._contents()
        if now != self._last:
            self._find()
            now = self._last = self._contents()
        return now

    def _find(self) -> None:
        asked = self._request
        # What is being edited and cannot be read is told by the run.
        with suppress(NbshipError, OSError):
            pipeline = load_pipeline(
                self._root, asked.pipeline, asked.settings, asked.override_files, os.environ
            )
            graph = read_graph(self._root, pipeline)
            own = [path for step in graph.steps.values() for path in step_code(self._root, graph, step).files]
            self._read = {*(step.notebook.path for step in graph.steps.values()), *own}

    def _contents(self) -> dict[Path, str]:
        settings = {
            self._root / SETTINGS,
            self._root / PIPELINES / f"{self._request.pipeline}.yaml",
            *map(Path.absolute, self._request.override_files),
        }
        return {path: self._content(path) for path in settings | self._read}

    def _content(self, path: Path) -> str:
        try:
            status = path.stat()
            mark = (status.st_mtime_ns, status.st_size)
            if self._known.get(path, ((), ""))[0] != mark:
                self._known[path] = (mark, _code_hash(path.read_bytes(), path.suffix))
            return self._known[path][1]
        except OSError:
            return ""


def _code_hash(content: bytes, suffix: str) -> str:
    if suffix == ".ipynb":
        try:
            cells = json.loads(content)["cells"]
            code = [[cell["source"], cell.get("metadata", {}).get("tags")] for cell in cells]
            content = json.dumps(code).encode()
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # half of it: whatever it is, it is another
    return hashlib.sha256(content).hexdigest()
