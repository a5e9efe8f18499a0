"""`nbship data`: the data files of the pipelines, brought here and compared with what DVC tracks."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from nbship.cli.common import JsonOption, complete_pipeline, console, error_console, print_json
from nbship.project import pipeline_names, project_root

if TYPE_CHECKING:
    from pathlib import Path

    from nbship.config import Pipeline
    from nbship.workflow.data import Status

_NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME",
        help="The pipelines; all of them if none is named.",
        autocompletion=complete_pipeline,
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        name="data", help="Bring data files here, and see how they stand.", no_args_is_help=True
    )
    group.command("pull")(pull)
    group.command("status")(status)
    app.add_typer(group)


def pull(
    names: _NamesArgument = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Restore files that were edited; what was edited is kept under another name."
        ),
    ] = False,
) -> None:
    """Bring the data files of pipelines here: from the DVC remote, or from where they were published.

    Example: nbship data pull auto-mpg
    """
    from nbship.workflow import data

    root = project_root()
    pulled = data.pull(root, _pipelines(root, names), force, partial(error_console.print, markup=False))
    for path in pulled:
        console.print(f"{path} is here", markup=False)
    if not pulled:
        console.print("no pipeline names a data file")


def status(names: _NamesArgument = None, as_json: JsonOption = False) -> None:
    """Show how the data files of pipelines stand against what DVC tracks.

    Example: nbship data status
    """
    from nbship.workflow import data

    root = project_root()
    found = data.status(root, _pipelines(root, names))
    if as_json:
        print_json([asdict(each) for each in found])
        return
    rows = [(each.pipeline, each.name, each.path, _words(each)) for each in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        console.print(
            Text("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
        )
    if any(each.state == "edited" for each in found):
        console.print("keep an edited file: dvc add FILE; restore the tracked one: nbship data pull --force")
    elif any(not each.exists for each in found):
        console.print("bring what is missing here: nbship data pull")


def _words(status: Status) -> str:
    if status.state == "untracked":
        return "not tracked by DVC" if status.exists else "missing, and not tracked by DVC"
    return {"same": "up to date", "missing": "missing", "edited": "edited since dvc add"}[status.state]


def _pipelines(root: Path, names: list[str] | None) -> list[Pipeline]:
    from nbship.config import load_pipeline

    return [load_pipeline(root, name, environment=os.environ) for name in names or pipeline_names(root)]
