"""`nbship retrain`: new labelled rows into the data, a run, a merge request."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from nbship.cli.common import JsonOption, PipelineArgument, console, print_json
from nbship.project import project_root


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(retrain)


def retrain(
    name: PipelineArgument,
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="TEXT", help="Why, for the merge request."),
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Start even within the cooldown, or on the same rows.")
    ] = False,
    submit: Annotated[
        bool, typer.Option("--submit", help="Have Kubeflow run it, and publish to the branch.")
    ] = False,
    into: Annotated[
        str, typer.Option("--into", metavar="BRANCH", help="Branch that the merge request goes into.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Take new labelled rows into the data, run, and open a merge request with what the gate says of it.

    The rule is under retrain in the pipeline file. Nothing is begun with too few new labels, or before
    monitor.cooldown is over. What the gate rejects is not pushed, and ends with 3.

    Example: nbship retrain auto-mpg
    """
    from nbship.workflow.retrain import RetrainRequest
    from nbship.workflow.retrain import retrain as take

    def report(line: str) -> None:
        if not as_json:
            console.print(escape(line), style="dim")

    root = project_root()
    asked = RetrainRequest(name, reason, force, submit, into)
    done = take(root, asked, os.environ, report)
    if as_json:
        print_json(asdict(done))
        return
    console.print(f"{done.outcome:<8} {escape(done.told)}")
    if done.merge_request:
        console.print(escape(done.merge_request))
    elif done.branch and done.outcome == "pushed":
        where = done.remote or "this repository"
        console.print(
            f"no merge request was opened; the branch is in {escape(where)}: git diff HEAD {done.branch}"
        )
