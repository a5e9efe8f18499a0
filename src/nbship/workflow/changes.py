"""Which pipelines are to be run, and why: what changed since another commit, in one word for each pipeline.

Compares commits; what is not committed is not seen. On a branch that CI builds, each pipeline is compared
with the commit at which it was trained last, so that none is passed over when a job fails or when two merges
follow each other quickly. A published model starts nothing: it is a run's result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nbship import config
from nbship.ci import Job, current_job
from nbship.config import Pipeline
from nbship.errors import UsageError, suggestion
from nbship.notebook import read_notebook
from nbship.own_code import own_code
from nbship.project import PIPELINES, SETTINGS, pipeline_names
from nbship.versions import dvc, git, snapshot, trained

Trigger = Literal["data", "feature", "maintenance", "schedule", "manual"]
# What all steps run in, and what all pipelines share.
_ENVIRONMENT = (
    SETTINGS,
    "src/nbship/",
    "requirements.lock",
    "requirements-image.lock",
    "pyproject.toml",
    "Dockerfile",
    ".dockerignore",
)


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
        base: The commit to compare with. If empty: in a merge request what it is merged into, on a branch
            that CI builds each pipeline's last trained commit, elsewhere the default branch of `origin`.
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
    job = current_job(environment)
    if job.event in ("schedule", "manual") and not base:
        return [Change(name, job.event) for name in chosen]
    changed = _changed_files(root, job, base)
    found = (_change(root, config.load_pipeline(root, name), changed(name)) for name in chosen)
    return [change for change in found if change]


def record_trained(root: Path, name: str, revision: str) -> None:
    """Notes at Git's remote that a pipeline was trained at a revision, whatever the gate said of the model.

    Raises:
        UsageError: Git knows no such revision.
        NbshipError: The remote did not take it; then the pipeline will be trained again.
    """
    trained.record_trained(root, name, snapshot.resolve(root, revision))


def _changed_files(root: Path, job: Job, base: str) -> Callable[[str], frozenset[str] | None]:
    """Says by pipeline which files changed; None where nothing is known to compare with."""
    base = base or job.base
    if job.branch and job.event != "merge request" and not base:
        commits = trained.last_trained(root)
        return lambda name: _since_trained(root, commits.get(name, ""))
    # `origin/HEAD` is there after a clone, but not in a CI job.
    commit = snapshot.resolve(root, base or f"origin/{job.default_branch or 'HEAD'}")
    changed = _listed(root, f"{commit}...HEAD")
    return lambda _: changed


def _since_trained(root: Path, commit: str) -> frozenset[str] | None:
    """The files that are not as they were when a pipeline was trained last."""
    if not commit:
        return None
    # A job that waited while a later commit was trained has nothing left to do.
    if git.succeeds(root, "merge-base", "--is-ancestor", "HEAD", commit):
        return frozenset()
    return _listed(root, commit, "HEAD")


def _listed(root: Path, *commits: str) -> frozenset[str]:
    listed = git.output(root, "diff", "--name-only", "--no-renames", "--relative", "-z", *commits, "--")
    return frozenset(filter(None, listed.split("\0")))


def _change(root: Path, pipeline: Pipeline, changed: frozenset[str] | None) -> Change | None:
    if changed is None:
        return Change(pipeline.name, "feature")
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
    """The pipeline file, the notebooks, and the project's modules and files that they use."""
    paths = {root / PIPELINES / f"{pipeline.name}.yaml"}
    for step in pipeline.steps.values():
        notebook = read_notebook(root / step.notebook, step.notebook)
        paths |= {notebook.path, *own_code(root, notebook).files}
    return paths


def _named(root: Path, paths: Iterable[Path]) -> set[str]:
    return {path.relative_to(root).as_posix() for path in paths}
