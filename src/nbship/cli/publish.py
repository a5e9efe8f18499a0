"""`nbship publish` and `nbship models`: a run's model becomes the champion, and the versions there are."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from nbship.cli.common import (
    ConfigOverrideOption,
    JsonOption,
    PipelineArgument,
    SetOption,
    complete_pipeline,
    console,
    error_console,
    print_json,
)
from nbship.project import project_root

if TYPE_CHECKING:
    from nbship.workflow.models import PublishedModel
    from nbship.workflow.publish import Published


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("publish")(publish)
    app.command("models")(models)


def publish(
    name: PipelineArgument,
    run: Annotated[
        str, typer.Option("--run", metavar="ID", help="The run, or the beginning of its id; else the newest.")
    ] = "",
    commit: Annotated[
        bool, typer.Option("--commit", help="Make the Git commit of the model's files, and of nothing else.")
    ] = False,
    push: Annotated[
        bool,
        typer.Option(
            "--push",
            help="Commit; push the model to the DVC remote and the model store, its commit and tag to Git's.",
        ),
    ] = False,
    branch: Annotated[
        str,
        typer.Option(
            "--branch",
            metavar="BRANCH",
            help="The branch to push to; else the one checked out, or what CI builds, or the default one.",
        ),
    ] = "",
    settings: SetOption = [],  # noqa: B006 (typer reads the default and never changes it)
    override_files: ConfigOverrideOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Make the model of a run the champion: write its package, track it with DVC, register its version.

    A token for Git's remote comes from NBSHIP_GIT_TOKEN, and a name with it from NBSHIP_GIT_USER. The address
    of the model store is publish.store of the pipeline file, or NBSHIP_MODEL_STORE.

    Example: nbship publish auto-mpg --commit
    """
    from nbship.config import load_pipeline
    from nbship.workflow.publish import publish as publish_run

    root = project_root()
    report = partial(error_console.print, markup=False)
    pipeline = load_pipeline(root, name, settings, override_files, os.environ)
    published = publish_run(root, pipeline, run, commit, push, report, branch)
    if as_json:
        print_json({**asdict(published), "next_commands": published.next_commands})
    else:
        _print_published(published)


def models(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A model; all of them if none is named.", autocompletion=complete_pipeline
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List the registered versions of the models; an arrow marks the champion.

    Example: nbship models auto-mpg
    """
    from nbship.workflow.models import list_models

    found = list_models(project_root(), name)
    if as_json:
        print_json([asdict(model) for model in found])
        return
    for model in found:
        _print_model(model)
    if not found:
        console.print("no model is published yet; publish one: nbship publish NAME")


def _print_published(published: Published) -> None:
    done = [
        (published.placed, f"models/{published.name} is the model of run {published.run}"),
        (published.registered, f"registered as {published.name}@{published.version}"),
        (published.pushed, f"pushed to {published.branch} and the DVC remote '{published.remote}'"),
        (bool(published.stored), f"stored as {published.stored}"),
    ]
    for happened, what in done:
        if happened:
            console.print(what, markup=False)
    if not published.placed and not published.registered:
        standing = f", registered as {published.version}" if published.committed else ", not yet in Git"
        console.print(
            f"nothing to do: the model of run {published.run} is the champion{standing}", markup=False
        )
    if published.next_commands:
        console.print("next:")
        for command in published.next_commands:
            console.print(f"  {command}", markup=False)


def _print_model(model: PublishedModel) -> None:
    console.print(Text(model.name, "bold"))
    if not model.champion:
        console.print(f"  the champion is not registered yet: nbship publish {model.name}", markup=False)
    width = max((len(version.version) for version in model.versions), default=0)
    for version in model.versions:
        mark = "→" if version.version == model.champion else " "
        said = version.message if version.active else f"deregistered: {version.message}"
        stages = f"  [{', '.join(version.stages)}]" if version.stages else ""
        facts = f"{version.version:{width}}  {version.created:%Y-%m-%d}  {version.commit[:8]}"
        console.print(Text(f"{mark} {facts}  {said}{stages}"))
