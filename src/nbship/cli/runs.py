"""`nbship runs`: what was run, what differs between two runs, and the page of one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from typer.core import TyperGroup

from nbship.cli.common import JsonOption, complete_pipeline, console, print_json
from nbship.cli.submit import list_remote_runs
from nbship.errors import UsageError, suggestion
from nbship.project import pipeline_names, project_root

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from nbship.record import RunRecord
    from nbship.workflow.runs import Difference, Summary

_STYLES = {"passed": "green", "rejected": "red", "failed": "red", "interrupted": "yellow", "running": "blue"}
_WHOLE = ("run", "when", "outcome", ">took")
_WIDE = 150
_ENDLESS = 1000
_HASH = 12

RunArgument = Annotated[str, typer.Argument(help="A run: beginning of its id, latest or previous.")]
NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The pipeline; all if not given.", autocompletion=complete_pipeline),
]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many runs at most.")]

RemoteOption = Annotated[bool, typer.Option("--remote", help="Those on Kubeflow, not those here.")]


class _ListsByDefault(TyperGroup):
    """`nbship runs NAME` is short for `nbship runs list NAME`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        cls=_ListsByDefault,
        help="List runs, compare two, open the page of one, or a notebook that failed on Kubeflow.",
    )
    group.command("list")(list_runs)
    group.command("compare")(compare_runs)
    group.command("open")(open_page)
    group.command("notebook")(write_notebook)
    app.add_typer(group, name="runs")


def list_runs(
    name: NameArgument = "",
    as_json: JsonOption = False,
    limit: LimitOption = 20,
    remote: RemoteOption = False,
) -> None:
    """List runs, newest first; `list` may be left out.

    Example: nbship runs auto-mpg --limit 5
    """
    from nbship.workflow.runs import summaries

    root = project_root()
    if remote:
        list_remote_runs(root, name, limit, as_json)
        return
    runs = summaries(root, name, limit)
    known = pipeline_names(root)
    if name and not runs and name not in known:
        raise UsageError(f"there is no pipeline '{name}'", suggestion(name, [*known, "compare", "open"]))
    if as_json:
        print_json([asdict(run) | {"started": run.started.isoformat()} for run in runs])
    elif not runs:
        console.print(f"no runs{' of ' + name if name else ''} yet; start one: nbship run {name or 'NAME'}")
    else:
        _print(_run_table(runs))
        console.print(f"\nnewest page: {runs[0].page}", style="dim")
        console.print(f"open it:     nbship runs open {runs[0].id}", style="dim")


def compare_runs(a: RunArgument = "previous", b: RunArgument = "latest", as_json: JsonOption = False) -> None:
    """Show what differs between two runs: parameters, data, code, environment and metrics.

    Example: nbship runs compare previous latest
    """
    from nbship.workflow.runs import KINDS, compare, find_pair

    one, other = find_pair(project_root(), a, b)
    differences = compare(one, other)
    if as_json:
        found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
        for difference in differences:
            found[difference.kind].append({"name": difference.name, "a": difference.a, "b": difference.b})
        print_json({"a": one.id, "b": other.id, **found})
        return
    console.print(f"A  {_run_line(one)}\nB  {_run_line(other)}")
    if not differences:
        console.print("\nnothing differs: same parameters, data, code, environment and metrics")
    for kind in KINDS:
        rows = [difference for difference in differences if difference.kind == kind]
        if rows:
            console.print(f"\n[bold]{kind}[/]")
            _print(_difference_table(rows))


def open_page(run: RunArgument = "latest") -> None:
    """Print where the page of a run is, and open it in a browser where there is a desktop.

    Example: nbship runs open latest
    """
    from nbship.workflow.runs import find, page_path

    root = project_root()
    page = page_path(root, find(root, run))
    typer.echo(page)
    desktop = sys.platform in ("darwin", "win32") or {"DISPLAY", "WAYLAND_DISPLAY"} & {*os.environ}
    if desktop and sys.stdout.isatty():
        import webbrowser

        webbrowser.open(page.as_uri())


def write_notebook(
    run: Annotated[str, typer.Argument(help="The run's identifier on Kubeflow.")],
    step: Annotated[str, typer.Argument(help="The step that failed.")],
    pipeline: Annotated[
        str, typer.Option("--pipeline", help="The pipeline, whose file may name the server.")
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here, not to STEP-failed.ipynb.")
    ] = None,
) -> None:
    """Bring back the notebook of a step that failed on Kubeflow, executed up to the failing cell.

    Example: nbship runs notebook 4f1e7c9a-6f0e-4f1c-9a53-2f1b8a1d0c11 train --pipeline auto-mpg
    """
    from nbship.files import write_text
    from nbship.kubeflow.client import get_run
    from nbship.workflow.incluster import failed
    from nbship.workflow.submit import connect_for

    connection = connect_for(project_root(), pipeline, os.environ)
    path = output or Path(f"{step}-failed.ipynb")
    write_text(path, failed.read(connection, get_run(connection, run), step))
    typer.echo(path)


def _run_table(runs: Sequence[Summary]) -> Table:
    """Fits 80 columns: the pipeline is named where there are several, the page where there is room."""
    from rich.text import Text

    from nbship.pages.formatting import age_text, number_text, seconds_text

    wide = console.width >= _WIDE or not console.is_terminal
    several = len({run.pipeline for run in runs}) > 1
    headings = ["run", *(["pipeline"] if several else []), "when", "outcome", ">took", "metrics"]
    table = _table(*headings, *(["page"] if wide else []))
    now = datetime.now(UTC)
    for run in runs:
        outcome = run.verdict or run.state
        metrics = ", ".join(f"{name} {number_text(value)}" for name, value in run.metrics.items())
        table.add_row(
            Text(run.id),
            *([Text(run.pipeline)] if several else []),
            Text(age_text((now - run.started).total_seconds())),
            Text(outcome, style=_STYLES.get(outcome, "")),
            Text(seconds_text(run.seconds)),
            Text(metrics),
            *([Text(run.page)] if wide else []),
        )
    return table


def _difference_table(differences: Sequence[Difference]) -> Table:
    table = _table("", "A", "B", "")
    for difference in differences:
        table.add_row(*_difference_cells(difference))
    return table


def _difference_cells(difference: Difference) -> list[Text]:
    from rich.text import Text

    from nbship.pages.formatting import change_text, number_text, value_text

    values = (difference.a, difference.b)
    name, change = difference.name, ""
    if difference.kind == "metrics":
        texts = [number_text(value) for value in values]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            change = change_text(difference.b, difference.a)
    elif difference.kind == "steps":
        texts = ["" if value is None else "has it" for value in values]
    else:
        texts = [value_text(value) for value in values]
    if difference.kind in ("data", "code") or name in ("lock", "revision"):
        texts = [text[:_HASH] for text in texts]
    shown = ["—" if value is None else text for value, text in zip(values, texts, strict=True)]
    return [Text(text) for text in ("  " + name, *shown, change)]


def _table(*headings: str) -> Table:
    """A table without rules; a heading that starts with > has its column set to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        justify: Literal["right", "left"] = "right" if heading.startswith(">") else "left"
        table.add_column(heading.lstrip(">"), justify=justify, overflow="fold", no_wrap=heading in _WHOLE)
    return table


def _print(table: Table) -> None:
    """Fits a table to the terminal; where there is none, lines are as long as they are."""
    if console.is_terminal:
        console.print(table, soft_wrap=False)
    else:
        Console(file=console.file, highlight=False, width=_ENDLESS).print(table)


def _run_line(run: RunRecord) -> str:
    when = run.started.astimezone().strftime("%Y-%m-%d %H:%M")
    return f"{run.id}  {run.pipeline}, {when}, {run.state}"
