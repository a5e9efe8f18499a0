"""`nbship changes`: which pipelines are to be run for what was committed, and why."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from nbship.cli.common import JsonOption, complete_pipeline, console, error_console, print_json
from nbship.project import project_root


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(changes)


def changes(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME", help="The pipelines; all if not given.", autocompletion=complete_pipeline
        ),
    ] = [],  # noqa: B006 (typer reads the default and never changes it)
    base: Annotated[
        str,
        typer.Option(
            "--base",
            metavar="REVISION",
            show_default="what CI says, or origin's default branch",
            help="Compare with this.",
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List the pipelines that commits concern, a line each: its name and the trigger.

    The trigger is data, feature (notebooks or the pipeline file) or maintenance (code, environment, image).

    Example: nbship changes --base origin/main
    """
    from nbship.workflow.changes import find_changes

    found = find_changes(project_root(), os.environ, base, names)
    if as_json:
        print_json([asdict(change) for change in found])
        return
    for change in found:
        console.print(escape(f"{change.pipeline} {change.trigger}"))
        for file in change.files:
            error_console.print(escape(f"  {file}"), style="dim")
    if not found:
        error_console.print("no pipeline is affected", style="dim")
