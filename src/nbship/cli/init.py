"""`nbship init`: a folder becomes a project; `--update` brings its files to the installed version."""

from __future__ import annotations

import difflib
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.text import Text

from nbship.cli.common import JsonOption, console, error_console, print_json
from nbship.errors import NbshipError, UsageError

if TYPE_CHECKING:
    from nbship.workflow.init import Initialized, Update

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Make Git and DVC ready without asking.")]
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(init)


def init(
    ci: Annotated[
        Literal["gitlab", "github"] | None,
        typer.Option("--ci", metavar="gitlab|github", help="Write the jobs that train and deploy."),
    ] = None,
    image: Annotated[bool, typer.Option("--image", help="Write a Dockerfile for steps and servers.")] = False,
    kubernetes: Annotated[
        bool, typer.Option("--kubernetes", help="Write kustomize folders for a cluster.")
    ] = False,
    chatops: Annotated[
        bool, typer.Option("--chatops", help="With --ci: let comments on merge requests hold commands.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Bring the written files to this version; your changes stay.")
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make this folder a project, in any repository or none: Git, DVC, and the few files that nbship needs.

    Nothing is overwritten, committed or staged; repeated, it changes nothing.

    Example: nbship init --ci gitlab
    """
    from nbship.templates.project import Wish
    from nbship.workflow.init import initialize

    root = Path.cwd()
    if update:
        if ci or image or kubernetes or chatops:
            raise UsageError("--update goes alone", "add parts first: nbship init --ci gitlab; then update")
        _update(root, yes, as_json)
        return
    agree(root, yes)
    done = initialize(root, Wish(ci=ci or "", image=image, kubernetes=kubernetes, chatops=chatops))
    if as_json:
        print_json(asdict(done))
        return
    show(done)
    if ci == "github":  # GitLab knows its default branch itself
        console.print(f"branch    {escape(done.branch)}: what CI trains for production")
    console.print()
    for purpose, commands in _next(root, done).items():
        console.print(f"{purpose:10}{commands}")


def agree(root: Path, yes: bool) -> None:
    """Asks before repositories are made.

    Raises:
        UsageError: There is nobody to ask, or he does not want it.
    """
    from nbship.workflow.init import missing

    lacking = missing(root)
    if not lacking or yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{root}: no {' and no '.join(lacking)} here", "make them: nbship init --yes")
    if not typer.confirm(f"Make a {' and a '.join(lacking)} in {root}?", default=True, err=True):
        raise UsageError(f"{root}: nothing was made", "a project needs Git for code, DVC for data and models")


def show(done: Initialized) -> None:
    """Prints what was done."""
    for what in done.made:
        console.print(f"made      a {escape(what)}")
    for path in _folded(done.written):
        console.print(f"wrote     {escape(path)}")
    for path in done.extended:
        console.print(f"extended  {escape(path)}")
    for path in done.renewed:
        console.print(f"renewed   {escape(path)}")
    for path in done.kept:
        console.print(f"kept      {escape(path)}, which is yours{escape(_meant(path))}")
    for path in done.outdated:
        console.print(f"left      {escape(path)}, which you changed: nbship init --update merges what is new")
    for path in done.strange:
        console.print(
            f"note      {escape(path)} is not a pipeline of nbship: move it, or commands for all stop at it"
        )
    if not (done.made or done.written or done.extended or done.renewed):
        console.print("nothing to do: all of it is there")


def _folded(paths: Iterable[str]) -> Iterator[str]:
    """A folder of many files in one line."""
    told = set()
    for path in paths:
        head = "/".join(path.split("/")[:2]) if path.startswith("kubernetes/") else ""
        if not head:
            yield path
        elif head not in told:
            told.add(head)
            yield f"{head}/"


def _meant(path: str) -> str:
    from nbship.templates.project import GITLAB

    if Path(path).name == GITLAB:
        return ": include .gitlab/nbship/jobs.yml there, with the stages check, run, image, train, deploy"
    return ""


def _next(root: Path, done: Initialized) -> dict[str, str]:
    """What to type now, by what for."""
    from nbship.project import PIPELINES
    from nbship.templates.project import LOCK

    commands = {}
    if done.strange or not any((root / PIPELINES).glob("*.yaml")):
        commands["next"] = "nbship new NAME --data FILE --target COLUMN"
    if done.ci and not Path(root, LOCK).exists():
        commands["for CI"] = "nbship add; nbship compile --all; then commit all of it"
    elif done.image and not Path(root, LOCK).exists():
        commands["to build"] = "nbship add"
    return commands or {"next": "nbship config check"}


def _update(root: Path, yes: bool, as_json: bool) -> None:
    from nbship.workflow.init import apply_update, plan_update

    update = plan_update(root)
    if as_json:
        print_json({"revised": [asdict(each) for each in update.revised], "left": dict(update.left)})
    else:
        _show_difference(update)
    if update.revised and not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError("nothing was changed yet", "write it: nbship init --update --yes")
        if not typer.confirm("Write this?", default=True, err=True):
            raise UsageError("nothing was changed", "the files stay as they are")
    apply_update(root, update)
    conflicts = [each.path for each in update.revised if each.conflicts]
    if conflicts:
        raise NbshipError(
            f"changed by both: {', '.join(conflicts)}",
            f"choose between <<<<<<< and >>>>>>> in them; see git diff {shlex.join(conflicts)}",
        )


def _show_difference(update: Update) -> None:
    for each in update.revised:
        lines = difflib.unified_diff(
            each.before.splitlines(), each.after.splitlines(), each.path, each.path, lineterm="", n=2
        )
        for line in lines:
            console.print(Text(line, style=_COLOURS.get(line[:1], "")))
    for path, why in update.left.items():
        error_console.print(escape(f"left      {path}: {why}"))
    if not update.revised:
        console.print("nothing to do: the files are this version's")
    elif os.environ.get("TERM"):
        console.print()
