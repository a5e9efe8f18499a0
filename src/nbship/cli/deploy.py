"""`nbship deploy`, `rollback`, `deployments`: a published model in a cluster, and what was there before."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from nbship.cli.common import (
    ConfigOverrideOption,
    JsonOption,
    PipelineArgument,
    SetOption,
    console,
    error_console,
    print_json,
)
from nbship.project import project_root

if TYPE_CHECKING:
    from nbship.workflow.deploy import Deployed, DeploymentPlan
    from nbship.workflow.deployments import Deployments, StageStatus

StageOption = Annotated[
    str, typer.Option("--to", metavar="STAGE", help="The stage: staging, production, or another one.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (deploy, rollback, deployments):
        app.command()(command)


def deploy(
    name: PipelineArgument,
    stage: StageOption,
    version: Annotated[
        str,
        typer.Option(
            "--version", metavar="V", help="A registered version, such as v1.2.0; else the champion."
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the manifest and how it differs from what runs.")
    ] = False,
    unless_newer: Annotated[
        bool, typer.Option("--unless-newer", help="Change nothing where a newer version was deployed last.")
    ] = False,
    settings: SetOption = [],  # noqa: B006 (typer reads the default and never changes it)
    override_files: ConfigOverrideOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Deploy a published model with KServe: checked without traffic first, then with more and more of it.

    A version whose answers are not those of its package gets no traffic; what served before goes on.

    Example: nbship deploy auto-mpg --to staging
    """
    from nbship.config import load_pipeline
    from nbship.workflow import deploy as workflow

    root = project_root()
    pipeline = load_pipeline(root, name, settings, override_files, os.environ)
    if dry_run:
        _print_plan(workflow.plan(root, pipeline, stage, version), as_json)
        return
    report = partial(error_console.print, markup=False)
    _print_deployed(workflow.deploy(root, pipeline, stage, version, report, unless_newer), as_json)


def rollback(name: PipelineArgument, stage: StageOption, as_json: JsonOption = False) -> None:
    """Take a stage back to the version that served before: checked, and then with all the traffic at once.

    Example: nbship rollback auto-mpg --to production
    """
    from nbship.config import load_pipeline
    from nbship.workflow.rollback import rollback as roll_back

    root = project_root()
    report = partial(error_console.print, markup=False)
    _print_deployed(
        roll_back(root, load_pipeline(root, name, environment=os.environ), stage, report), as_json
    )


def deployments(
    name: PipelineArgument,
    offline: Annotated[
        bool, typer.Option("--offline", help="Show the record in Git alone; do not ask the clusters.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List what was deployed to which stage, when and by whom, and what serves now.

    Example: nbship deployments auto-mpg
    """
    from nbship.config import load_pipeline
    from nbship.workflow.deployments import list_deployments

    root = project_root()
    pipeline = load_pipeline(root, name, environment=os.environ)
    found = list_deployments(root, pipeline, ask=not offline)
    if as_json:
        print_json(asdict(found))
    else:
        _print_deployments(found)


def _print_plan(plan: DeploymentPlan, as_json: bool) -> None:
    if as_json:
        print_json(asdict(plan))
        return
    console.print(plan.manifest.rstrip(), markup=False)
    console.print("---")
    console.print(plan.difference or "nothing would change", markup=False)


def _print_deployed(deployed: Deployed, as_json: bool) -> None:
    if as_json:
        print_json(asdict(deployed))
        return
    where = f"{deployed.name} {deployed.version} in {deployed.stage}"
    if deployed.next_commands:
        console.print(
            f"{where}: the manifest is {'committed' if deployed.changed else 'as it was'}", markup=False
        )
    elif deployed.changed:
        instead = f", instead of {deployed.previous}" if deployed.previous != deployed.version else ""
        console.print(f"{where} serves{instead if deployed.previous else ''}: {deployed.url}", markup=False)
    else:
        console.print(
            f"nothing to do: {where} serves, and answers as it should: {deployed.url}", markup=False
        )
    if deployed.tag:
        console.print(f"recorded as {deployed.tag}", markup=False)
    if deployed.next_commands:
        console.print("next:")
        for command in deployed.next_commands:
            console.print(f"  {command}", markup=False)


def _print_deployments(found: Deployments) -> None:
    names = [s.stage for s in found.serving] + [a.stage for a in found.history]
    width = max(map(len, names), default=0)
    for serving in found.serving:
        console.print(f"{serving.stage:{width}}  {_words(serving)}", markup=False)
    if found.serving and found.history:
        console.print()
    for each in found.history:
        facts = f"{each.created:%Y-%m-%d %H:%M}  {each.stage:{width}}  {each.version or 'unknown':8}"
        console.print(f"{facts}  {each.author}  {each.tag}", markup=False)
    if not found.history:
        console.print(f"never deployed; deploy it: nbship deploy {found.name} --to STAGE", markup=False)


def _words(serving: StageStatus) -> str:
    if serving.problem:
        return f"not known: {serving.problem}"
    words = f"serves {serving.version}" if serving.version else "serves nothing"
    if serving.canary:
        words += f", and {serving.canary} with {serving.traffic} % of the traffic"
    return f"{words}  {serving.url}".rstrip()
