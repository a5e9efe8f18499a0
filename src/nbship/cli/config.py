"""`nbship config`: what a configuration is in the end, where each value comes from, and what is missing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from nbship.cli.common import (
    ConfigOverrideOption,
    JsonOption,
    PipelineArgument,
    SetOption,
    complete_pipeline,
    console,
    print_json,
)
from nbship.project import project_root

if TYPE_CHECKING:
    from nbship.workflow.config import Value

_INDENT = "  "
_MOST_PADDING = 60


_WIDTH = 16


class _ShowUnlessNamed(TyperGroup):
    """`nbship config NAME` is short for `nbship config show NAME`."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Reads the command line."""
        named = not args or args[0] in (*self.commands, "-h", "--help")
        return super().parse_args(ctx, args if named else ["show", *args])


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        name="config",
        cls=_ShowUnlessNamed,
        help="Show what a pipeline's configuration is in the end, or what is missing: nbship config NAME.",
        no_args_is_help=True,
    )
    group.command("show")(config)
    group.command("check")(check)
    app.add_typer(group)


def check(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME", help="The pipelines; all if not given.", autocompletion=complete_pipeline
        ),
    ] = [],  # noqa: B006 (typer reads the default and never changes it)
    as_json: JsonOption = False,
) -> None:
    """Say what is missing to run, publish, submit and deploy, and how to set it. No server is asked.

    Example: nbship config check
    """
    from dataclasses import asdict

    from nbship.workflow.readiness import find_readiness

    found = find_readiness(project_root(), names, os.environ)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    for each in found:
        if each.purpose == "run":
            console.print(f"[bold]{escape(each.pipeline)}[/]")
        if not each.lacking:
            console.print(f"  [green]✓[/] {each.purpose}")
        for number, (what, how) in enumerate(each.lacking):
            mark = "[yellow]✗[/]" if number == 0 else " "
            console.print(f"  {mark} {each.purpose if number == 0 else '':{_WIDTH}}{escape(what)}")
            console.print(f"    {'':{_WIDTH}}{escape(how)}", style="dim")
    if not found:
        console.print("no pipeline yet: nbship new NAME --data FILE --target COLUMN")


def config(
    name: PipelineArgument,
    settings: SetOption = [],  # noqa: B006 (typer reads the default and never changes it)
    override_files: ConfigOverrideOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Print a pipeline's configuration as YAML, and where each value comes from.

    Override files go over the pipeline file, variables such as NBSHIP_TRAIN__C over these, --set over all.

    Example: nbship config auto-mpg --set train.folds=3
    """
    from nbship.workflow.config import as_tree, configuration

    values = configuration(project_root(), name, settings, override_files, os.environ)
    if as_json:
        print_json({"config": as_tree(values), "origins": {value.key: value.origin for value in values}})
        return
    lines = list(_lines(values))
    width = max((len(text) for text, _ in lines if len(text) <= _MOST_PADDING), default=0)
    for text, origin in lines:
        sys.stdout.write(f"{text:{width}}  # {origin}\n" if origin else f"{text}\n")


def _lines(values: Sequence[Value]) -> Iterator[tuple[str, str]]:
    """The lines of the YAML, each with where its value comes from."""
    open_keys: list[str] = []
    for value in values:
        *parents, last = value.location
        for depth, key in enumerate(parents):
            if open_keys[: depth + 1] != parents[: depth + 1]:
                yield f"{_INDENT * depth}{_yaml(key)}:", ""
        open_keys = parents
        yield f"{_INDENT * len(parents)}{_yaml(last)}: {_yaml(value.value)}", value.origin


def _yaml(value: object) -> str:
    """A value on one line, as YAML."""
    import yaml

    text = yaml.safe_dump(
        value, default_flow_style=True, width=sys.maxsize, allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")
