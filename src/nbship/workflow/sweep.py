"""Sweep parameters: run every combination, with what they share run once, and say which did best."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from nbship.config import Gate, Pipeline, load_pipeline
from nbship.config.edit import set_parameters
from nbship.errors import NbshipError, Report, UsageError, suggestion
from nbship.files import write_text
from nbship.graph import Graph, Reference, build_graph
from nbship.grid import Choice, combinations, merge_graphs, parse_choice, varied
from nbship.local import runner
from nbship.notebook import read_notebook
from nbship.pages.sweep_page import Goal, SweepRecord, Trial, ranked, sweep_folder, write_sweep
from nbship.project import PIPELINES
from nbship.record import RunRecord, State, StepRecord, new_run_id, running, this_environment
from nbship.workflow import data
from nbship.workflow.compile import own_files
from nbship.workflow.image import image_reference

_LESS = ("rmse", "mae", "mse", "mape", "loss", "error", "brier", "deviance", "perplexity")
_MORE = ("accuracy", "auc", "r2", "f1", "precision", "recall", "skill", "score", "ap", "lift", "kappa", "mcc")
_PARTS = ("_std", "_low", "_high")


@dataclass(frozen=True)
class SweepRequest:
    """What a person asks of a sweep.

    Attributes:
        pipeline: The pipeline's name.
        settings: `step.parameter=value,value,…`.
        at_random: Draw so many combinations; 0 for all.
        seed: Seed of the draw.
        metric: `step.metric`; the first cross-validated one of the step that trains if empty.
        goal: Whether less or more of it is better; found out from its bounds or its name if None.
        jobs: Steps that run at the same time.
    """

    pipeline: str
    settings: Sequence[str]
    at_random: int = 0
    seed: int = 0
    metric: str = ""
    goal: Goal | None = None
    jobs: int = 1


def sweep(
    root: Path,
    request: SweepRequest,
    on_event: Callable[[runner.Event], None] = lambda _: None,
    report: Report = lambda _: None,
) -> tuple[SweepRecord, Path]:
    """Runs the combinations, and of each no more than its metric needs.

    A combination that fails does not stop the others. One that was run before comes from the cache, so that a
    sweep that was interrupted goes on where it was.

    Returns:
        The record, best combination first, and the sweep's folder.

    Raises:
        UsageError: The pipeline, a parameter, a value or the metric cannot be understood; nothing was run.
        NbshipError: No combination could be measured.
        KeyboardInterrupt: It was interrupted; the record has what was measured.
    """
    pipeline, choices, graphs, step, name = _planned(root, request, os.environ)
    data.ensure(root, pipeline, report)
    merged, places = merge_graphs(graphs)
    record = SweepRecord(
        id=new_run_id(),
        pipeline=pipeline.name,
        started=datetime.now(UTC),
        metric=request.metric,
        held_out=bool(pipeline.gate and pipeline.gate.step == step),
    )
    folder = sweep_folder(root, pipeline.name, record.id)
    run = _run_record(record)
    settled = varied(graphs, choices)

    def conclude(state: State) -> None:
        measured = [run.steps[place[step]] for place in places]
        record.metric = f"{step}.{name or _cross_validated(measured)}"
        record.goal = _goal(request.goal, record.metric, pipeline.gate, measured)
        trials = [_trial(record.metric, s, values) for s, values in zip(measured, settled, strict=True)]
        record.trials = ranked(trials, record.goal)
        record.state, record.seconds = state, round(time.perf_counter() - started, 3)
        write_sweep(record, folder)

    started = time.perf_counter()
    with running(folder):
        try:
            options = runner.Options(jobs=request.jobs, on_event=on_event)
            runner.run_graph(root, merged, folder, run, options)
        except NbshipError:
            if not any(run.steps[place[step]].metrics for place in places):
                raise
        except KeyboardInterrupt:
            with suppress(NbshipError):
                conclude(State.INTERRUPTED)
            raise
        conclude(State.DONE)
    return record, folder


def compile_sweep(root: Path, request: SweepRequest) -> str:
    """Compiles a sweep for Kubeflow, where the combinations run in parallel.

    As with a pipeline, no variable of the environment goes in.

    Raises:
        UsageError: As `sweep`, or Kubeflow cannot take something.
    """
    from nbship.kubeflow import sweep as kubeflow

    pipeline, choices, graphs, _, _ = _planned(root, request, {})
    pipeline = pipeline.model_copy(update={"image": image_reference(root, pipeline.image)})
    graph = replace(graphs[0], pipeline=pipeline)
    return kubeflow.compile_sweep(graph, varied(graphs, choices), own_files(root, graph))


def _planned(
    root: Path, request: SweepRequest, environment: Mapping[str, str]
) -> tuple[Pipeline, list[Choice], list[Graph], str, str]:
    """The combinations, less what their metric does not need, and the step and the name of the metric."""
    pipeline, choices, graphs = plan(root, request, environment)
    step, _, name = (request.metric or f"{_training_step(pipeline)}.").partition(".")
    if step not in pipeline.steps:
        raise UsageError(
            f"--metric {request.metric}: there is no step '{step}'", suggestion(step, pipeline.steps)
        )
    graphs = [_only(graph, step) for graph in graphs]
    _check_reached(graphs[0], choices, step)
    return pipeline, choices, graphs, step, name


def plan(
    root: Path, request: SweepRequest, environment: Mapping[str, str]
) -> tuple[Pipeline, list[Choice], list[Graph]]:
    """Reads the pipeline once for each combination.

    Args:
        root: The project's folder.
        request: What is varied.
        environment: Variables that are laid over the pipeline file.

    Raises:
        UsageError: Something cannot be understood.
    """
    choices = [parse_choice(setting) for setting in request.settings]
    if not choices:
        raise UsageError(
            "there is nothing to vary", f"nbship sweep {request.pipeline} --set train.C=0.1,1,10"
        )
    settings = combinations(choices, request.at_random, request.seed)
    pipeline = load_pipeline(root, request.pipeline, environment=environment)
    for choice in choices:
        if choice.step not in pipeline.steps:
            raise UsageError(
                f"--set {choice.step}.{choice.parameter}: there is no step '{choice.step}'",
                suggestion(choice.step, pipeline.steps),
            )
    notebooks = {n: read_notebook(root / s.notebook, s.notebook) for n, s in pipeline.steps.items()}
    graphs = [
        build_graph(load_pipeline(root, request.pipeline, each, environment=environment), notebooks)
        for each in settings
    ]
    return pipeline, choices, graphs


def write_best(root: Path, record: SweepRecord) -> str:
    """Writes the best combination into the pipeline file, and leaves the rest of it as it is.

    Returns:
        The file, from the project's folder.

    Raises:
        NbshipError: No combination was measured, or the file cannot be edited safely.
    """
    if record.best is None:
        raise NbshipError("no combination was measured", "see why on the sweep's page")
    name = f"{PIPELINES}/{record.pipeline}.yaml"
    text = (root / name).read_text(encoding="utf-8")
    by_step: dict[str, dict[str, object]] = {}
    for key, value in record.best.parameters.items():
        step, _, parameter = key.partition(".")
        by_step.setdefault(step, {})[parameter] = value
    for step, values in by_step.items():
        text = set_parameters(text, step, values, name)
    write_text(root / name, text)
    return name


def _training_step(pipeline: Pipeline) -> str:
    if pipeline.publish is None:
        raise UsageError(
            "which metric? the pipeline does not say which step trains", "--metric train.cv_rmse"
        )
    return str(Reference.parse(pipeline.publish.model).step)


def _only(graph: Graph, step: str) -> Graph:
    needed = graph.ancestors(step)
    return replace(graph, steps={name: s for name, s in graph.steps.items() if name in needed})


def _check_reached(graph: Graph, choices: Sequence[Choice], step: str) -> None:
    """A parameter that cannot change the metric is a mistake."""
    for choice in choices:
        where = f"{choice.step}.{choice.parameter}"
        if choice.step not in graph.steps:
            raise UsageError(
                f"--set {where}: step '{step}', which measures, does not depend on it",
                "vary a step before it, or choose another --metric",
            )
        if choice.parameter in graph.steps[choice.step].inputs:
            raise UsageError(f"--set {where}: it is wired to another step", "vary what that step depends on")


def _run_record(record: SweepRecord) -> RunRecord:
    return RunRecord(
        id=record.id,
        pipeline=record.pipeline,
        started=record.started,
        process=os.getpid(),
        environment=this_environment(),
    )


def _cross_validated(measured: Sequence[StepRecord]) -> str:
    names = [name for step in measured for name in step.metrics if name.startswith("cv_") and _is_main(name)]
    if not names:
        known = {n for step in measured for n in step.metrics}
        raise NbshipError(
            f"step '{measured[0].source}' has no cross-validated metric (cv_…)"
            if known
            else "nothing was measured",
            f"choose one with --metric; {suggestion('cv_', known)}",
        )
    return names[0]


def _is_main(name: str) -> bool:
    return not name.endswith(_PARTS)


def _goal(asked: Goal | None, metric: str, gate: Gate | None, measured: Sequence[StepRecord]) -> Goal:
    step, _, name = metric.partition(".")
    known = {key for record in measured for key in record.metrics}
    if known and name not in known:
        raise NbshipError(f"--metric {metric}: step '{step}' has no such metric", suggestion(name, known))
    if asked:
        return asked
    plain = name.removeprefix("cv_")
    for key, bounds in (gate.thresholds if gate else {}).items():
        if key.rpartition(".")[2].removeprefix("cv_") == plain and (bounds.min is None) != (
            bounds.max is None
        ):
            return "min" if bounds.min is None else "max"
    parts = plain.lower().split("_")
    if any(part in _LESS for part in parts):
        return "min"
    if any(part in _MORE for part in parts):
        return "max"
    raise UsageError(f"is more or less of {metric} better?", "say it: --goal min, or --goal max")


def _trial(metric: str, step: StepRecord, parameters: dict[str, object]) -> Trial:
    name = metric.partition(".")[2]
    value, spread = step.metrics.get(name), step.metrics.get(f"{name}_std")
    return Trial(
        step=step.name,
        parameters=parameters,
        state=step.state,
        value=float(value) if isinstance(value, int | float) else None,
        spread=float(spread) if isinstance(spread, int | float) else None,
        seconds=step.seconds,
        html=step.html,
        error=step.error,
    )
