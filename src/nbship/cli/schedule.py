"""`nbship schedule`: a pipeline at set times on Kubeflow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from nbship.cli.common import ConfigOverrideOption, JsonOption, complete_pipeline, console, print_json
from nbship.cli.submit import ExperimentOption, ParameterOption, RevisionOption
from nbship.errors import UsageError
from nbship.project import project_root

if TYPE_CHECKING:
    from nbship.kubeflow.records import Schedule

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The pipeline; may be left out with --list.", autocompletion=complete_pipeline
    ),
]
CronOption = Annotated[
    str, typer.Option("--cron", metavar="TIMES", help="When: minute, hour, day, month, weekday.")
]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(schedule)


def schedule(
    name: NameArgument = "",
    cron: CronOption = "",
    revision: RevisionOption = "",
    settings: ParameterOption = [],  # noqa: B006 - typer's form; it is not changed
    override_files: ConfigOverrideOption = [],  # noqa: B006
    experiment: ExperimentOption = "",
    show: Annotated[bool, typer.Option("--list", help="List the schedules.")] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Pause it.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume it.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete it; its runs stay.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a compiled pipeline on Kubeflow at set times; repeat with other times to change them.

    The times are in the server's time zone, mostly UTC.

    Example: nbship schedule auto-mpg --cron "0 3 * * 1"
    """
    from nbship.workflow import schedule as workflow
    from nbship.workflow.submit import SubmitRequest, connect_for

    if sum([bool(cron), show, pause, resume, delete]) != 1 or not (name or show):
        raise UsageError(
            "no action on the schedule is given",
            "NAME and one of --cron TIMES, --pause, --resume, --delete; or --list",
        )
    root = project_root()
    connection = connect_for(root, name, os.environ, override_files)
    if cron:
        request = SubmitRequest(name, revision, settings, experiment, override_files, os.environ)
        result = workflow.schedule(connection, root, request, cron, os.environ)
        _print([result.schedule], as_json, result.done)
    elif delete:
        workflow.delete(connection, root, name)
        _print([], as_json, "deleted")
    else:
        if pause or resume:
            (workflow.pause if pause else workflow.resume)(connection, root, name)
        _print(workflow.schedules(connection, root, name), as_json, "")


def _print(schedules: Sequence[Schedule], as_json: bool, done: str) -> None:
    if as_json:
        print_json({"done": done, "schedules": [asdict(found) for found in schedules]})
        return
    if done:
        console.print(done)
    for found in schedules:
        state = "on" if found.enabled else "paused"
        console.print(f"{escape(found.name):<20}  {state:<6}  {escape(found.cron.removeprefix('0 '))}")
    if not schedules and not done:
        console.print("no schedules; make one: nbship schedule NAME --cron '0 3 * * 1'")
