"""`nbship submit`: a compiled pipeline on Kubeflow."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from nbship.cli.common import JsonOption, PipelineArgument, console, error_console, print_json
from nbship.errors import ExitCode, InterruptedRun
from nbship.project import project_root

if TYPE_CHECKING:
    from nbship.kubeflow.api import Connection
    from nbship.kubeflow.client import RemoteRun
    from nbship.workflow.submit import Submission

RevisionOption = Annotated[
    str,
    typer.Option("--revision", metavar="R", help="Commit, tag or branch to run; else what is here."),
]
ParameterOption = Annotated[
    list[str], typer.Option("--set", metavar="STEP.PARAM=VALUE", help="Set a parameter of the run.")
]
ExperimentOption = Annotated[
    str, typer.Option("--experiment", metavar="E", show_default="the branch", help="Where runs are kept.")
]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(submit)


def submit(
    name: PipelineArgument,
    revision: RevisionOption = "",
    settings: ParameterOption = [],  # noqa: B006 - typer's form; it is not changed
    experiment: ExperimentOption = "",
    wait: Annotated[bool, typer.Option("--wait", help="Show its steps until it ends.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Run a compiled pipeline on Kubeflow, as a version named by the Git revision.

    NBSHIP_KUBEFLOW_HOST and NBSHIP_KUBEFLOW_AUTH say where and how. With --wait, ends as the run does: 0 or 1.

    Example: nbship submit auto-mpg --set train.C=3 --wait
    """
    from nbship.workflow.submit import Request, connect
    from nbship.workflow.submit import submit as start

    root = project_root()
    connection = connect(os.environ)
    submission = start(connection, root, Request(name, revision, settings, experiment), os.environ)
    if as_json:
        print_json(_told(submission))
    else:
        _print_submission(submission)
    return _wait(connection, submission, as_json) if wait else ExitCode.DONE


def _wait(connection: Connection, submission: Submission, as_json: bool) -> ExitCode:
    from nbship.cli.progress import progress
    from nbship.workflow.submit import exit_code, wait

    try:
        with progress(as_json) as on_event:
            run = wait(connection, submission, on_event)
    except KeyboardInterrupt:
        raise InterruptedRun("no longer waiting; the run goes on", f"its page: {submission.link}") from None
    code = exit_code(run)
    if as_json:
        print_json({"event": "run", "run": run.id, "state": run.state, "error": run.error, "exit_code": code})
    else:
        _print_end(run, submission.link)
    return code


def _told(submission: Submission) -> dict[str, object]:
    return {
        "event": "submitted",
        "run": submission.run.id,
        "name": submission.run.name,
        "link": submission.link,
        "experiment": submission.experiment,
        "version": asdict(submission.version),
    }


def _print_submission(submission: Submission) -> None:
    version = submission.version
    console.print(f"version     {escape(version.name)} ({'uploaded' if version.new else 'there already'})")
    console.print(f"experiment  {escape(submission.experiment)}")
    console.print(f"run         {escape(submission.run.name)}")
    console.print(f"page        {escape(submission.link)}")


def _print_end(run: RemoteRun, link: str) -> None:
    if run.state == "SUCCEEDED":
        console.print("run         [bold green]succeeded[/]")
        return
    console.print(f"run         [bold red]{escape(run.state.lower())}[/]")
    if run.error:
        error_console.print(escape(run.error))
    error_console.print(f"its page has the log of each step: {escape(link)}")
