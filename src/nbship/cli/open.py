"""`nbship open`: a step's notebook with its real inputs in place."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from typing import Annotated

import typer
from rich.markup import escape

from nbship.cli.common import JsonOption, complete_pipeline, console, error_console, print_json
from nbship.errors import UsageError
from nbship.project import project_root


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("open")(open_step)


def open_step(
    step: Annotated[str, typer.Argument(metavar="STEP", help="The step, such as train.")],
    pipeline: Annotated[
        str,
        typer.Option(
            "--pipeline",
            metavar="NAME",
            help="Its pipeline; else the last run with such a step decides.",
            autocompletion=complete_pipeline,
        ),
    ] = "",
    run: Annotated[
        str, typer.Option("--run", metavar="ID", help="The run, or the beginning of its id; else the newest.")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace files that are in the way and that no run made.")
    ] = False,
    lab: Annotated[bool, typer.Option("--lab", help="Start JupyterLab on the notebook.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Put what a step read in a run where its notebook looks for it, so that Run All works at once.

    Example: nbship open train --lab
    """
    from nbship.workflow.open_step import open_step as fill

    if lab and find_spec("jupyterlab") is None:
        raise UsageError("--lab: JupyterLab is not installed here", "pip install 'nbship[lab]'")
    opened = fill(project_root(), step, run, pipeline, replace, partial(error_console.print, markup=False))
    notebook = os.path.relpath(opened.notebook)
    if as_json:
        print_json(asdict(opened))
    else:
        for path in opened.filled:
            console.print(f"filled    {escape(path)}")
        for path in opened.there:
            console.print(f"is there  {escape(path)}")
        for name, value in opened.parameters.items():
            shown = json.dumps(value, ensure_ascii=False, default=str)
            console.print(f"note      {name} was {escape(shown)} in the run, and is not in the notebook")
        console.print(f"run       {opened.run} of {opened.pipeline}")
        console.print(f"notebook  {escape(notebook)}")
    if lab:
        os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", notebook])  # noqa: S606
    if not as_json:
        console.print(f"\nnext      open it and run all its cells: nbship open {step} --lab")
