"""Which pipelines are to be run, and why: what changed since another commit, in one word for each pipeline.

Compares commits; what is not committed is not seen. A published model starts nothing: it is a run's result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nbship import config
from nbship.config import Pipeline
from nbship.errors import UsageError, suggestion
from nbship.local.imports import local_files
from nbship.notebook import read_notebook
from nbship.project import PIPELINES, pipeline_names
from nbship.versions import dvc, git, snapshot

Trigger = Literal["data", "feature", "maintenance", "schedule", "manual"]
# What all steps run in.
_ENVIRONMENT = (
    "src/",
    "requirements.lock",
    "requirements-image.lock",
    "pyproject.toml",
    "Dockerfile",
    ".dockerignore",
)
# Pipelines of GitLab that no commit started.
_TOLD: Mapping[str, Trigger] = {"schedule": "schedule", "web": "manual"}
_NONE_BEFORE = "0" * 40


@dataclass(frozen=True)
class Change:
    """A pipeline that is to be run.

    Attributes:
        pipeline: Its name.
        trigger: `data` if a tracked data file is another one; else `feature` if the pipeline file, a notebook
            or code beside it is; else `maintenance` if what all steps run in is. `schedule` and `manual` if
            no commit is the reason.
        files: What changed, from the project's folder.
    """

    pipeline: str
    trigger: Trigger
    files: tuple[str, ...] = ()


def find_changes(
    root: Path, environment: Mapping[str, str], base: str = "", names: Sequence[str] = ()
) -> list[Change]:
    """Finds the pipelines that what was committed since a commit concerns.

    Args:
        root: The project's folder.
        environment: In a CI job, says what started it and what to compare with.
        base: The commit to compare with; what CI says if empty, else the default branch of `origin`.
        names: The pipelines to look at; all if empty.

    Raises:
        UsageError: There is no such commit or pipeline, or a pipeline file or notebook is not understood.
        NbshipError: Git failed.
    """
    git.require_repository(root)
    known = pipeline_names(root)
    for name in names:
        if name not in known:
            raise UsageError(f"there is no pipeline '{name}'", suggestion(name, known))
    chosen = [name for name in known if not names or name in names]
    told = _TOLD.get(environment.get("CI_PIPELINE_SOURCE", ""))
    if told and not base:
        return [Change(name, told) for name in chosen]
    commit = _base(root, environment, base)
    if not commit:
        return [Change(name, "feature") for name in chosen]
    changed = _changed(root, commit)
    found = (_change(root, config.load_pipeline(root, name), changed) for name in chosen)
    return [change for change in found if change]


def _base(root: Path, environment: Mapping[str, str], base: str) -> str:
    """The commit to compare with; empty where a branch is pushed for the first time."""
    given = (base, *map(environment.get, ("CI_MERGE_REQUEST_DIFF_BASE_SHA", "CI_COMMIT_BEFORE_SHA")))
    name = next(filter(None, given), "")
    if name == _NONE_BEFORE:
        return ""
    if not name:
        # `origin/HEAD` is there after a clone, but not in a CI job.
        branch = environment.get("CI_DEFAULT_BRANCH", "")
        name = f"origin/{branch}" if branch else "origin/HEAD"
    return snapshot.resolve(root, name)


def _changed(root: Path, commit: str) -> frozenset[str]:
    """The project's files that differ between a commit's common ancestor with HEAD, and HEAD."""
    listed = git.output(
        root, "diff", "--name-only", "--no-renames", "--relative", "-z", f"{commit}...HEAD", "--"
    )
    return frozenset(filter(None, listed.split("\0")))


def _change(root: Path, pipeline: Pipeline, changed: frozenset[str]) -> Change | None:
    tracked = {dvc.tracking_file(root / data.path) for data in pipeline.data.values()}
    reasons: tuple[tuple[Trigger, Iterable[str]], ...] = (
        ("data", changed & _named(root, tracked)),
        ("feature", changed & _named(root, _sources(root, pipeline))),
        ("maintenance", (name for name in changed if name.startswith(_ENVIRONMENT))),
    )
    found: list[tuple[Trigger, str]] = [
        (trigger, name) for trigger, files in reasons for name in sorted(files)
    ]
    if not found:
        return None
    return Change(pipeline.name, found[0][0], tuple(name for _, name in found))


def _sources(root: Path, pipeline: Pipeline) -> set[Path]:
    """The pipeline file, the notebooks, and the Python files beside them that they use."""
    paths = {root / PIPELINES / f"{pipeline.name}.yaml"}
    for step in pipeline.steps.values():
        notebook = read_notebook(root / step.notebook, step.notebook)
        paths |= {notebook.path, *local_files(notebook.code, notebook.path.parent)}
    return paths


def _named(root: Path, paths: Iterable[Path]) -> set[str]:
    return {path.relative_to(root).as_posix() for path in paths}
