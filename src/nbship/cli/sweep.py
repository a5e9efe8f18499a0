"""`nbship sweep`: the combinations of some parameters' values, and which did best."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from nbship.cli.common import JsonOption, PipelineArgument, console, error_console, print_json
from nbship.errors import InterruptedRun
from nbship.files import write_text
from nbship.project import project_root
from nbship.threads import available_cpus

if TYPE_CHECKING:
    from nbship.pages.sweep_page import SweepRecord, Trial

_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(sweep)


def sweep(
    name: PipelineArgument,
    settings: Annotated[
        list[str],
        typer.Option("--set", metavar="STEP.PARAM=VALUE,…", help="A parameter and the values to try."),
    ] = [],  # noqa: B006 (typer reads the default and never changes it)
    at_random: Annotated[
        int,
        typer.Option(
            "--random", metavar="N", min=0, show_default="all", help="Try N combinations, drawn at random."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draw.")] = 0,
    metric: Annotated[
        str,
        typer.Option(
            "--metric",
            metavar="STEP.METRIC",
            help="The metric to compare by; else the first cv_… of the step that trains.",
        ),
    ] = "",
    goal: Annotated[
        Literal["min", "max"] | None,
        typer.Option("--goal", metavar="min|max", help="Whether less or more of it is better."),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", "-j", min=1, show_default="one per CPU", help="Steps that run at the same time."
        ),
    ] = available_cpus(),
    write: Annotated[bool, typer.Option("--write", help="Write the best into the pipeline file.")] = False,
    compiled: Annotated[
        Path | None,
        typer.Option("--compile", metavar="FILE", help="Run nothing; write the sweep for Kubeflow."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run combinations of parameters, with the steps that they share run once, and show which did best.

    Goes by a cross-validated metric: a model chosen on the held-out rows would look better there than it is.

    Example: nbship sweep auto-mpg --set train.C=0.3,1,3 --set train.gamma=0.1,0.15,0.2
    """
    from nbship.cli.progress import progress
    from nbship.workflow import sweep as workflow

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    root = project_root()
    request = workflow.SweepRequest(name, settings, at_random, seed, metric, goal, jobs)
    if compiled:
        write_text(compiled, workflow.compile_sweep(root, request))
        console.print(f"wrote     {escape(str(compiled))}")
        return
    try:
        with progress(as_json, jobs) as on_event:
            record, folder = workflow.sweep(root, request, on_event, _report)
    except KeyboardInterrupt:
        raise InterruptedRun(
            "interrupted; its kernels are ended", "resume with the same command: finished steps are reused"
        ) from None
    if as_json:
        print_json({"event": "sweep", **record.model_dump(mode="json")})
    else:
        from nbship.record import PAGE

        _print(record)
        console.print(f"\npage      {escape(os.path.relpath(folder / PAGE))}")
    if record.held_out:
        _report(
            "note: chosen on the held-out rows, the best looks better there than it is; train.cv_… does not"
        )
    if write:
        written = workflow.write_best(root, record)
        if not as_json:
            console.print(f"wrote     {escape(written)}\nnext      nbship run {name}")


def _report(line: str) -> None:
    error_console.print(escape(line))


def _print(record: SweepRecord) -> None:
    names = list(record.trials[0].parameters)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in (*names, record.metric, "took", "step"):
        table.add_column(escape(title))
    for trial in record.trials[:_SHOWN]:
        values = (escape(str(trial.parameters[name])) for name in names)
        style = "green" if trial is record.best else ""
        table.add_row(*values, _value(trial), f"{trial.seconds:.1f} s", trial.step, style=style)
    console.print()
    console.print(table)
    if len(record.trials) > _SHOWN:
        console.print(f"… and {len(record.trials) - _SHOWN} more on the page")


def _value(trial: Trial) -> str:
    if trial.value is None:
        return (
            f"{trial.state}: {escape(trial.error.partition(chr(10))[0])}" if trial.error else str(trial.state)
        )
    return f"{trial.value:.4g}" + (f" ± {trial.spread:.2g}" if trial.spread is not None else "")
