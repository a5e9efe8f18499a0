"""`nbship report`: how runs here ended, on the merge request of this branch."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.markup import escape

from nbship.cli.common import complete_pipeline, console, error_console
from nbship.project import project_root


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(report)


def report(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="The pipeline; if not given, each that ran at this commit.",
            autocompletion=complete_pipeline,
        ),
    ] = "",
    run: Annotated[
        str, typer.Option("--run", metavar="ID", help="The run, or the beginning of its id; else the newest.")
    ] = "",
) -> None:
    """Tell the open merge request of this branch, in one note that is kept up to date, how runs here ended.

    The token comes from NBSHIP_GITLAB_TOKEN. Where nobody can be told, the note is printed.

    Example: nbship report auto-mpg
    """
    from nbship.workflow.merge_request import choose_runs, report_runs

    root = project_root()
    reported = report_runs(root, choose_runs(root, name, run), os.environ)
    for address in reported.notes:
        console.print(escape(address))
    if reported.silence:
        typer.echo(reported.text)
        error_console.print(escape(f"no merge request was updated: {reported.silence}"))
