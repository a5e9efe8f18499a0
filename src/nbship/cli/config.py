"""`nbship config`: what a pipeline's configuration is in the end, and where each value comes from."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from nbship.cli.common import ConfigOverrideOption, JsonOption, PipelineArgument, SetOption, print_json
from nbship.project import project_root

if TYPE_CHECKING:
    from nbship.workflow.config import Value

_INDENT = "  "
_MOST_PADDING = 60


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("config")(config)


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
