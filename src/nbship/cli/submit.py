"""`nbship submit`: a compiled pipeline on Kubeflow; and the list of the runs there."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
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

    NBSHIP_KUBEFLOW_HOST and NBSHIP_KUBEFLOW_AUTH say where and how. With --wait, ends with 1 if it fails.

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


def list_remote_runs(root: Path, name: str, limit: int, as_json: bool) -> None:
    """Prints the runs on Kubeflow, newest first: of one pipeline, or of all."""
    from nbship.local.words import age_text
    from nbship.workflow.submit import connect, remote_runs

    connection = connect(os.environ)
    runs = remote_runs(connection, root, name, limit)
    if as_json:
        print_json([asdict(run) | {"link": connection.server.run_link(run.id)} for run in runs])
        return
    now = datetime.now(UTC)
    width = max((len(run.name) for run in runs), default=0)
    for run in runs:
        age = age_text((now - run.created).total_seconds()) if run.created else ""
        words = (run.name.ljust(width), run.state.lower().ljust(9), age.ljust(12))
        console.print(escape("  ".join([*words, connection.server.run_link(run.id)])))
    if not runs:
        console.print(
            f"no runs{' of ' + name if name else ''} there; start one: nbship submit {name or 'NAME'}"
        )


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
    failed = dict.fromkeys(task.name for task in run.tasks if task.state == "FAILED")
    if failed:
        console.print(f"failed      {escape(', '.join(failed))}")
    if run.error:
        error_console.print(escape(run.error))
    error_console.print(f"its page has the log of each step: {escape(link)}")
