"""`nbship chatops serve`: takes a forge's webhooks of comments and has jobs started for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from nbship.cli.common import console
from nbship.errors import UsageError

_FORGES = ("gitlab", "github")
WORKFLOW = "nbship-comments.yml"

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
    """Adds the command to `nbship chatops`."""
    group.command("serve")(serve)


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
) -> None:
    """Take the forge's webhooks of comments, and have a job started for each that may hold a command.

    NBSHIP_WEBHOOK_SECRET has the webhook's secret; NBSHIP_TRIGGER_TOKEN starts pipelines on GitLab, and
    NBSHIP_GITHUB_TOKEN workflows on GitHub.

    Example: nbship chatops serve --project group/cars --host 0.0.0.0
    """
    from nbship.ci.starting import find_start

    if forge not in _FORGES:
        raise UsageError(f"--forge {forge}: unknown", f"one of {', '.join(_FORGES)}")
    _require_libraries()
    from nbship.chatops.hooks import SECRET, Expected
    from nbship.chatops.receiver import Receiving
    from nbship.chatops.receiver import serve as receive

    expected = Expected(forge, project, tuple(os.environ.get(SECRET, "").split()))
    start = find_start(os.environ, forge, project, branch, workflow)
    receive(Receiving(expected, start, queue, host, port), _print_ready)


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
