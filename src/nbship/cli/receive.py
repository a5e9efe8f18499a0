"""`nbship chatops serve` and `poll`: see comments, by webhook or by asking, and have jobs started."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nbship.chatops.screening import named
from nbship.cli.common import console, error_console
from nbship.errors import UsageError

if TYPE_CHECKING:
    from nbship.chatops.events import Comment

_FORGES = ("gitlab", "github")
WORKFLOW = "nbship-chatops.yml"

ForgeOption = Annotated[str, typer.Option("--forge", metavar="gitlab|github", help="Whose webhooks.")]
ProjectOption = Annotated[
    str, typer.Option("--project", metavar="PATH", help="The project's path, such as group/name.")
]
BranchOption = Annotated[
    str, typer.Option("--branch", help="The branch whose jobs are started: the default branch.")
]
WorkflowOption = Annotated[
    str, typer.Option("--workflow", metavar="FILE", help="On GitHub, the workflow that works comments.")
]


def add_to(group: typer.Typer) -> None:
    """Adds the commands to `nbship chatops`."""
    group.command("serve")(serve)
    group.command("poll")(poll)


def serve(
    project: ProjectOption,
    forge: ForgeOption = "gitlab",
    branch: BranchOption = "main",
    workflow: WorkflowOption = WORKFLOW,
    queue: Annotated[
        Path, typer.Option("--queue", metavar="FOLDER", help="Where comments are kept until they are worked.")
    ] = Path(".nbship/comments"),
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on; 0.0.0.0 is all.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port; 0 is any free one.")
    ] = 8080,
    catch_up: Annotated[
        float,
        typer.Option("--catch-up", min=0, metavar="MINUTES", help="How often to look for more; 0 is never."),
    ] = 5,
) -> None:
    """Take the forge's webhooks of comments, and have a job started for each that may hold a command.

    NBSHIP_WEBHOOK_SECRET has the webhook's secret. NBSHIP_TRIGGER_TOKEN starts pipelines on GitLab, and
    NBSHIP_GITHUB_TOKEN workflows on GitHub. With the forge's token, NBSHIP_GITLAB_TOKEN or the same,
    comments of the last day are found that no webhook brought.

    Example: nbship chatops serve --project group/cars --host 0.0.0.0
    """
    _require_libraries()
    _require_forge(forge)
    from nbship.chatops.hooks import SECRET, Expected
    from nbship.chatops.receiver import Receiving
    from nbship.chatops.receiver import serve as receive
    from nbship.chatops.worker import CatchUp
    from nbship.ci.starting import find_start

    expected = Expected(forge, project, tuple(os.environ.get(SECRET, "").split()))
    start = find_start(os.environ, forge, project, branch, workflow)
    others = None
    if catch_up and os.environ.get(_token(forge)):
        others = CatchUp(partial(_look, forge, project, start.branch), 60 * catch_up)
    else:
        error_console.print(f"comments that no webhook brings are not found: {_token(forge)} is not set")
    receive(Receiving(expected, start, queue, host, port, others), _print_ready)


def poll(
    project: Annotated[
        str, typer.Option("--project", metavar="PATH", help="The project's path; a job's own if not given.")
    ] = "",
    forge: Annotated[
        str, typer.Option("--forge", metavar="gitlab|github", help="Who is asked; a job's own if not given.")
    ] = "",
    branch: Annotated[
        str, typer.Option("--branch", help="The branch whose jobs are started; the default branch in a job.")
    ] = "",
    workflow: WorkflowOption = WORKFLOW,
) -> int:
    """Ask the forge for comments of the last day that nobody has answered, and have a job started for each.

    For a schedule, where no webhook can reach. The forge's token finds them. NBSHIP_TRIGGER_TOKEN starts
    pipelines on GitLab, or a job's own token.

    Example: nbship chatops poll
    """
    from nbship.ci import current_job, find_forge
    from nbship.ci.starting import StartError, find_start, start_job

    forge = forge or find_forge(os.environ).name.lower()
    _require_forge(forge)
    path = project or current_job(os.environ).project
    if not path:
        raise UsageError("it is not told whose comments", "--project group/name")
    start = find_start(os.environ, forge, path, branch, workflow)
    failed = 0
    for comment in _look(forge, path, start.branch):
        try:
            address = start_job(start, comment.variables)
        except StartError as error:
            failed += 1
            error_console.print(f"{named(comment)}: {error.message}; {error.hint}", markup=False)
            continue
        console.print(f"{named(comment)} started {address}".rstrip(), markup=False)
    return int(failed > 0)


def _look(forge: str, project: str, branch: str) -> list[Comment]:
    from datetime import UTC, datetime

    from nbship.chatops.poll import look

    return look(os.environ, forge, project, branch, datetime.now(UTC))


def _token(forge: str) -> str:
    return f"NBSHIP_{forge.upper()}_TOKEN"


def _require_forge(forge: str) -> None:
    if forge not in _FORGES:
        raise UsageError(f"--forge {forge}: unknown", f"one of {', '.join(_FORGES)}")


def _print_ready(address: str) -> None:
    console.print(f"webhook   {address}", markup=False)
    console.print("Ctrl-C ends it; what waits is kept.")


def _require_libraries() -> None:
    from importlib.util import find_spec

    absent = [
        each for each in ("msgspec", "prometheus_client", "starlette", "uvicorn") if not find_spec(each)
    ]
    if absent:
        from nbship.errors import NbshipError

        raise NbshipError(f"the receiver needs {', '.join(absent)}", "pip install 'nbship[serve]'")
