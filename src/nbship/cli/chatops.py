"""`nbship chatops`: commands in comments on merge requests, worked by a CI job."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nbship.cli import receive
from nbship.cli.common import error_console
from nbship.errors import UsageError
from nbship.project import project_root

if TYPE_CHECKING:
    from nbship.chatops.commands import Parse

# What a command is told whether or not it was given.
_ALWAYS = ("name", "settings", "stage", "a", "b")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Work commands in comments on merge requests.", no_args_is_help=True)
    group.command("run")(run)
    receive.add_to(group)
    app.add_typer(group, name="chatops")


def run(
    context: typer.Context,
    part: Annotated[
        Literal["answer", "wait", "code", "deliver", "end"] | None,
        typer.Option(
            "--part",
            metavar="answer|wait|code|deliver|end",
            envvar="NBSHIP_COMMENT_PART",
            help="The part of the work that this job does; else all.",
        ),
    ] = None,
    index: Annotated[
        int | None, typer.Option("--index", min=0, help="The command that this job works on, counted from 0.")
    ] = None,
) -> int:
    """Work the comment that started this CI job: check who asks, do it once, and keep the reply up to date.

    The comment comes from GitHub's event, or from NBSHIP_COMMENT_… in a pipeline that was started for it. The
    forge's token comes from NBSHIP_GITHUB_TOKEN or NBSHIP_GITLAB_TOKEN. An audit has a line of JSON for each.

    Example: nbship chatops run --part answer
    """
    from nbship.chatops.events import read_comment
    from nbship.chatops.work import work
    from nbship.ci import FORGES

    comment = read_comment(os.environ)
    if comment is None:
        error_console.print("nothing to do: the event starts nothing")
        return 0

    def report(line: str) -> None:
        error_console.print(line, markup=False)

    environment = dict(os.environ)
    if part == "code":
        # Notebooks inherit what this process has; what they print is kept.
        for forge in FORGES:
            os.environ.pop(forge.token, None)
    return work(
        comment, environment, parser(context.find_root().command), project_root(), part, index, report
    )


def parser(program: Any) -> Parse:
    """Returns what reads words as a command line does, and runs nothing."""

    def parse(name: str, words: Sequence[str]) -> Mapping[str, Any]:
        command = program
        for part in name.split():
            command = command.commands[part]
        try:
            context = command.make_context(f"/{name}", [*words])
        except typer.TyperException as error:
            if getattr(getattr(error, "param", None), "name", "") == "name" and "" not in words:
                # Who has one pipeline need not name it.
                return parse(name, ["", *words])
            message = error.format_message() if hasattr(error, "format_message") else str(error)
            raise UsageError(message.rstrip("."), "see /help") from None
        defaults = {each.name: each.get_default(context) for each in command.params}
        return {
            key: value
            for key, value in context.params.items()
            if key in _ALWAYS or value != defaults.get(key)
        }

    return parse
