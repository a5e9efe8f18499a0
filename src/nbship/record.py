"""What is written of a run: `runs/NAME/<id>/run.json`, where the rest of it is, and how it is found again.

The record is rewritten whole and atomically whenever something changes, so a reader never sees half of one.
"""

from __future__ import annotations

import contextlib
import platform
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from nbship import __version__
from nbship.config import Gate
from nbship.errors import NbshipError, UsageError, suggestion
from nbship.files import disk_error, write_text
from nbship.gate import Verdict

RUNS = "runs"
# What is in the folder of a run.
RECORD = "run.json"
PAGE = "index.html"
METRICS = "metrics.json"
_MARK = ".running"
# Seconds.
_MOMENT = 0.1


class State(StrEnum):
    """Where a run or a step stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CACHED = "cached"
    FAILED = "failed"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"


class Artifact(BaseModel):
    """A file, or folder, that a step read or wrote.

    Attributes:
        type: KFP's name of its type.
        path: Relative to the run's folder for outputs; relative to the project for data files.
        hash: SHA-256 of the content.
        origin: For inputs: `step.output`, or the name of the data file.
    """

    type: str
    path: str
    hash: str
    origin: str = ""


class StepRecord(BaseModel):
    """What happened to a step; paths of notebook and html are relative to the run's folder."""

    name: str
    source: str
    title: str = ""
    state: State = State.WAITING
    upstream: list[str] = []
    key: str = ""
    code: str = ""
    seconds: float = 0.0
    cells: int = 0
    parameters: dict[str, Any] = {}
    inputs: dict[str, Artifact] = {}
    outputs: dict[str, Artifact] = {}
    results: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    notebook: str = ""
    html: str = ""
    error: str = ""
    note: str = ""


class Environment(BaseModel):
    """Where a run took place."""

    python: str
    platform: str
    nbship: str
    lock: str = ""
    revision: str = ""
    dirty: bool = False


class RunRecord(BaseModel):
    """A run.

    Attributes:
        settings: What was set for it, as `step.parameter=value`.
        override_files: Files that were laid over the pipeline file, as they were named.
        variables: Names of variables that were; a value may be a secret.
        synthetic: The data files in whose place a sample was used.
        gate: What the pipeline file said of the gate when it started.
        champion: SHA-256 of the champion; empty if there was none.
    """

    id: str
    pipeline: str
    description: str = ""
    state: State = State.RUNNING
    started: datetime
    seconds: float = 0.0
    process: int = 0
    settings: list[str] = []
    override_files: list[str] = []
    variables: list[str] = []
    synthetic: list[str] = []
    environment: Environment
    steps: dict[str, StepRecord] = {}
    gate: Gate | None = None
    verdict: Verdict | None = None
    champion: str = ""
    error: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """Every number that a step measured, by `step.metric`."""
        return {
            f"{step.name}.{name}": value
            for step in self.steps.values()
            for name, value in {**step.results, **step.metrics}.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }


@dataclass(frozen=True)
class StepFiles:
    """Where the files of a step are in a run's folder."""

    step: str

    @property
    def notebook(self) -> str:
        """The executed notebook."""
        return f"notebooks/{self.step}.ipynb"

    @property
    def html(self) -> str:
        """The executed notebook for a browser."""
        return f"notebooks/{self.step}.html"

    def artifact(self, file: str) -> str:
        """What it made."""
        return f"artifacts/{self.step}/{file}"


def this_environment(lock: str = "", revision: str = "", dirty: bool = False) -> Environment:
    """Returns where this process runs.

    Args:
        lock: Hash of what stands for the installed packages.
        revision: The commit, if there is one.
        dirty: Whether something here is not in the commit.
    """
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        nbship=__version__,
        lock=lock,
        revision=revision,
        dirty=dirty,
    )


def new_run_id() -> str:
    """Returns an identifier that sorts by time and does not clash with a run started in the same second."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def run_folder(root: Path, pipeline: str, run_id: str) -> Path:
    """Returns the folder of a run."""
    return root / RUNS / pipeline / run_id


@contextlib.contextmanager
def running(folder: Path) -> Iterator[None]:
    """Marks a run as going on; the mark ends with the process, however that ends.

    It is a lock rather than the process's number, which another process may get later.

    Raises:
        NbshipError: The folder cannot be written to.
    """
    from filelock import FileLock

    mark = folder / _MARK
    lock = FileLock(mark)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise disk_error(error, folder) from None
    try:
        yield
    finally:
        lock.release()
        mark.unlink(missing_ok=True)


def save(record: RunRecord, folder: Path) -> None:
    """Writes the record atomically."""
    write_text(folder / RECORD, record.model_dump_json(indent=2))


def read(folder: Path) -> RunRecord:
    """Reads the record of a run; one whose process died while it ran is reported as interrupted.

    Raises:
        NbshipError: The record is missing or damaged.
    """
    path = folder / RECORD
    try:
        record = RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        raise NbshipError(
            f"{path}: not a readable record of a run", "delete the folder, or run again"
        ) from None
    if record.state is State.RUNNING and not _is_running(folder):
        record.state = State.INTERRUPTED
        for step in record.steps.values():
            if step.state is State.RUNNING:
                step.state = State.INTERRUPTED
    return record


def all_runs(root: Path, pipeline: str = "") -> Iterator[RunRecord]:
    """Yields the readable records of a pipeline's runs, or of all, newest first."""
    folders = sorted(
        (root / RUNS).glob(f"{pipeline or '*'}/*/{RECORD}"), key=lambda p: p.parent.name, reverse=True
    )
    for path in folders:
        try:
            yield read(path.parent)
        except NbshipError:
            continue


def find_run(root: Path, pipeline: str, run_id: str = "") -> tuple[RunRecord, Path]:
    """Finds a run by its identifier, or the beginning of only one; the newest if none is given.

    Raises:
        UsageError: No run fits, or several do.
    """
    records = {record.id: record for record in all_runs(root, pipeline)}
    found = [key for key in records if key.startswith(run_id)]
    if not found:
        hint = suggestion(run_id, records) if records else f"start one: nbship run {pipeline or 'NAME'}"
        raise UsageError(f"there is no run {run_id or 'yet'} of {pipeline or 'any pipeline'}", hint)
    if run_id and len(found) > 1:
        raise UsageError(f"'{run_id}' matches {len(found)} runs", f"give more of it: {', '.join(found[:5])}")
    record = records[found[0]]
    return record, run_folder(root, record.pipeline, record.id)


def _is_running(folder: Path) -> bool:
    mark = folder / _MARK
    if not mark.exists():
        return False
    from filelock import FileLock, Timeout

    try:
        # Another process that asks holds it for a moment, too.
        with FileLock(mark, timeout=_MOMENT, poll_interval=_MOMENT / 10):
            return False
    except (Timeout, PermissionError):  # whose run one may not touch is taken at its word
        return True
    except OSError:
        return False
