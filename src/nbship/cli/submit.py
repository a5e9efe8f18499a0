"""`nbship submit`: a compiled pipeline on Kubeflow; and the list of the runs there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from nbship.cli.common import (
    ConfigOverrideOption,
    JsonOption,
    PipelineArgument,
    console,
    error_console,
    print_json,
)
from nbship.errors import ExitCode, InterruptedRun, NbshipError, UsageError
from nbship.project import project_root

if TYPE_CHECKING:
    from nbship.kubeflow.records import RemoteRun
    from nbship.local.runner import Event
    from nbship.workflow.incluster.result import Result
    from nbship.workflow.submit import Submission, SubmitRequest
    from nbship.workflow.vertex import VertexRun


class Platform(StrEnum):
    """Where pipelines are run."""

    KUBEFLOW = "kubeflow"
    VERTEX = "vertex"


RevisionOption = Annotated[
    str,
    typer.Option("--revision", metavar="R", help="Commit, tag or branch to run; else what is here."),
]
ParameterOption = Annotated[
    list[str], typer.Option("--set", metavar="STEP.PARAM=VALUE", help="Set a parameter of the run.")
]
ImageOption = Annotated[
    str,
    typer.Option(
        "--image", metavar="I", help="Run in this image, name@sha256:…, instead of the project's tag."
    ),
]
RecordOption = Annotated[
    bool,
    typer.Option(
        "--record-trained",
        help="With --wait: record the trained commit in Git's remote, for `nbship changes`.",
    ),
]
PublishedOption = Annotated[
    Path | None,
    typer.Option(
        "--published",
        metavar="FILE",
        help="With --wait: append NAME VERSION of the published model to this file.",
    ),
]
ExperimentOption = Annotated[
    str,
    typer.Option(
        "--experiment", metavar="E", show_default="the branch", help="The experiment that the run belongs to."
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(submit)


def submit(
    name: PipelineArgument,
    revision: RevisionOption = "",
    settings: ParameterOption = [],  # noqa: B006 - typer's form; it is not changed
    override_files: ConfigOverrideOption = [],  # noqa: B006
    experiment: ExperimentOption = "",
    target: Annotated[
        Platform, typer.Option("--target", help="Kubeflow, or Google's Vertex AI.")
    ] = Platform.KUBEFLOW,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it ends, and show its steps.")] = False,
    image: ImageOption = "",
    record_trained: RecordOption = False,
    published: PublishedOption = None,
    as_json: JsonOption = False,
) -> int:
    """Run a compiled pipeline on Kubeflow, as a version named by the Git revision.

    kubeflow.host of the pipeline file, or NBSHIP_KUBEFLOW_HOST, says where. With --wait, ends with 1 if it
    fails, and with 3 if the gate rejects its model.

    Example: nbship submit auto-mpg --set train.C=3 --wait
    """
    from nbship.workflow.changes import record_trained as record
    from nbship.workflow.outcome import read_outcome
    from nbship.workflow.submit import SubmitRequest, connect_for
    from nbship.workflow.submit import submit as start
    from nbship.workflow.waiting import exit_code
    from nbship.workflow.waiting import wait as wait_for

    root = project_root()
    if (record_trained or published) and not wait:
        raise UsageError("--record-trained and --published need --wait", "add --wait")
    request = SubmitRequest(name, revision, settings, experiment, override_files, os.environ, image)
    if target is Platform.VERTEX:
        return _submit_to_vertex(root, request, wait, as_json)
    connection = connect_for(root, name, os.environ, override_files)
    submission = start(connection, root, request, os.environ)
    if as_json:
        print_json(_as_json(submission))
    else:
        _print_submission(submission)
    if not wait:
        return ExitCode.DONE

    def follow(on_event: Callable[[Event], None]) -> RemoteRun:
        return wait_for(connection, submission, on_event)

    def read(run: RemoteRun) -> Result | None:
        return read_outcome(connection, root, name, submission.commit, run)

    run, result = _wait(follow, read, submission, as_json)
    if result is None:
        error_console.print(
            "the logs of its steps cannot be read: have them archived, or set NBSHIP_KUBEFLOW_UI"
        )
    code = exit_code(run)
    if record_trained and code in (ExitCode.DONE, ExitCode.REJECTED):
        record(root, name, revision or "HEAD")
    if published and code == ExitCode.DONE:
        _note_published(published, name, run, result, submission.link)
    return code


def list_remote_runs(root: Path, name: str, limit: int, as_json: bool) -> None:
    """Prints the runs on Kubeflow, newest first: of one pipeline, or of all."""
    from nbship.pages.formatting import age_text
    from nbship.workflow.submit import connect_for, remote_runs

    connection = connect_for(root, name, os.environ)
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


def _submit_to_vertex(root: Path, request: SubmitRequest, wait: bool, as_json: bool) -> ExitCode:
    from nbship.workflow import vertex
    from nbship.workflow.waiting import exit_code

    def report(line: str) -> None:
        error_console.print(f"[bold yellow]Vertex AI:[/] {escape(line)}")

    started = vertex.submit(root, request, report)
    if as_json:
        told = {"link": started.link, "version": started.version, "image": started.image}
        print_json({"event": "submitted", "run": started.run.id, **told})
    else:
        console.print(f"version     {escape(started.version)}")
        console.print(f"image       {escape(started.image)}")
        console.print(f"run         {escape(started.run.id)}")
        console.print(f"page        {escape(started.link)}")
    if not wait:
        return ExitCode.DONE
    # Its logs are in Cloud Logging, which the run's page shows.
    run, _ = _wait(lambda on_event: vertex.wait(started, on_event), _result_elsewhere, started, as_json)
    return exit_code(run)


def _wait(
    follow: Callable[[Callable[[Event], None]], RemoteRun],
    read: Callable[[RemoteRun], Result | None],
    started: Submission | VertexRun,
    as_json: bool,
) -> tuple[RemoteRun, Result | None]:
    """Shows a run until it ends, and then what came out of it, where the logs of its steps can be read."""
    from nbship.cli.progress import progress
    from nbship.workflow.waiting import exit_code, failed_tasks

    link = started.link
    try:
        with progress(as_json) as on_event:
            run = follow(on_event)
        result = read(run)
    except KeyboardInterrupt:
        raise InterruptedRun("no longer waiting; the run goes on", f"its page: {link}") from None
    code = exit_code(run)
    if as_json:
        told = result.model_dump(mode="json") if result else {}
        ended = {"event": "run", "run": run.id, "state": run.state, "error": run.error, "exit_code": code}
        print_json({**ended, "failed": failed_tasks(run, started.tasks), **told})
    else:
        _print_result(run, result)
        _print_end(run, started)
    if result is None:
        error_console.print(f"the verdict's reasons and the metrics are on its page alone: {escape(link)}")
    return run, result


def _result_elsewhere(run: RemoteRun) -> Result | None:
    """Of a run whose logs are elsewhere."""
    from nbship.workflow.incluster.result import Result, has_result

    return None if has_result(run) else Result()


def _note_published(file: Path, name: str, run: RemoteRun, result: Result | None, link: str) -> None:
    from nbship.workflow.waiting import is_published

    version = result.version if result else ""
    if is_published(run) and not version:
        raise NbshipError(
            f"{name}: which version the run published cannot be read from its log or from Git",
            f"deploy it by hand: nbship deploy {name} --to STAGE; the run: {link}",
        )
    if version:
        with file.open("a", encoding="utf-8") as lines:
            lines.write(f"{name} {version}\n")


def _as_json(submission: Submission) -> dict[str, object]:
    return {
        "event": "submitted",
        "run": submission.run.id,
        "name": submission.run.name,
        "link": submission.link,
        "experiment": submission.experiment,
        "version": asdict(submission.version),
        "image": submission.image,
    }


def _print_submission(submission: Submission) -> None:
    version = submission.version
    console.print(f"version     {escape(version.name)} ({'uploaded' if version.new else 'there already'})")
    console.print(f"image       {escape(submission.image)}")
    console.print(f"experiment  {escape(submission.experiment)}")
    console.print(f"run         {escape(submission.run.name)}")
    console.print(f"page        {escape(submission.link)}")


def _print_result(run: RemoteRun, result: Result | None) -> None:
    from nbship.pages.formatting import comparison_notes, metrics_text
    from nbship.workflow.waiting import is_accepted

    if result is None and is_accepted(run):
        console.print("gate        [bold green]passed[/]")
    if result and result.verdict:
        word = "[bold green]passed[/]" if result.verdict.passed else "[bold red]rejected[/]"
        console.print(f"gate        {word}: {escape('; '.join(result.verdict.reasons))}")
        for note in comparison_notes(result.verdict):
            console.print(f"            {escape(note)}")
    if result and result.main_metrics:
        console.print(f"metrics     {escape(metrics_text(result.main_metrics))}")
    if result and result.version:
        console.print(f"published   {escape(result.version)}")


def _is_on_vertex(started: Submission | VertexRun) -> bool:
    from nbship.workflow.vertex import VertexRun

    return isinstance(started, VertexRun)


def _print_end(run: RemoteRun, started: Submission | VertexRun) -> None:
    from nbship.workflow.waiting import failed_tasks, is_rejected

    if is_rejected(run):
        console.print("run         [bold red]rejected by the gate[/]; the champion stays")
        return
    if run.state == "SUCCEEDED":
        console.print("run         [bold green]succeeded[/]")
        return
    style = "yellow" if run.state == "CANCELED" else "red"
    console.print(f"run         [bold {style}]{escape(run.state.lower())}[/]")
    failed = failed_tasks(run, started.tasks)
    if failed and run.state != "CANCELED":
        console.print(f"failed      {escape(', '.join(failed))}")
    if run.error:
        error_console.print(escape(run.error))
    notebooks = [name for name in failed if name in started.steps]
    # On Vertex AI, what a failed step has written is kept.
    if notebooks and run.state != "CANCELED" and not _is_on_vertex(started):
        told = f"nbship runs notebook {run.id} {notebooks[0]} --pipeline {run.name.partition(' ')[0]}"
        error_console.print(f"the notebook up to the failing cell: {escape(told)}", soft_wrap=True)
    error_console.print(f"its page has the log of each step: {escape(started.link)}")
