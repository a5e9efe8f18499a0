"""`nbship lint`: what will bite later in the notebooks."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from nbship.cli.common import JsonOption, complete_pipeline, console, print_json
from nbship.errors import ExitCode
from nbship.project import project_root

if TYPE_CHECKING:
    from nbship.workflow.lint import Linted


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(lint)


def lint(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Pipelines whose notebooks to check, or notebooks; all if none is named.",
            autocompletion=complete_pipeline,
        ),
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Remove outputs and editors' metadata, add ids.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    r"""Find what will bite later: hidden state, undeclared files, missing seeds and modules, secrets.

    Ends with 1 if there is anything. Silence a finding with a comment in its line: # nbship: ignore\[rule]

    Example: nbship lint auto-mpg --fix
    """
    from nbship.workflow import lint as workflow

    linted = workflow.lint(project_root(), names or (), fix)
    if as_json:
        for finding in linted.findings:
            print_json({**asdict(finding), "hint": finding.hint, "fixable": finding.fixable})
    else:
        _print(linted)
    return ExitCode.FAILED if linted.findings else ExitCode.DONE


def _print(linted: Linted) -> None:
    """A line for each finding, but one for all that --fix removes from a notebook; then what to do."""
    for path in linted.fixed:
        console.print(f"fixed     {escape(path)}")
    for path, group in groupby(linted.findings, lambda finding: finding.file):
        found = list(group)
        for finding in (each for each in found if not each.fixable):
            cell = f", cell {finding.cell}" if finding.cell else ""
            line = f", line {finding.line}" if finding.line else ""
            _line(f"{path}{cell}{line}", finding.rule, finding.message)
        leftovers = [each for each in found if each.fixable]
        if leftovers:
            rules, messages = (each.rule for each in leftovers), (each.message for each in leftovers)
            _line(path, ", ".join(rules), "; ".join(messages))
    hints = {finding.rule: finding.hint for finding in linted.findings}
    if hints:
        console.print()
    for rule, hint in sorted(hints.items()):
        console.print(f"{rule:<{max(map(len, hints))}}  {escape(hint)}", style="dim", soft_wrap=True)
    fixable = sum(finding.fixable for finding in linted.findings)
    removed = f"; nbship lint --fix removes {fixable}" if fixable else ""
    found_in = _count(linted.notebooks, "notebook")
    console.print(f"{_count(len(linted.findings), 'finding')} in {found_in}{removed}")


def _line(where: str, rule: str, message: str) -> None:
    console.print(f"{escape(where)}: [bold]{rule}[/]: {escape(message)}", soft_wrap=True)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
