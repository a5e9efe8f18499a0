"""The commands about pipelines and runs as functions: `nbship.run` is `nbship run`, with the same words.

Each finds the project from the working directory, as the commands do, calls `workflow`, and returns what
shows itself in a cell. What goes wrong is an `NbshipError`: a cell shows what is wrong and what to do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nbship.config import load_pipeline
from nbship.errors import UsageError, suggestion
from nbship.graph import read_graph
from nbship.jupyter.arguments import Choices, Settings, as_choices, as_settings, reported
from nbship.jupyter.progress import showing
from nbship.jupyter.results import Compiled, Opened, Pipeline, Split, Sweep
from nbship.jupyter.run import Run
from nbship.local.runner import STANDARD_KERNEL, WARM_KERNEL
from nbship.project import pipeline_names, project_root
from nbship.threads import available_cpus
from nbship.workflow import runs as past

if TYPE_CHECKING:
    import pandas as pd

_KERNELS = {"warm": WARM_KERNEL, "standard": STANDARD_KERNEL}


class Interrupted(KeyboardInterrupt):
    """A person stopped it; what was finished is kept. A cell shows this in two lines."""

    def _render_traceback_(self) -> list[str]:
        return ["interrupted; its kernels are ended", "hint: run the cell again: finished steps are reused"]


def run(
    name: str,
    settings: Settings = (),
    *,
    override_files: Sequence[str | Path] = (),
    sample: bool = False,
    force: bool = False,
    from_step: str = "",
    only: str = "",
    jobs: int | None = None,
    kernel: Literal["warm", "standard"] = "warm",
) -> Run:
    """Runs a pipeline here: fetches its data, runs its notebooks, judges its model, writes the run page.

    Steps whose code, parameters and inputs did not change come from the cache.

    Args:
        name: The pipeline.
        settings: Value by `step.parameter`, or by any key of the pipeline file; or texts, as `--set` takes
            them.
        override_files: YAML files merged into the pipeline file.
        sample: Use the pipeline's synthetic sample in place of its data.
        force: Run every step, whatever the cache has.
        from_step: Run this step and all that depends on it.
        only: Run this step; what it needs comes from the cache.
        jobs: Steps at a time; one per CPU if None.
        kernel: warm (forked, ready at once) or standard.

    Returns:
        The run, whether the gate let its model pass or not: see `passed`.

    Raises:
        UsageError: The pipeline cannot be understood; nothing was run.
        NbshipError: A step failed; says in which cell.
        KeyboardInterrupt: A person stopped it; its kernels are ended.

    Example:
        >>> run = nbship.run("auto-mpg", {"train.C": 3})
        >>> run["train.model"]
    """
    from nbship.workflow.run import RunRequest
    from nbship.workflow.run import run as start

    if kernel not in _KERNELS:
        raise UsageError(f"kernel {kernel!r}: there is no such kernel", suggestion(kernel, _KERNELS))
    request = RunRequest(
        pipeline=name,
        settings=as_settings(settings),
        override_files=[Path(file) for file in override_files],
        sample=sample,
        force=force,
        from_step=from_step,
        only=only,
        jobs=jobs or available_cpus(),
        kernel=_KERNELS[kernel],
    )
    try:
        with showing(name, request.jobs) as on_event:
            return Run(*start(project_root(), request, on_event, reported))
    except KeyboardInterrupt:
        raise Interrupted from None


def show(name: str, settings: Settings = (), *, override_files: Sequence[str | Path] = ()) -> Pipeline:
    """Shows a pipeline: its graph, every step's signature, and how the steps are wired.

    Args:
        name: The pipeline.
        settings: As `run` takes them.
        override_files: YAML files merged into the pipeline file.

    Raises:
        UsageError: The pipeline cannot be understood.

    Example:
        >>> nbship.show("auto-mpg")
    """
    root = project_root()
    files = [Path(file) for file in override_files]
    return Pipeline(read_graph(root, load_pipeline(root, name, as_settings(settings), files, os.environ)))


def sweep(
    name: str,
    settings: Choices,
    *,
    random: int = 0,
    seed: int = 0,
    metric: str = "",
    goal: Literal["min", "max"] | None = None,
    jobs: int | None = None,
    write: bool = False,
) -> Sweep:
    """Runs combinations of parameters, with the steps that they share run once.

    Args:
        name: The pipeline.
        settings: The values to try by `step.parameter`; or texts as `--set` takes them.
        random: Try so many combinations, drawn; all if 0.
        seed: Seed of the draw.
        metric: What to go by, `step.metric`; the first `cv_…` of the step that trains if empty.
        goal: Whether less or more of it is better; found out from its bounds or its name if None.
        jobs: Steps at a time; one per CPU if None.
        write: Write the best into the pipeline file.

    Raises:
        UsageError: Something cannot be understood; nothing was run.
        NbshipError: No combination could be measured.
        KeyboardInterrupt: A person stopped it; its kernels are ended.

    Example:
        >>> found = nbship.sweep("auto-mpg", {"train.C": [0.3, 1, 3]})
        >>> found.best, found.table
    """
    from nbship.workflow import sweep as workflow

    root = project_root()
    request = workflow.SweepRequest(
        name, as_choices(settings), random, seed, metric, goal, jobs or available_cpus()
    )
    try:
        with showing(f"sweep of {name}", request.jobs) as on_event:
            record, folder = workflow.sweep(root, request, on_event, reported)
    except KeyboardInterrupt:
        raise Interrupted from None
    if write:
        reported(f"wrote {workflow.write_best(root, record)}")
    return Sweep(record, folder)


def runs(name: str = "", *, limit: int | None = None) -> pd.DataFrame:
    """Returns the runs of a pipeline, or of all, newest first.

    Args:
        name: The pipeline; all if empty.
        limit: How many at most.

    Returns:
        A row for each run, by its id: pipeline, started (UTC), seconds, state, verdict (passed, rejected or
        empty), and a column for each `metrics.step.name` and `parameters.step.name`.

    Raises:
        UsageError: There is no such pipeline.

    Example:
        >>> nbship.runs("auto-mpg").sort_values("metrics.evaluate.rmse")
    """
    root = project_root()
    table = past.table(root, name, limit)
    known = pipeline_names(root)
    if table.empty and name and name not in known:
        raise UsageError(f"there is no pipeline '{name}'", suggestion(name, known))
    return table


def compare(a: str | Run = past.PREVIOUS, b: str | Run = past.LATEST) -> pd.DataFrame:
    """Returns what differs between two runs: parameters, data, code, environment and metrics.

    Args:
        a: A run, the beginning of its id, `latest` or `previous`.
        b: The other.

    Returns:
        A row for each difference: kind, name, and the value that each run has.

    Raises:
        UsageError: One of them is not there.

    Example:
        >>> nbship.compare("previous", "latest")
    """
    import pandas as pd

    first, second = (each.id if isinstance(each, Run) else each for each in (a, b))
    differences = past.compare(*past.find_pair(project_root(), first, second))
    return pd.DataFrame(
        [asdict(each) for each in differences], columns=["kind", "name", "a", "b"], dtype=object
    )


def lint(*names: str, fix: bool = False) -> pd.DataFrame:
    """Finds what will bite later in notebooks: hidden state, undeclared files, missing seeds, secrets.

    Args:
        names: Pipelines, or notebooks; all if none is named.
        fix: Remove first what can be removed safely.

    Returns:
        A row for each finding: file, cell, line, rule, message and hint.

    Raises:
        UsageError: There is no such pipeline, or a file is no notebook.

    Example:
        >>> nbship.lint("auto-mpg")
    """
    import pandas as pd

    from nbship.workflow.lint import lint as find

    findings = find(project_root(), names, fix).findings
    rows = [{**asdict(finding), "hint": finding.hint} for finding in findings]
    return pd.DataFrame(rows, columns=["file", "cell", "line", "rule", "message", "hint"])


def split(
    notebook: str | Path,
    *,
    name: str = "",
    by: str | Path | None = None,
    plan: bool = False,
    run: bool = True,
    force: bool = False,
) -> Split:
    """Splits a notebook into the steps of a pipeline, by its tags, its headings, or what its cells do.

    Args:
        notebook: The notebook; it is only read.
        name: The new pipeline; after the notebook if empty.
        by: An edited plan.
        plan: Return the plan, and write nothing.
        run: Run the notebook once to see what its variables are; else infer types from its code.
        force: Overwrite what is there.

    Raises:
        UsageError: The notebook or the plan cannot be understood, or something is there already.
        NbshipError: The notebook fails; says in which cell.

    Example:
        >>> nbship.split("churn.ipynb", plan=True)
    """
    from nbship.pages.drawing import graph_svg
    from nbship.workflow import split as workflow

    root = project_root()
    proposed = workflow.proposal(root, Path(notebook), name, Path(by) if by else None, run)
    picture = ""
    if not proposed.plan.problems:
        with workflow.graph_of(root, proposed) as graph:
            picture = graph_svg(graph)
    return Split(proposed.plan, () if plan else workflow.split(root, proposed, force), picture)


def compile(  # noqa: A001 (the command's name)
    name: str, *, write: bool = False, settings: Settings = ()
) -> Compiled:
    """Compiles a pipeline for Kubeflow, and says whether the file that is committed is current.

    Args:
        name: The pipeline.
        write: Renew the file if it is not.
        settings: As `run` takes them.

    Raises:
        UsageError: Something is wrong, or Kubeflow cannot take it.

    Example:
        >>> nbship.compile("auto-mpg")
    """
    from nbship.workflow.compile import compile_pipeline

    generated = compile_pipeline(project_root(), name, overrides=as_settings(settings))
    if write:
        generated.write()
    return Compiled(generated, write)


def open(  # noqa: A001 (the command's name)
    step: str, *, pipeline: str = "", run: str | Run = "", replace: bool = False
) -> Opened:
    """Puts what a step read in a run where its notebook looks for it, so that Run All works at once.

    Args:
        step: The step; one that failed will do.
        pipeline: Its pipeline; the last run with such a step decides if empty.
        run: The run, or the beginning of its id; the newest if empty.
        replace: Replace files that are in the way and that no run made.

    Raises:
        UsageError: No run reached such a step, or a file of one's own is in the way; nothing was written.

    Example:
        >>> nbship.open("train")
    """
    from nbship.workflow.open_step import open_step

    run_id = run.id if isinstance(run, Run) else run
    return Opened(open_step(project_root(), step, run_id, pipeline, replace, reported))
