"""Tells the forge how a run ended: the note on the merge request, and the status of the commit.

Decides what is told and where; how it is worded is the business of `note`, how it gets there of `ci`.
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

from nbship import ci
from nbship.errors import UsageError
from nbship.graph import champion_step
from nbship.pages.outputs import read_shown
from nbship.record import RUNS, RunRecord, all_runs, find_run, run_folder
from nbship.versions import git
from nbship.workflow.note import (
    MARK,
    RemoteOutcome,
    UploadedPlot,
    outcome_section,
    run_section,
    with_section,
)

_DATA_URI = re.compile(r"data:image/(png|jpeg);base64,(.*)")
_MOST_PLOTS = 8
_LARGEST_PLOT = 5_000_000


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


def report_outcome(outcome: RemoteOutcome, environment: Mapping[str, str]) -> None:
    """Sets the commit's status, and tells the merge requests that hold the commit.

    Without a token or a commit, says so on standard error and does nothing.

    Args:
        outcome: How the run ended.
        environment: Has the forge's token.

    Raises:
        UsageError: The repository is no project of the forge.
        NbshipError: The forge refuses, or does not answer.
    """
    forge = ci.find_forge(environment)
    if not environment.get(forge.token) or not outcome.revision:
        missing = f"{forge.token} is not set" if outcome.revision else "no commit was checked out"
        print(f"nothing is reported to {forge.name}: {missing}", file=sys.stderr)  # noqa: T201 (a step's log)
        return
    project = forge.open(environment, outcome.repository)
    reasons = "; ".join(outcome.verdict.reasons) if outcome.verdict else ""
    told = ": ".join(filter(None, [outcome.state, reasons]))
    name = f"nbship/{outcome.pipeline}"
    project.set_status(outcome.revision, outcome.state, name, told, outcome.link)
    section = outcome_section(outcome)
    for merge_request in project.merge_requests_of(outcome.revision):
        note = merge_request.read_note(MARK)
        merge_request.write_note(MARK, with_section(note, f"{outcome.pipeline} on Kubeflow", section))


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
        environment: The token, and in a CI job the forge's variables.

    Raises:
        UsageError: The repository is no project of the forge.
        NbshipError: The forge refuses, or does not answer.
    """
    forge, job = ci.find_forge(environment), ci.current_job(environment)
    files = {record.id: kept_files(record, job) for record in records}
    text = "\n\n".join(run_section(record, files=files[record.id]) for record in records)
    branch = job.head or git.branch(root)
    if not environment.get(forge.token):
        return Reported(text, silence=f"{forge.token} is not set")
    if not branch and not job.number:
        return Reported(text, silence="no branch is checked out")
    # A job knows its project better than the address from which it was cloned.
    origin = "" if job.project else git.call(root, "remote", "get-url", "origin").stdout.strip()
    project = forge.open(environment, origin)
    notes = []
    for merge_request in project.open_merge_requests(branch, job.number):
        note = merge_request.read_note(MARK)
        for record in records:
            plots = upload_plots(project, root, record, note)
            note = with_section(note, record.pipeline, run_section(record, plots, files[record.id]))
        notes.append(merge_request.write_note(MARK, note))
    return Reported(text, tuple(notes), "" if notes else f"branch {branch} has no open merge request")


def kept_files(record: RunRecord, job: ci.Job) -> str:
    """Returns where the job's artifacts will be; empty where none are kept."""
    return f"{job.artifacts}/{RUNS}/{record.pipeline}/{record.id}" if job.artifacts else ""


def upload_plots(project: ci.Project, root: Path, record: RunRecord, note: str) -> list[UploadedPlot]:
    """Returns the run's plots on the forge; those that a note shows already are not uploaded again."""
    uploaded = []
    for plot in islice(_plots(root, record), _MOST_PLOTS):
        known = re.search(rf"/uploads/\w+/{re.escape(plot.name)}", note)
        address = known[0] if known else project.upload(plot.name, plot.content)
        if address:
            uploaded.append(UploadedPlot(plot.caption, address))
    return uploaded


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
