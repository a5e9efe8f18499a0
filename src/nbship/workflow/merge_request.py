"""Tells GitLab how a run ended: the note on the merge request, and the status of the commit.

Decides what is told and where; how it is worded is the business of `note`, how it gets there of `gitlab`.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nbship.ci import gitlab
from nbship.errors import UsageError
from nbship.gate import Verdict
from nbship.graph import champion_step
from nbship.pages.outputs import read_shown
from nbship.record import RUNS, RunRecord, all_runs, find_run, run_folder
from nbship.versions import git
from nbship.workflow.note import MARK, Shown, outcome_section, run_section, with_section

if TYPE_CHECKING:
    from gitlab.v4.objects import Project

_GITLAB_STATES = {"succeeded": "success", "failed": "failed", "rejected": "failed"}
_DATA_URI = re.compile(r"data:image/(png|jpeg);base64,(.*)")
_MOST_PLOTS = 8
_LARGEST_PLOT = 5_000_000


@dataclass(frozen=True)
class Outcome:
    """How a run on Kubeflow ended.

    Attributes:
        pipeline: Its pipeline.
        repository: The https address of the Git repository, by which GitLab's project is found.
        revision: The whole hash of the commit that ran; empty if it was never checked out.
        state: How it ended.
        verdict: The gate's; None if it was not asked.
        metrics: What was measured, by `step.metric`.
        version: The model's version that was published; empty if none was.
        link: The run's page; may be empty.
    """

    pipeline: str
    repository: str
    revision: str
    state: Literal["succeeded", "failed", "rejected"]
    verdict: Verdict | None
    metrics: Mapping[str, float]
    version: str
    link: str


@dataclass(frozen=True)
class Reported:
    """What was told, and where.

    Attributes:
        text: The sections, as Markdown.
        notes: Addresses of the notes that have them; none if there is nobody to tell.
        silence: Why there is nobody to tell; empty if there is.
    """

    text: str
    notes: tuple[str, ...] = ()
    silence: str = ""


@dataclass(frozen=True)
class _Plot:
    """A picture of a notebook, under a name that no other picture has."""

    name: str
    caption: str
    content: bytes


def report_outcome(outcome: Outcome, environment: Mapping[str, str]) -> None:
    """Sets the commit's status, and tells the merge requests that hold the commit.

    Without a token or a commit, says so on standard error and does nothing.

    Args:
        outcome: How the run ended.
        environment: The token is in `NBSHIP_GITLAB_TOKEN`.

    Raises:
        UsageError: The repository is no GitLab project's.
        NbshipError: GitLab refuses, or does not answer.
    """
    if not environment.get(gitlab.TOKEN) or not outcome.revision:
        missing = f"{gitlab.TOKEN} is not set" if outcome.revision else "no commit was checked out"
        print(f"nothing is told to GitLab: {missing}", file=sys.stderr)  # noqa: T201 (a step's log)
        return
    project = gitlab.open_project(environment, outcome.repository)
    reasons = "; ".join(outcome.verdict.reasons) if outcome.verdict else ""
    told = ": ".join(filter(None, [outcome.state, reasons]))
    name = f"nbship/{outcome.pipeline}"
    gitlab.set_status(project, outcome.revision, _GITLAB_STATES[outcome.state], name, told, outcome.link)
    section = outcome_section(outcome)
    for merge_request in gitlab.merge_requests_of(project, outcome.revision):
        note = gitlab.read_note(merge_request, MARK)
        gitlab.write_note(merge_request, MARK, with_section(note, f"{outcome.pipeline} on Kubeflow", section))


def choose_runs(root: Path, pipeline: str = "", run: str = "") -> list[RunRecord]:
    """Returns the run that is meant, or the newest one of each pipeline at the commit that is checked out.

    Args:
        root: The project's folder.
        pipeline: Its newest run, if no run is named.
        run: Beginning of a run's identifier.

    Raises:
        UsageError: There is none.
    """
    if pipeline or run:
        return [find_run(root, pipeline, run)[0]]
    revision = git.revision(root)
    newest: dict[str, RunRecord] = {}
    for record in all_runs(root):
        if revision and record.environment.revision == revision.commit:
            newest.setdefault(record.pipeline, record)
    if not newest:
        raise UsageError("nothing was run at the commit that is checked out", "run it: nbship run NAME")
    return [newest[name] for name in sorted(newest)]


def report_runs(root: Path, records: list[RunRecord], environment: Mapping[str, str]) -> Reported:
    """Tells the open merge requests of this branch how runs here ended.

    Args:
        root: The project's folder.
        records: The runs.
        environment: The token, and in a CI job GitLab's variables.

    Raises:
        UsageError: The repository is no GitLab project's.
        NbshipError: GitLab refuses, or does not answer.
    """
    files = {record.id: _files(record, environment) for record in records}
    text = "\n\n".join(run_section(record, files=files[record.id]) for record in records)
    branch = environment.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME") or git.branch(root)
    branch = branch or environment.get("CI_COMMIT_REF_NAME", "")
    if not environment.get(gitlab.TOKEN):
        return Reported(text, silence=f"{gitlab.TOKEN} is not set")
    number = environment.get("CI_MERGE_REQUEST_IID", "")
    if not branch and not number:
        return Reported(text, silence="no branch is checked out")
    project = gitlab.open_project(environment, _repository(root, environment))
    notes = []
    for merge_request in gitlab.open_merge_requests(project, branch, number):
        note = gitlab.read_note(merge_request, MARK)
        for record in records:
            plots = _shown_on(project, root, record, note)
            note = with_section(note, record.pipeline, run_section(record, plots, files[record.id]))
        notes.append(gitlab.write_note(merge_request, MARK, note))
    return Reported(text, tuple(notes), "" if notes else f"branch {branch} has no open merge request")


def _repository(root: Path, environment: Mapping[str, str]) -> str:
    """The address of `origin`; empty in a CI job, whose variables say it better."""
    if environment.get("CI_PROJECT_PATH"):
        return ""
    return git.call(root, "remote", "get-url", "origin").stdout.strip()


def _files(record: RunRecord, environment: Mapping[str, str]) -> str:
    """Where the job's artifacts will be; only GitLab keeps any, so a job that was run by hand has none."""
    job = environment.get("CI_JOB_URL", "") if environment.get("GITLAB_CI") == "true" else ""
    return f"{job}/artifacts/file/{RUNS}/{record.pipeline}/{record.id}" if job else ""


def _shown_on(project: Project, root: Path, record: RunRecord, note: str) -> list[Shown]:
    """The run's plots on GitLab; those that the note shows already are not uploaded again."""
    shown = []
    for plot in islice(_plots(root, record), _MOST_PLOTS):
        known = re.search(rf"/uploads/\w+/{re.escape(plot.name)}", note)
        address = known[0] if known else gitlab.upload(project, plot.name, plot.content)
        shown.append(Shown(plot.caption, address))
    return shown


def _plots(root: Path, record: RunRecord) -> Iterator[_Plot]:
    """What the notebooks drew, the gate's step first; not what was drawn of the champion."""
    folder = run_folder(root, record.pipeline, record.id)
    judge = record.gate.step if record.gate else ""
    steps = sorted(record.steps.values(), key=lambda step: step.name != judge)
    for step in steps:
        if not step.notebook or step.name == champion_step(judge):
            continue
        for picture in read_shown(folder / step.notebook).pictures:
            found = _DATA_URI.fullmatch(picture.source)
            content = base64.b64decode(found[2]) if found else b""
            if found and len(content) <= _LARGEST_PLOT:
                digest = hashlib.sha256(content).hexdigest()[:16]
                name = f"{record.pipeline}-{step.name}-{digest}.{found[1]}"
                yield _Plot(name, picture.caption or step.name, content)
