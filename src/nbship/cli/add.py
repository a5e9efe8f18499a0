"""`nbship add`: a library for the project's notebooks, here and in the image."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from nbship.cli.common import JsonOption, console, error_console, print_json
from nbship.project import project_root

# A first lock has some two hundred.
_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(add)


def add(
    libraries: Annotated[
        list[str],
        typer.Argument(
            metavar="LIBRARY", help="Such as seaborn or 'lightgbm>=4'; without one, renew the lock."
        ),
    ] = [],  # noqa: B006 (typer reads the default and never changes it)
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Take the newest version of everything in the lock.")
    ] = False,
    install: Annotated[bool, typer.Option("--install/--no-install", help="Install it here too.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Add a library to pyproject.toml or requirements.in, to the lock, to this environment and to the image.

    Example: nbship add seaborn
    """
    from nbship.workflow.libraries import add as workflow

    added = workflow(project_root(), libraries, upgrade, install, _report)
    if as_json:
        print_json(asdict(added))
        return
    if added.declared:
        console.print(f"added     {escape(', '.join(libraries))} to {escape(added.declared)}")
    asked = tuple(re.split(r"[^\w.-]", library)[0].lower() for library in libraries)
    # What was asked for first: the names are in order.
    changed = sorted(added.changed, key=lambda line: line.split()[0] not in asked)
    for line in changed[:_SHOWN]:
        console.print(f"locked    {escape(line)}")
    if len(changed) > _SHOWN:
        console.print(f"locked    {len(changed) - _SHOWN} more: {escape(added.lock)}")
    if not added.changed:
        console.print(f"current   {escape(added.lock)}")
    if added.installed:
        console.print(f"installed {escape(', '.join(libraries))}")


def _report(line: str) -> None:
    error_console.print(escape(line), style="dim")
