"""Brings the data files of pipelines here, and says how they stand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nbship.config import Data, Pipeline
from nbship.errors import NbshipError, Report
from nbship.versions import dvc, sources


@dataclass(frozen=True)
class Status:
    """How a data file stands.

    Attributes:
        pipeline: The pipeline that reads it.
        name: What its notebooks call it.
        path: From the project's folder.
        state: Against its `.dvc` file.
        exists: Whether the file is there.
        md5: The hash that the `.dvc` file names; empty without one.
        source: Where it comes from when no DVC remote has it; empty if nothing is said.
    """

    pipeline: str
    name: str
    path: str
    state: dvc.FileState
    exists: bool
    md5: str
    source: str


def ensure(root: Path, pipeline: Pipeline, report: Report = lambda _: None) -> dict[str, Path]:
    """Makes sure that every data file of a pipeline is here, and is the version that its `.dvc` file names.

    Costs one reading of each file if they are. A file that nothing tracks is taken as it is.

    Args:
        root: The project's folder.
        pipeline: Its `data` says which files.
        report: Told in a line what is fetched from where.

    Returns:
        The files, by the names that notebooks call them.

    Raises:
        NbshipError: A file was edited since `dvc add`, or cannot be had, or what came is not it.
    """
    return {name: _ensure(root, name, data, report) for name, data in pipeline.data.items()}


def pull(
    root: Path, pipelines: Iterable[Pipeline], force: bool = False, report: Report = lambda _: None
) -> list[str]:
    """Brings the data files of pipelines here.

    Args:
        root: The project's folder.
        pipelines: Whose data.
        force: Bring the tracked version of files that were edited; the edited ones are kept beside.
        report: Told in a line what is fetched from where, and where an edited file was put.

    Returns:
        The files, from the project's folder, each once.

    Raises:
        NbshipError: As `ensure`.
    """
    pulled: dict[str, None] = {}
    for pipeline in pipelines:
        for name, data in pipeline.data.items():
            path = root / data.path
            if force and dvc.state(path) is dvc.FileState.EDITED:
                kept = dvc.pull(root, path, data.source, force, report)
                if kept is not None:
                    report(f"{data.path}: the edited file is kept as {kept.relative_to(root)}")
            else:
                _ensure(root, name, data, report)
            pulled[data.path] = None
    return list(pulled)


def status(root: Path, pipelines: Iterable[Pipeline]) -> list[Status]:
    """Says how the data files of pipelines stand; fetches nothing.

    Raises:
        NbshipError: A `.dvc` file cannot be understood.
    """
    return [
        _status(pipeline.name, name, data, root / data.path)
        for pipeline in pipelines
        for name, data in pipeline.data.items()
    ]


def _ensure(root: Path, name: str, data: Data, report: Report) -> Path:
    path = root / data.path
    state = dvc.state(path)
    if state in (dvc.FileState.MISSING, dvc.FileState.EDITED):
        dvc.pull(root, path, data.source, report=report)
    elif state is dvc.FileState.UNTRACKED and not path.exists():
        if data.source is None:
            raise NbshipError(
                f"data.{name}: {data.path} is not there, and no {data.path}.dvc tracks it",
                f"put the file there, or say in the pipeline file where it comes from: data.{name}.source",
            )
        report(
            f"{data.path}: fetching it from {sources.describe(data.source)}; track it: dvc add {data.path}"
        )
        sources.fetch(data.source, path, root)
    return path


def _status(pipeline: str, name: str, data: Data, path: Path) -> Status:
    tracked = dvc.read(path)
    return Status(
        pipeline=pipeline,
        name=name,
        path=data.path,
        state=dvc.state(path),
        exists=path.exists(),
        md5=tracked.md5 if tracked else "",
        source=sources.describe(data.source) if data.source else "",
    )
