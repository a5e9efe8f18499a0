"""`nbship chatops`: commands in comments on merge requests."""

from __future__ import annotations

import typer

from nbship.cli import receive


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        name="chatops", help="Work commands in comments on merge requests.", no_args_is_help=True
    )
    receive.add_to(group)
    app.add_typer(group)
