"""`nbship new`: a pipeline of one's own, ready to run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from nbship.cli.common import JsonOption, console, print_json
from nbship.project import project_root


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(new)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new pipeline: flat-rents.")],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FILE.csv", help="Your table; a copy goes to data/.")
    ] = None,
    target: Annotated[str, typer.Option("--target", metavar="COLUMN", help="The column to predict.")] = "",
    task: Annotated[
        str, typer.Option("--task", help="regression or classification; else guessed from the target.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Begin a pipeline: notebooks and a pipeline file that run at once, for your table or a made-up one.

    Writes notebooks/NAME/, pipelines/NAME.yaml, and data/NAME.csv under DVC; all of it, or nothing.

    Example: nbship new flat-rents --data flats.csv --target rent
    """
    from nbship.workflow.new import begin

    begun = begin(project_root(), name, data, target, task)
    if as_json:
        print_json(asdict(begun))
        return
    for path in begun.written:
        console.print(f"wrote     {escape(path)}")
    console.print()
    for note in begun.notes:
        console.print(f"note      {escape(note)}")
    console.print(f"\nnext      nbship run {name}")
