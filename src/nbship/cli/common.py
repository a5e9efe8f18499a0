"""What every command shares: output for people and for machines, errors, exit codes."""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from nbship.errors import NbshipError
from nbship.project import pipeline_names, project_root

# In a cell, too, lines are text: rich would show each of them as a picture of its own.
console = Console(highlight=False, soft_wrap=True, force_jupyter=False)
error_console = Console(stderr=True, highlight=False, soft_wrap=True, force_jupyter=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def complete_pipeline(incomplete: str) -> list[str]:
    """Completes the name of a pipeline in a shell."""
    try:
        return [name for name in pipeline_names(project_root()) if name.startswith(incomplete)]
    except NbshipError:
        return []


PipelineArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The pipeline: pipelines/NAME.yaml.", autocompletion=complete_pipeline
    ),
]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="STEP.PARAM=VALUE", help="Set a parameter, or any key of the pipeline file."
    ),
]
ConfigOverrideOption = Annotated[
    list[Path],
    typer.Option("--config-override", metavar="FILE", help="YAML file to merge into the pipeline file."),
]


def can_redraw() -> bool:
    """Returns whether what is shown can be drawn over: a cell's output takes colours, and only adds lines."""
    return console.is_terminal and not type(sys.stdout).__module__.startswith("ipykernel")


def print_json(value: Any) -> None:
    """Prints plain data as one line of JSON, at once even through a pipe."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def report_error(error: NbshipError) -> None:
    """Prints an error for a person: what is wrong, details if any, and what to do."""
    error_console.print(f"[bold red]error:[/] {escape(error.message)}")
    if error.details:
        error_console.print(escape(error.details.rstrip()), style="dim")
    if error.hint:
        error_console.print(f"[bold]hint:[/]  {escape(error.hint)}")


def leave(code: int) -> NoReturn:
    """Ends the process with an exit code after flushing; a reader that closed the pipe is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # The interpreter would look through all that the libraries made once more before it ends.
    gc.freeze()
    raise SystemExit(code)
