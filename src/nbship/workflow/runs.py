"""Runs of the past, as data: which there are, which one is meant, and what differs between two.

Reads the records alone. Nothing here prints, and nothing here judges whether a difference is good.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nbship.errors import NbshipError, UsageError
from nbship.record import PAGE, RunRecord, StepRecord, all_runs, find_run, run_folder

if TYPE_CHECKING:
    import pandas as pd

LATEST = "latest"
PREVIOUS = "previous"
Kind = Literal["outcome", "steps", "parameters", "data", "code", "environment", "metrics"]
KINDS: tuple[Kind, ...] = ("outcome", "steps", "parameters", "data", "code", "environment", "metrics")


@dataclass(frozen=True)
class Summary:
    """A run in a line.

    Attributes:
        id: Its identifier.
        pipeline: The pipeline.
        started: When.
        state: Where it stands.
        verdict: passed, rejected, or nothing where the gate was not asked.
        seconds: How long it took.
        metrics: The metrics that the gate bounds, by the names that the gate has for them.
        page: The run page, from the project's folder.
    """

    id: str
    pipeline: str
    started: datetime
    state: str
    verdict: str
    seconds: float
    metrics: Mapping[str, float]
    page: str


@dataclass(frozen=True)
class Difference:
    """Something that two runs do not have in common; `a` and `b` are None where a run does not have it."""

    kind: Kind
    name: str
    a: Any
    b: Any


def summaries(root: Path, pipeline: str = "", limit: int | None = None) -> list[Summary]:
    """Returns the runs of a pipeline, or of all, newest first.

    Args:
        root: The project's folder.
        pipeline: The pipeline; all if empty.
        limit: How many at most.
    """
    return [_summary(root, record) for record in islice(all_runs(root, pipeline), limit)]


def table(root: Path, pipeline: str = "", limit: int | None = None) -> pd.DataFrame:
    """Returns the runs of a pipeline, or of all, as a table, newest first.

    Args:
        root: The project's folder.
        pipeline: The pipeline; all if empty.
        limit: How many at most.

    Returns:
        A row for each run, by its id: pipeline, started (UTC), seconds, state, verdict, and a column for each
        `metrics.step.name` and `parameters.step.name`.
    """
    import pandas as pd

    rows, ids = [], []
    for record in islice(all_runs(root, pipeline), limit):
        ids.append(record.id)
        row: dict[str, Any] = {"pipeline": record.pipeline, "started": record.started}
        row |= {"seconds": record.seconds, "state": str(record.state), "verdict": _verdict(record)}
        row |= {f"metrics.{name}": value for name, value in record.metrics.items()}
        for step in record.steps.values():
            row |= {f"parameters.{name}": value for name, value in _by_step(step, step.parameters).items()}
        rows.append(row)
    found = pd.DataFrame(rows, index=pd.Index(ids, name="run"))
    columns = ["pipeline", "started", "seconds", "state", "verdict"]
    if not rows:
        return found.reindex(columns=columns)
    others = [name for name in found if name not in columns]
    return found[[*columns, *sorted(others, key=lambda name: not name.startswith("metrics."))]]


def find(root: Path, name: str = LATEST) -> RunRecord:
    """Finds a run by its identifier, by a beginning of it that fits no other, or by `latest` or `previous`.

    Raises:
        UsageError: No run fits, or several do.
    """
    if name == PREVIOUS:
        return _before(root, find_run(root, "")[0])
    return find_run(root, "", "" if name == LATEST else name)[0]


def find_pair(root: Path, first: str = PREVIOUS, second: str = LATEST) -> tuple[RunRecord, RunRecord]:
    """Finds two runs; `previous` is the run of the same pipeline before the other one.

    Raises:
        UsageError: One of them is not there.
    """
    if first == PREVIOUS:
        b = find(root, second)
        return _before(root, b), b
    a = find(root, first)
    return a, _before(root, a) if second == PREVIOUS else find(root, second)


def page_path(root: Path, record: RunRecord) -> Path:
    """Returns the page of a run.

    Raises:
        NbshipError: The run has none, for it is not at its end or was killed.
    """
    page = run_folder(root, record.pipeline, record.id) / PAGE
    if not page.is_file():
        raise NbshipError(f"run {record.id} has no page", f"run again: nbship run {record.pipeline}")
    return page


def compare(a: RunRecord, b: RunRecord) -> tuple[Difference, ...]:
    """Returns what differs between two runs: outcome, steps, parameters, data, code, environment and metrics.

    Steps that only one run has are told once and not looked into. Data files and code are compared by hash.
    Where a run did not get as far as a step, there is nothing of it to compare.
    """
    return tuple(_differences(a, b))


def _summary(root: Path, record: RunRecord) -> Summary:
    return Summary(
        id=record.id,
        pipeline=record.pipeline,
        started=record.started,
        state=record.state,
        verdict=_verdict(record),
        seconds=record.seconds,
        metrics=_main_metrics(record),
        page=(run_folder(root, record.pipeline, record.id) / PAGE).relative_to(root).as_posix(),
    )


def _verdict(record: RunRecord) -> str:
    return "" if record.verdict is None else "passed" if record.verdict.passed else "rejected"


def _main_metrics(record: RunRecord) -> dict[str, float]:
    if record.verdict:
        return {check.metric: check.value for check in record.verdict.checks}
    if record.gate is None:
        return {}
    measured = record.metrics
    step = record.gate.step
    names = {key: key if key in measured else f"{step}.{key}" for key in record.gate.thresholds}
    return {key: measured[name] for key, name in names.items() if name in measured}


def _before(root: Path, record: RunRecord) -> RunRecord:
    earlier = next((run for run in all_runs(root, record.pipeline) if run.id < record.id), None)
    if earlier is None:
        raise UsageError(
            f"there is no run of {record.pipeline} before {record.id}",
            f"run it once more: nbship run {record.pipeline}",
        )
    return earlier


def _differences(a: RunRecord, b: RunRecord) -> Iterator[Difference]:
    yield from _compared("outcome", _outcome(a), _outcome(b))
    for name in {**a.steps, **b.steps}:
        if (name in a.steps) != (name in b.steps):
            there = (name if name in run.steps else None for run in (a, b))
            yield Difference("steps", name, *there)
    both = [(step, b.steps[name]) for name, step in a.steps.items() if name in b.steps]
    for one, other in both:
        yield from _compared("parameters", _by_step(one, one.parameters), _by_step(other, other.parameters))
    data = data_hashes(a), data_hashes(b)
    common = data[0].keys() & data[1].keys()
    yield from _compared("data", *({name: hashes[name] for name in sorted(common)} for hashes in data))
    for one, other in both:
        if one.code and other.code:
            yield from _compared("code", {one.source: one.code}, {one.source: other.code})
    yield from _compared("environment", a.environment.model_dump(), b.environment.model_dump())
    for one, other in both:
        measured = [_by_step(step, {**step.results, **step.metrics}) for step in (one, other)]
        if all(measured):
            yield from _compared("metrics", *measured)


def _outcome(record: RunRecord) -> dict[str, Any]:
    return {"pipeline": record.pipeline, "state": str(record.state), "verdict": _verdict(record) or None}


def _by_step(step: StepRecord, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{step.name}.{name}": value for name, value in values.items()}


def data_hashes(record: RunRecord) -> dict[str, str]:
    """Content hash of every file that came from outside the run."""
    artifacts = [artifact for step in record.steps.values() for artifact in step.inputs.values()]
    return {artifact.origin: artifact.hash for artifact in artifacts if "." not in artifact.origin}


def _compared(kind: Kind, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Difference]:
    for name in {**a, **b}:
        if not _same(a.get(name), b.get(name)):
            yield Difference(kind, name, a.get(name), b.get(name))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-12) or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and bool(a == b)
