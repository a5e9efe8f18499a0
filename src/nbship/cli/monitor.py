"""`nbship monitor`: whether what serves is still right, and what says so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from nbship.cli.common import JsonOption, PipelineArgument, console, error_console, print_json
from nbship.errors import ExitCode
from nbship.project import project_root

if TYPE_CHECKING:
    from nbship.monitoring.examination import Examination
    from nbship.monitoring.gauges import Look

_STYLES = {"act": "bold red", "look": "yellow", "quiet": "green", "too few": "blue"}
_SHOWN = 8


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(monitor)


def monitor(
    name: PipelineArgument,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="The window: 7d, 12h, 2w, or a time in ISO form.")
    ] = "7d",
    until: Annotated[
        str, typer.Option("--until", metavar="TIME", help="Its end, a time in ISO form; now if not given.")
    ] = "",
    version: Annotated[
        str,
        typer.Option(
            "--version",
            metavar="V",
            help="The version whose answers are examined; the champion's if not given.",
        ),
    ] = "",
    stage: Annotated[
        str,
        typer.Option("--stage", metavar="STAGE", help="The stage whose last deployed version is examined."),
    ] = "",
    against: Annotated[
        str, typer.Option("--against", metavar="V", help="Compare with another version's reference.")
    ] = "",
    store: Annotated[
        str,
        typer.Option("--store", metavar="ADDRESS", help="Where the records are; else `monitor.store`."),
    ] = "",
    metrics: Annotated[
        Path | None, typer.Option("--metrics", metavar="FILE", help="Write gauges for Prometheus there.")
    ] = None,
    push: Annotated[
        str, typer.Option("--push", metavar="URL", help="Push the gauges to this Pushgateway.")
    ] = "",
    as_json: JsonOption = False,
) -> int:
    """Say whether a model is still right: quiet, look or act, and why.

    Ends with 3 for act, which takes a change that is both shown and large, or a broken promise.

    Example: nbship monitor auto-mpg --since 7d --stage production
    """
    from nbship.config import load_pipeline
    from nbship.workflow.gauges import look_of
    from nbship.workflow.monitor import MonitorWindow
    from nbship.workflow.monitor import as_json as plain
    from nbship.workflow.monitor import monitor as workflow

    root = project_root()
    window = MonitorWindow(since, until, version, stage, against)
    done = workflow(
        root,
        load_pipeline(root, name),
        window,
        store,
        report=lambda line: error_console.print(escape(line)),
    )
    if metrics or push:
        _tell_prometheus(look_of(done, stage), metrics, push)
    page = done.page.relative_to(root).as_posix()
    if as_json:
        print_json(plain(done.examination) | {"page": page})
    else:
        _print(done.examination)
        console.print(f"page      {page}")
        if done.examination.broken is not None:
            console.print(f"\nnext      nbship retrain {escape(name)}")
    return ExitCode.REJECTED if done.examination.decision.state == "act" else ExitCode.DONE


def _tell_prometheus(look: Look, file: Path | None, address: str) -> None:
    from nbship.files import write_text
    from nbship.monitoring import gauges

    if file:
        write_text(file, gauges.exposition(look))
    if address:
        gauges.push(look, address)


def _print(found: Examination) -> None:
    state = found.decision.state
    console.print(f"model     {escape(found.name)} {escape(found.version) or 'of any version'}")
    console.print(
        f"window    {found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC, {found.rows:,} records"
    )
    console.print(f"verdict   [{_STYLES[state]}]{state}[/]")
    for reason in found.decision.reasons[:_SHOWN]:
        console.print(f"          {escape(reason)}")
    if len(found.decision.reasons) > _SHOWN:
        console.print(f"          and {len(found.decision.reasons) - _SHOWN} more")
    for begin in dict.fromkeys(begin for _, begin in found.changed):
        names = ", ".join(name for name, other in found.changed if other == begin)
        console.print(f"since     {begin:%Y-%m-%d}: {escape(names)}")
    if found.performance:
        _print_metrics(found)
    if found.estimate:
        from nbship.monitoring.predictions import estimate_text

        console.print(f"estimated {escape(estimate_text(found.estimate))}")
    for note in found.notes:
        console.print(f"note      {escape(note)}")


def _print_metrics(found: Examination) -> None:
    performance = found.performance
    if performance is None:
        return
    from nbship.monitoring.columns import percent

    table = Table("metric", "here", "95 % interval", "promised", box=None, padding=(0, 2, 0, 0))
    for metric in performance.metrics:
        promised = "" if metric.promised is None else f"{metric.promised:.4g}"
        table.add_row(metric.name, f"{metric.value:.4g}", f"{metric.low:.4g} to {metric.high:.4g}", promised)
    if performance.covered is not None:
        table.add_row("in the 90 % interval", percent(performance.covered), "", "90 %")
    console.print(f"labels    {performance.rows:,}")
    console.print(table)
    for each in performance.slices:
        console.print(
            f"worst     {escape(each.where)}: {each.times:.3g} times the mean loss, {each.rows} labels"
        )
