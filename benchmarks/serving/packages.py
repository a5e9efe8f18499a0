"""Makes the model packages that are served: runs the pipelines in a copy of the project."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.workspace import CommandError, Workspace, program
from nbship.config import load_pipeline
from nbship.errors import NbshipError
from nbship.record import find_run
from nbship.workflow.publish import package_run

PIPELINES = ("auto-mpg", "churn")


def make_packages(space: Workspace, root: Path) -> tuple[list[Path], list[str]]:
    """Makes the packages of all pipelines.

    Returns:
        Their folders, and what could not be made, with the reason.
    """
    project = space.copy_project(root, "served")
    shutil.copytree(root / "data", project / "data")
    made: list[Path] = []
    absent: list[str] = []
    for name in PIPELINES:
        try:
            made.append(_make_package(space, project, name))
        except (CommandError, NbshipError) as error:
            absent.append(f"{name}: {_reason(str(error))}")
    return made, absent


def _reason(said: str) -> str:
    lines = said.strip().splitlines()
    return next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[-1])


def _make_package(space: Workspace, project: Path, name: str) -> Path:
    space.seconds([program("nbship"), "run", name], project)
    pipeline = load_pipeline(project, name)
    if pipeline.publish is None:
        raise NbshipError(f"pipelines/{name}.yaml has no publish", "add it")
    folder = space.folder / "packages" / name
    folder.mkdir(parents=True)
    package_run(folder, pipeline, pipeline.publish, *find_run(project, name, ""))
    return folder
