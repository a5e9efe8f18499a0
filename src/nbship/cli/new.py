"""`nbship new`: a pipeline of one's own, ready to run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from nbship.cli.common import JsonOption, console, error_console, print_json
from nbship.cli.init import YesOption, agree
from nbship.errors import UsageError
from nbship.project import find_project


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(new)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new pipeline: flat-rents.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FILE", help="Your table: CSV, Parquet, Excel; a copy goes to data/."),
    ] = None,
    target: Annotated[str, typer.Option("--target", metavar="COLUMN", help="The column to predict.")] = "",
    task: Annotated[
        str, typer.Option("--task", help="regression or classification; else guessed from the target.")
    ] = "",
    time: Annotated[
        str,
        typer.Option(
            "--time", metavar="COLUMN", help="Column of time: hold out the latest rows; else detected."
        ),
    ] = "",
    group: Annotated[
        str,
        typer.Option(
            "--group", metavar="COLUMN", help="Column of groups: hold out whole groups; else detected."
        ),
    ] = "",
    no_time: Annotated[bool, typer.Option("--no-time", help="The rows have no order in time.")] = False,
    no_group: Annotated[bool, typer.Option("--no-group", help="The rows do not come in groups.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Begin a pipeline: notebooks and a pipeline file that run at once, for your table or a made-up one.

    Writes notebooks/NAME/, pipelines/NAME.yaml, and the table to data/ under DVC; all of it, or nothing.
    Where there is no project yet, this folder becomes one first, as by `nbship init`.

    Example: nbship new flat-rents --data flats.csv --target rent
    """
    from nbship.templates.splits import SplitWish
    from nbship.workflow.new import begin

    if (time and no_time) or (group and no_group):
        raise UsageError("--time and --no-time exclude each other, as do --group and --no-group", "give one")
    wish = SplitWish(None if no_time else time, None if no_group else group)
    begun = begin(_project(yes), name, data, target, task, wish)
    if as_json:
        print_json(asdict(begun))
        return
    for path in begun.written:
        console.print(f"wrote     {escape(path)}")
    console.print()
    for note in begun.notes:
        console.print(f"note      {escape(note)}")
    console.print(f"\nnext      nbship run {name}")


def _project(yes: bool) -> Path:
    """The project's folder; where there is none, this one becomes a project, if that is wanted."""
    from nbship.templates.project import Wish
    from nbship.workflow.init import initialize

    root = find_project()
    if root:
        return root
    root = Path.cwd()
    agree(root, yes)
    done = initialize(root, Wish())
    for what in (*(f"a {repository}" for repository in done.made), *done.written):
        error_console.print(f"made      {escape(what)}")
    return root
