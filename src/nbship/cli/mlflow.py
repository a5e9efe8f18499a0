"""`nbship mlflow`: runs and versions, copied to a team's MLflow server."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from nbship.cli.common import JsonOption, complete_pipeline, console, error_console, print_json
from nbship.errors import UsageError
from nbship.project import pipeline_names, project_root

if TYPE_CHECKING:
    from nbship.workflow.mirror import Mirrored


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        name="mlflow", help="Copy runs and versions to an MLflow server.", no_args_is_help=True
    )
    group.command("sync")(sync)
    app.add_typer(group)


def sync(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="The pipelines; all that name a server if none is named.",
            autocompletion=complete_pipeline,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send what an MLflow server does not have: runs, sweeps, versions of models, and where they serve.

    Runs, publishing and deployments do this by themselves where mlflow.tracking_uri is set. What they could
    not send comes with this, or with the next of them. Credentials come from MLFLOW_TRACKING_TOKEN, or
    MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.

    Example: nbship mlflow sync auto-mpg
    """
    from nbship.config import load_pipeline
    from nbship.workflow.mirror import sync as send

    root = project_root()
    pipelines = [load_pipeline(root, name, environment=os.environ) for name in names or pipeline_names(root)]
    named = pipelines if names else [each for each in pipelines if each.mlflow.tracking_uri]
    if not named:
        raise UsageError(
            "no pipeline names an MLflow server", "in nbship.yaml: mlflow: {tracking_uri: https://…}"
        )
    report = partial(error_console.print, markup=False)
    sent = {pipeline.name: send(root, pipeline, report) for pipeline in named}
    if as_json:
        print_json({name: asdict(mirrored) for name, mirrored in sent.items()})
        return
    for name, mirrored in sent.items():
        console.print(f"{name}: {_summary(mirrored)}", markup=False)


def _summary(mirrored: Mirrored) -> str:
    parts = [
        f"{len(mirrored.runs)} runs" if mirrored.runs else "",
        f"versions {', '.join(mirrored.versions)}" if mirrored.versions else "",
        f"aliases {', '.join(mirrored.aliases)}" if mirrored.aliases else "",
    ]
    sent = "; ".join(filter(None, parts))
    text = f"sent {sent} to {mirrored.address}" if sent else f"{mirrored.address} is up to date"
    missing = ", ".join(mirrored.missing)
    return f"{text}; neither DVC nor a model store has: {missing}" if missing else text
