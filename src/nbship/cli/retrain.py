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
        typer.Option("--reason", metavar="TEXT", help="Why, for the merge request; else what monitor says."),
    ] = "",
    if_act: Annotated[bool, typer.Option("--if-act", help="Begin only if monitor says act.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Begin although one was a short time ago, or on the same rows.")
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

    Example: nbship retrain auto-mpg --if-act
    """
    from nbship.config import load_pipeline
    from nbship.workflow.monitor import monitor
    from nbship.workflow.retrain import RetrainRequest
    from nbship.workflow.retrain import retrain as take

    def report(line: str) -> None:
        if not as_json:
            console.print(escape(line), style="dim")

    root = project_root()
    if if_act or not reason:
        found = monitor(root, load_pipeline(root, name), report=report).examination.decision
        if if_act and found.state != "act":
            console.print(f"nothing is begun: monitor says {found.state}")
            return
        reason = reason or f"monitor says {found.state}: {'; '.join(found.reasons)}"
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
            f"no forge was told of it; the branch is in {escape(where)}: git diff HEAD {done.branch}"
        )
