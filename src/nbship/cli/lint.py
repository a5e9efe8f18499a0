"""`nbship lint`: what will bite later in the notebooks."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from nbship.cli.common import JsonOption, complete_pipeline, console, print_json
from nbship.errors import ExitCode
from nbship.project import project_root

if TYPE_CHECKING:
    from nbship.linting import Finding


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(lint)


def lint(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Pipelines whose notebooks to check; all notebooks if none is named.",
            autocompletion=complete_pipeline,
        ),
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Remove outputs and editors' metadata, add ids.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    r"""Find what will bite later: hidden state, absolute paths, undeclared files, missing seeds, secrets.

    Ends with 1 if there is anything. Silence one with a comment in its line: # nbship: ignore\[rule]

    Example: nbship lint auto-mpg --fix
    """
    from nbship.workflow import lint as workflow

    linted = workflow.lint(project_root(), names or (), fix)
    if as_json:
        for finding in linted.findings:
            print_json({**asdict(finding), "hint": finding.hint, "fixable": finding.fixable})
    else:
        for path in linted.fixed:
            console.print(f"fixed     {escape(path)}")
        for finding in linted.findings:
            _print(finding)
        found = len(linted.findings)
        console.print(
            f"{found or 'no'} finding{'s' if found != 1 else ''} in {linted.notebooks} notebook"
            f"{'s' if linted.notebooks != 1 else ''}"
        )
    return ExitCode.FAILED if linted.findings else ExitCode.DONE


def _print(finding: Finding) -> None:
    cell = f", cell {finding.cell}" if finding.cell else ""
    line = f", line {finding.line}" if finding.line else ""
    console.print(f"{escape(finding.file)}{cell}{line}: [bold]{finding.rule}[/]: {escape(finding.message)}")
    console.print(f"          {escape(finding.hint)}", style="dim")
