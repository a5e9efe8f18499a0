"""The way back: new labelled rows become data, a run judges what is learnt from them, a merge request asks.

Nothing of the checkout changes: the new table is beside it until its commit, made on top of what is checked
out, is pushed as a branch. That comes last, so one that was cut off is done again, from the run's cache.
Whether to begin is decided here; what the monitor says is the business of who calls.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from nbship import ci, files, package
from nbship.config import Pipeline, load_pipeline
from nbship.errors import NbshipError, RejectedError, Report, UsageError, suggestion
from nbship.gate import read_losses
from nbship.graph import champion_step, held_out_input, read_graph
from nbship.monitoring import retraining
from nbship.monitoring.records import open_required, read_records
from nbship.monitoring.retraining import Attempt, Joined, Labelled
from nbship.monitoring.storage import Storage
from nbship.package import trained
from nbship.record import RunRecord
from nbship.versions import content, dvc, git, registry, upstream
from nbship.workflow import data
from nbship.workflow.note import plain, run_section
from nbship.workflow.run import RunRequest, run

FOLDER = Path(".nbship", "retrain")
Outcome = Literal["pushed", "under way", "too few", "cooling down", "tried already"]


@dataclass(frozen=True)
class RetrainRequest:
    """What is asked of a retraining.

    Attributes:
        pipeline: Its name.
        reason: Why; the monitor's words, or a person's.
        force: Begin although the last one was a short time ago, or has learnt the same rows.
        submit: Have Kubeflow run it: nothing is run here.
        base: The branch that the merge request goes into; what is checked out, or the default one, if empty.
    """

    pipeline: str
    reason: str = ""
    force: bool = False
    submit: bool = False
    base: str = ""


@dataclass(frozen=True)
class Retrained:
    """What came of it.

    Attributes:
        outcome: What was done, or why nothing was.
        told: The same in a line.
        rows: How many new labelled rows there are.
        branch: Where the new version of the data is; empty if nothing was begun.
        commit: Its commit.
        remote: The remote that has the branch; empty if it is here alone.
        merge_request: Its address; empty if no forge was told.
        run: The run that judged what was learnt; empty if none was made here.
        text: What the merge request says.
    """

    outcome: Outcome
    told: str
    rows: int = 0
    branch: str = ""
    commit: str = ""
    remote: str = ""
    merge_request: str = ""
    run: str = ""
    text: str = ""


@dataclass(frozen=True)
class _Work:
    """A retraining that has begun."""

    root: Path
    pipeline: Pipeline
    storage: Storage
    asked: RetrainRequest
    name: str
    new: Labelled
    taken: frozenset[str]
    joined: Joined
    table: Path
    summary: str

    @property
    def data_path(self) -> Path:
        """The table that is learnt from, as the checkout has it."""
        return self.root / self.pipeline.data[self.name].path

    @property
    def branch(self) -> str:
        """The same rows give the same branch, so that a repeat finds what is there."""
        return f"retrain/{self.pipeline.name}/{self.table.stem[:12]}"


def retrain(
    root: Path, asked: RetrainRequest, environment: Mapping[str, str], report: Report = lambda _: None
) -> Retrained:
    """Takes new labelled rows into the data, runs, and opens a merge request.

    Args:
        root: The project's folder, in a Git repository.
        asked: What, and why.
        environment: Has the forge's token, if it is to be told.
        report: Told in a line what happens.

    Raises:
        RejectedError: The gate rejected what was learnt; nothing is pushed.
        UsageError: The pipeline file does not say where records are, or the rows do not fit the table.
        NbshipError: A step of it failed. Nothing here or elsewhere has changed, and a repeat goes on.
    """
    git.require_repository(root)
    pipeline = load_pipeline(root, asked.pipeline, (), (), os.environ)
    revision = git.revision(root)
    if revision is None or not revision.commit or revision.dirty:
        raise UsageError("files differ from the commit that is checked out", "commit them: git status")
    if not pipeline.monitor.store or pipeline.publish is None:
        lacking = "publish" if pipeline.publish is None else "monitor.store"
        raise UsageError(f"pipelines/{pipeline.name}.yaml: has no {lacking}", f"add {lacking}")
    storage = open_required(_store(root, pipeline.monitor.store))
    name = _data_name(pipeline)
    path = root / pipeline.data[name].path
    text = git.read_at(root, "HEAD", _taken_file(path))
    taken = retraining.read_taken(text)
    new = retraining.labelled(read_records(storage.address, pipeline.name), taken)
    refused = _reason_not_to(pipeline, asked, storage, new)
    if refused:
        return refused
    work = _begin(root, pipeline, storage, asked, name, new, taken, report)
    record = None if asked.submit else _run(work, report)
    return _hand_over(work, revision.commit, record, environment, report)


def _store(root: Path, address: str) -> str:
    return address if "://" in address or Path(address).is_absolute() else str(root / address)


def _data_name(pipeline: Pipeline) -> str:
    name = pipeline.retrain.data or (next(iter(pipeline.data)) if len(pipeline.data) == 1 else "")
    where = f"pipelines/{pipeline.name}.yaml"
    if not name:
        raise UsageError(f"{where}: which data file takes new rows?", "say: retrain.data: NAME")
    if name not in pipeline.data:
        raise UsageError(f"{where}: retrain.data: no data '{name}'", suggestion(name, pipeline.data))
    if not pipeline.data[name].path.endswith(".csv"):
        raise UsageError(
            f"{where}: {pipeline.data[name].path} is not a CSV table", "rows are added to CSV alone"
        )
    return name


def _taken_file(path: Path) -> Path:
    """The file beside a table, in Git, that says which labels have gone into its version."""
    return path.with_name(f"{path.name}.labels")


def _reason_not_to(
    pipeline: Pipeline, asked: RetrainRequest, storage: Storage, new: Labelled
) -> Retrained | None:
    """What stands against beginning: too few rows, the last one a short time ago, the same rows again."""
    count = len(new.ids)
    if count < (1 if asked.force else pipeline.retrain.least):
        rows = f"{count} new labelled row{'' if count == 1 else 's'}"
        return Retrained("too few", f"{rows}; {pipeline.retrain.least} are wanted (retrain.least)", count)
    if asked.force:
        return None
    known = retraining.attempts(storage, pipeline.name)
    tried = {each for attempt in known for each in attempt.ids}
    if tried.issuperset(new.ids):
        last = known[-1]
        told = f"all {count} were in the retraining of {last.time[:10]}, which was {last.outcome}"
        return Retrained("tried already", told, count, last.branch)
    until = retraining.cooling_until(known, pipeline.monitor.cooldown, datetime.now(UTC))
    if until:
        return Retrained("cooling down", f"the next one may begin at {until:%Y-%m-%d %H:%M} UTC", count)
    return None


def _begin(
    root: Path,
    pipeline: Pipeline,
    storage: Storage,
    asked: RetrainRequest,
    name: str,
    new: Labelled,
    taken: frozenset[str],
    report: Report,
) -> _Work:
    """Writes the new table beside the checkout, under the hash of what it holds."""
    import pandas as pd

    assert pipeline.publish is not None  # noqa: S101 (for the type checker: it was looked at)
    path = data.ensure(root, pipeline, report)[name]
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    champion = package.find_package(registry.model_folder(root, pipeline.name))
    inputs: Sequence[str] = [column.name for column in champion.inputs] if champion else list(new.inputs)
    settings = pipeline.retrain
    retraining.check_columns(inputs, set(table.columns), settings, pipeline.monitor)
    if settings.rule == "weight":
        _check_weight_is_used(root, pipeline)
    joined = retraining.join(table, new, settings, pipeline.publish.target)
    text = joined.table.to_csv(index=False, lineterminator="\n").encode()
    target = root / FOLDER / pipeline.name / f"{hashlib.sha256(text).hexdigest()}.csv"
    files.write_bytes(target, text)
    summary = retraining.summary(settings, joined)
    report(summary)
    return _Work(root, pipeline, storage, asked, name, new, taken, joined, target, summary)


def _check_weight_is_used(root: Path, pipeline: Pipeline) -> None:
    column = pipeline.retrain.weight_column
    texts = (step.notebook.path.read_text("utf-8") for step in read_graph(root, pipeline).steps.values())
    if not any(column in text for text in texts):
        raise UsageError(
            f"no notebook of {pipeline.name} uses the column {column}", "have the training read it as weights"
        )


def _run(work: _Work, report: Report) -> RunRecord:
    """Runs on the new table, and has the gate judge; what is rejected is noted, and not tried again."""
    settings = [f"data.{work.name}.path={work.table.relative_to(work.root).as_posix()}"]
    if work.pipeline.gate and work.pipeline.gate.recipes:
        # The recipe is the champion's: what differs is what was learnt, which held-out rows show.
        settings.append("gate.recipes_rows=0")
    record, _ = run(work.root, RunRequest(work.pipeline.name, settings), report=report)
    if record.verdict is not None and not record.verdict.passed:
        _note(work, "rejected", "")
        raise RejectedError(
            f"the model trained on {len(work.new.ids):,} new rows was rejected: "
            f"{'; '.join(record.verdict.reasons)}",
            f"the champion stays, and these rows are not tried again: nbship runs open {record.id}",
        )
    return record


def _hand_over(
    work: _Work,
    base: str,
    record: RunRecord | None,
    environment: Mapping[str, str],
    report: Report,
) -> Retrained:
    """Pushes data, then the branch, opens the merge request, and notes that it was done."""
    root = work.root
    text = _text(work, record)
    remote = upstream.default_remote(root)
    has_dvc_remote = bool(dvc.default_remote(root))
    if remote and not has_dvc_remote:
        raise NbshipError(
            "no DVC remote is set to push the new data to",
            "set one and commit it: dvc remote add --default NAME URL",
        )
    commit = upstream.branch_head(root, remote, work.branch) if remote else _local(root, work.branch)
    if not commit:
        tracked = content.push_content(root, work.table) if has_dvc_remote else dvc.store(root, work.table)
        ids = sorted(work.taken | set(work.new.ids))
        texts = {
            dvc.tracking_file(work.data_path): dvc.tracking_text(work.data_path, tracked),
            _taken_file(work.data_path): retraining.taken_text(ids),
        }
        message = f"Take {len(work.new.ids):,} new labelled rows into {work.data_path.name}\n\n{work.summary}"
        commit = upstream.commit_texts(root, base, texts, message)
        if remote:
            upstream.push_branch(root, remote, work.branch, commit)
        else:
            git.output(root, "update-ref", f"refs/heads/{work.branch}", commit)
        report(f"{work.branch} has the new version of {work.data_path.name}")
    address = _merge_request(work, remote, text, environment)
    if work.asked.submit:
        _submit(work, commit, environment, report)
    _note(work, "pushed", work.branch)
    told = f"{work.branch} has {len(work.new.ids):,} new labelled rows"
    run_id = record.id if record else ""
    return Retrained("pushed", told, len(work.new.ids), work.branch, commit, remote, address, run_id, text)


def _local(root: Path, branch: str) -> str:
    return git.call(root, "rev-parse", "--quiet", "--verify", f"refs/heads/{branch}").stdout.strip()


def _merge_request(work: _Work, remote: str, text: str, environment: Mapping[str, str]) -> str:
    forge = ci.find_forge(environment)
    if not remote or not environment.get(forge.token):
        return ""
    job = ci.current_job(environment)
    origin = "" if job.project else git.output(work.root, "remote", "get-url", remote).strip()
    into = work.asked.base or job.default_branch or upstream.find(work.root).branch
    project = forge.open(environment, origin)
    title = f"Retrain {work.pipeline.name} on {len(work.new.ids):,} new labelled rows"
    return project.open_merge_request(work.branch, into, title, text)


def _submit(work: _Work, commit: str, environment: Mapping[str, str], report: Report) -> None:
    """Has Kubeflow run the branch; what its gate passes is published to the branch, beside the data."""
    from nbship.workflow.submit import SubmitRequest, connect_for, submit

    connection = connect_for(work.root, work.pipeline.name, environment)
    request = SubmitRequest(work.pipeline.name, commit, [f"branch={work.branch}"], variables=environment)
    submission = submit(connection, work.root, request, environment)
    report(f"Kubeflow runs it: {submission.link or submission.run.id}")


def _note(work: _Work, outcome: str, branch: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    attempt = Attempt(now, work.new.ids, work.asked.reason, outcome, branch)
    retraining.note_attempt(work.storage, work.pipeline.name, attempt)
    files.remove(work.table)


def _text(work: _Work, record: RunRecord | None) -> str:
    """What the merge request says: why, what was taken in, how that was judged, the run's note."""
    reason = work.asked.reason or "asked for by hand"
    parts = [f"**Why:** {plain(reason)}", f"**Data:** {plain(work.summary)}"]
    if record:
        parts += [plain(line) for line in judged_rows(work.root, work.pipeline, record, work.new)]
        parts.append(run_section(record))
    return "\n\n".join(parts)


def judged_rows(root: Path, pipeline: Pipeline, record: RunRecord, new: Labelled) -> list[str]:
    """Says how many held-out rows are new, and how both models did on old and on new ones."""
    gate = pipeline.gate
    held_out = held_out_input(read_graph(root, pipeline)) if gate else None
    if gate is None or held_out is None or not held_out.step:
        return []
    folder = root / "runs" / record.pipeline / record.id
    made = record.steps[str(held_out.step)].outputs[held_out.name]
    columns = set(trained.columns_of(folder / made.path)) & set(new.inputs.columns)
    if not columns:
        return []
    names = sorted(columns)
    known = set(trained.hash_table(new.inputs, names).tolist())
    is_new = [row in known for row in trained.hash_rows(folder / made.path, names).hashes]
    count = sum(is_new)
    told = [f"{len(is_new):,} rows are held out, {count:,} of them new; every one counts once."]
    for title, step in (("candidate", gate.step), ("champion", champion_step(gate.step))):
        artifact = record.steps[step].outputs.get(gate.losses) if step in record.steps else None
        losses = list(read_losses(folder / artifact.path).values()) if artifact else []
        if len(losses) == len(is_new) and 0 < count < len(is_new):
            of_new = sum(loss for loss, each in zip(losses, is_new, strict=True) if each)
            on_old, on_new = (sum(losses) - of_new) / (len(losses) - count), of_new / count
            told.append(f"Mean loss of the {title}: {on_old:.4g} on old rows, {on_new:.4g} on new ones.")
    return told
