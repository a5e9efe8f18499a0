"""Run a pipeline on this machine: data, steps, gate, page."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from nbship import config, package
from nbship.config import load_pipeline
from nbship.errors import NbshipError, Report, UsageError, suggestion
from nbship.files import content_hash, write_text
from nbship.gate import Verdict, read_losses
from nbship.graph import (
    RECIPES,
    REFITS,
    Graph,
    Reference,
    champion_step,
    held_out_input,
    model_input,
    read_graph,
    with_champion,
)
from nbship.kernels import forkserver
from nbship.linting import require_modules
from nbship.local import runner
from nbship.local.cache import environment_hash
from nbship.local.execute import explained
from nbship.pages.run_page import write_run_page
from nbship.record import (
    METRICS,
    Environment,
    RunRecord,
    State,
    all_runs,
    new_run_id,
    run_folder,
    running,
    save,
    this_environment,
)
from nbship.samples import with_samples
from nbship.versions import git, registry
from nbship.workflow import data, judging
from nbship.workflow.judging import Evidence
from nbship.workflow.neighbours import link_from_before, neighbours
from nbship.workflow.progress import durations

# Kernels of the environment that this process runs in.
_OWN_KERNELS = (runner.WARM_KERNEL, forkserver.STANDARD_KERNEL)


@dataclass(frozen=True)
class RunRequest:
    """What a person asks of a run.

    Attributes:
        pipeline: The pipeline's name.
        settings: `step.parameter=value`, or any key of the pipeline file.
        override_files: YAML files merged into the pipeline file.
        sample: Use synthetic samples in place of the data files that have one.
        force: Run every step.
        from_step: Run this step and all that depends on it.
        only: Run this step, and of the others no more than it needs.
        jobs: Steps that run at the same time.
        kernel: Name of the kernel specification.
    """

    pipeline: str
    settings: Sequence[str] = ()
    override_files: Sequence[Path] = ()
    sample: bool = False
    force: bool = False
    from_step: str = ""
    only: str = ""
    jobs: int = 1
    kernel: str = runner.WARM_KERNEL


def run(
    root: Path,
    request: RunRequest,
    on_event: Callable[[runner.Event], None] = lambda _: None,
    report: Report = lambda _: None,
    on_end: Callable[[RunRecord, Path], None] = lambda *_: None,
) -> tuple[RunRecord, Path]:
    """Runs a pipeline and judges its model.

    Args:
        root: The project's folder.
        request: What to run, and how.
        on_event: Told what happens to each step, from several threads.
        report: Told in a line what is fetched.
        on_end: Given the record and the run's folder when the run has ended, however it did.

    Returns:
        The record of the run, whose verdict may be a rejection, and the run's folder.

    Raises:
        UsageError: The pipeline cannot be understood; nothing was run.
        NbshipError: A step failed; the record and the page say which.
        KeyboardInterrupt: The run was interrupted; the record and the page say so.
    """
    pipeline = load_pipeline(root, request.pipeline, request.settings, request.override_files, os.environ)
    graph = read_graph(root, pipeline)
    if request.sample:
        graph = with_samples(root, graph)
    _check_step(graph, request.from_step)
    _check_step(graph, request.only)
    if request.kernel in _OWN_KERNELS:
        notebooks = [step.notebook.path for step in graph.steps.values()]
        require_modules({path.relative_to(root).as_posix(): path for path in notebooks})
    data.ensure(root, graph.pipeline, report)
    # What stands in for the data tells nothing of how two models compare on it.
    compared = pipeline.gate is not None and not request.sample
    champion = registry.champion(root, pipeline.name, report) if compared else None
    if champion:
        registry.trained_rows(root, pipeline.name, report)  # before anything is run
        graph = with_champion(graph, champion.relative_to(root))
    if request.only:
        needed = _needed(graph, request.only)
        graph = replace(graph, steps={name: step for name, step in graph.steps.items() if name in needed})
    record = RunRecord(
        id=new_run_id(),
        pipeline=pipeline.name,
        description=pipeline.description,
        started=datetime.now(UTC),
        process=os.getpid(),
        settings=list(request.settings),
        override_files=[str(file) for file in request.override_files],
        variables=config.variables(os.environ),
        synthetic=[name for name in pipeline.data if name not in graph.data],
        environment=_environment(root),
        gate=pipeline.gate,
        champion=content_hash(champion) if champion else "",
    )
    if request.kernel == runner.WARM_KERNEL and not forkserver.AVAILABLE:
        report("warm kernels need Linux: each step gets an ordinary kernel, which starts more slowly")
        request = replace(request, kernel=forkserver.STANDARD_KERNEL)
    folder = run_folder(root, pipeline.name, record.id)
    options = runner.Options(
        jobs=request.jobs,
        kernel=request.kernel,
        forced=_forced(graph, request),
        expected=durations(root, pipeline.name, graph.steps),
        on_event=on_event,
    )
    try:
        with running(folder):
            try:
                _run(root, graph, folder, record, options)
            finally:
                on_end(record, folder)
    except NbshipError:
        _mirror(root, pipeline, report)
        raise
    _mirror(root, pipeline, report)
    return record, folder


def _mirror(root: Path, pipeline: config.Pipeline, report: Report) -> None:
    if pipeline.mlflow.tracking_uri:  # else nothing of it is imported
        from nbship.workflow.mirror import mirror

        mirror(root, pipeline, report)


def _run(root: Path, graph: Graph, folder: Path, record: RunRecord, options: runner.Options) -> None:
    """Runs and judges; however it ends, the record says how and the page is written."""
    started = time.perf_counter()
    try:
        runner.run_graph(root, graph, folder, record, options)
        if record.gate and record.gate.step in graph.steps:
            record.verdict = _judge(root, graph, record, folder)
        _conclude(root, record, folder, State.DONE, started)
    except KeyboardInterrupt:
        _conclude_in_need(root, record, folder, State.INTERRUPTED, started)
        raise
    except Exception as error:
        failure = explained(error, folder)
        record.error = failure.message
        _conclude_in_need(root, record, folder, State.FAILED, started)
        raise failure from error


def _conclude(root: Path, record: RunRecord, folder: Path, state: State, started: float) -> None:
    record.state = state
    record.seconds = round(time.perf_counter() - started, 3)
    write_text(folder / METRICS, json.dumps(record.metrics, indent=2))
    others = neighbours(root, record)
    write_run_page(record, folder, others)
    # Last, so that a run that says it is done has its page.
    save(record, folder)
    with suppress(NbshipError):  # a link more or less is no failure of this run
        link_from_before(root, record, others)


def _conclude_in_need(root: Path, record: RunRecord, folder: Path, state: State, started: float) -> None:
    """On a full disk as little as the record may be too much; what went wrong first is what is told."""
    with suppress(Exception):
        _conclude(root, record, folder, state, started)
        return
    with suppress(NbshipError):
        save(record, folder)


def _judge(root: Path, graph: Graph, record: RunRecord, folder: Path) -> Verdict:
    gate, publish = graph.pipeline.gate, graph.pipeline.publish
    assert gate is not None  # noqa: S101 (for the type checker: only then it is called)

    def output(reference: str) -> Path | None:
        step, name = Reference.parse(reference)
        made = record.steps.get(str(step))
        return folder / made.outputs[name].path if made and name in made.outputs else None

    losses, held_out = output(f"{gate.step}.{gate.losses}"), held_out_input(graph)
    assert losses is not None  # noqa: S101 (the step has run)
    described = registry.model_folder(root, record.pipeline)
    evidence = Evidence(
        losses=losses,
        champion_losses=output(f"{champion_step(gate.step)}.{gate.losses}"),
        refits=output(f"{RECIPES}.{REFITS}"),
        held_out=_held_out(root, graph, held_out, output) if held_out else None,
        reference=output(publish.reference) if publish else None,
        target=publish.target if publish else "",
        champion_rows=registry.trained_rows(root, record.pipeline) if record.champion else None,
        champion=package.find_package(described) if record.champion else None,
        tried=_models_tried(root, graph, record, losses),
    )
    return judging.decide(gate, record.metrics, evidence)


def _held_out(
    root: Path, graph: Graph, origin: Reference, output: Callable[[str], Path | None]
) -> Path | None:
    return output(str(origin)) if origin.step else root / graph.data[origin.name]


def _models_tried(root: Path, graph: Graph, record: RunRecord, losses: Path) -> int:
    """How many other models the runs that are kept here have tried against this champion on these rows."""
    gate = record.gate
    if gate is None or not record.champion:
        return 0
    model = model_input(graph.steps[gate.step])

    def judged(run: RunRecord) -> str:
        step = run.steps.get(gate.step)
        return step.inputs[model].hash if step and model in step.inputs else ""

    runs = [r for r in all_runs(root, record.pipeline) if r.champion == record.champion and r.verdict]
    if not runs:  # the losses of millions of rows take seconds to read
        return 0
    held_out_set = judging.held_out_hash(read_losses(losses))
    before = {judged(r) for r in runs if r.verdict and r.verdict.held_out_set == held_out_set}
    return len(before - {judged(record), record.champion, ""})


def _forced(graph: Graph, request: RunRequest) -> frozenset[str]:
    if request.force:
        return frozenset(graph.steps)
    forced = graph.downstream(request.from_step) if request.from_step else set()
    return frozenset(forced | ({request.only} if request.only else set()))


def _needed(graph: Graph, only: str) -> set[str]:
    """The steps that a step depends on, and those of a verdict where the gate's step is one of them."""
    needed = graph.ancestors(only)
    gate = graph.pipeline.gate
    if gate and gate.step in needed:
        measured = {key.partition(".")[0] for key in gate.thresholds}
        for name in graph.steps.keys() & {champion_step(gate.step), RECIPES, *measured}:
            needed |= graph.ancestors(name)
    return needed


def _check_step(graph: Graph, name: str) -> None:
    if name and name not in graph.steps:
        raise UsageError(f"pipeline '{graph.name}' has no step '{name}'", suggestion(name, graph.steps))


def _environment(root: Path) -> Environment:
    revision = git.revision(root)
    lock = environment_hash(root)
    return this_environment(lock, revision.commit, revision.dirty) if revision else this_environment(lock)
