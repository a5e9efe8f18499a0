"""`nbship show`: a pipeline and the signatures of its steps, for people and machines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.text import Text

from nbship.cli.common import (
    ConfigOverrideOption,
    JsonOption,
    PipelineArgument,
    SetOption,
    console,
    print_json,
)
from nbship.project import project_root

if TYPE_CHECKING:
    from nbship.workflow.show import PipelineView, StepView, VariableView

_WIDEST_VALUE = 40
_ORDER = ("in", "set", "out")


class _Row(NamedTuple):
    direction: str
    name: str
    type: str
    wiring: str
    help: str


class GraphFormat(StrEnum):
    """How a pipeline is shown."""

    TEXT = "text"
    MERMAID = "mermaid"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("show")(show)


def show(
    name: PipelineArgument,
    form: Annotated[
        GraphFormat, typer.Option("--format", help="Text, or a Mermaid flowchart.")
    ] = GraphFormat.TEXT,
    settings: SetOption = [],  # noqa: B006 (typer reads the default and never changes it)
    overrides: ConfigOverrideOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Show a pipeline: every step's signature, and how the steps are wired.

    Example: nbship show auto-mpg --format mermaid
    """
    from nbship.config import load_pipeline
    from nbship.graph import read_graph
    from nbship.workflow.show import mermaid, view

    root = project_root()
    graph = read_graph(root, load_pipeline(root, name, settings, overrides, os.environ))
    if as_json:
        print_json(view(graph).as_json())
    elif form is GraphFormat.MERMAID:
        sys.stdout.write(mermaid(graph))
    else:
        _print_text(view(graph))


def _print_text(pipeline: PipelineView) -> None:
    rows = {
        step.name: sorted(map(_row, step.variables), key=lambda row: _ORDER.index(row[0]))
        for step in pipeline.steps
    }
    data = [_Row("data", d.name, "Dataset", d.path, d.description) for d in pipeline.data]
    widths = [max(map(len, column)) for column in zip(*chain(data, *rows.values()), strict=True)]
    count = f"{len(pipeline.steps)} step{'s' if len(pipeline.steps) > 1 else ''}"
    _print_heading(pipeline.name, pipeline.description, [count, f"image {pipeline.image}"])
    console.print()
    for view, row in zip(pipeline.data, data, strict=True):
        _print_row(row, widths)
        source = f", or {view.source}" if view.source else ""
        console.print(Text(f"  {'':{widths[0]}}  from a DVC remote{source}", "dim"))
    for step in pipeline.steps:
        console.print()
        _print_heading(step.name, step.title, [step.notebook, *_settings(step)])
        for row in rows[step.name]:
            _print_row(row, widths)
    if pipeline.gate:
        console.print()
        _print_heading("gate", f"after {pipeline.gate['step']}", _gate(pipeline.gate))
    if pipeline.publish:
        model, reference, target = (pipeline.publish[key] for key in ("model", "reference", "target"))
        console.print()
        _print_heading("publish", f"{model}, learnt from {reference}, predicts {target}", [])


def _print_heading(name: str, title: str, facts: Iterable[str]) -> None:
    console.print(Text.assemble((name, "bold"), "  ", title) if title else Text(name, "bold"))
    if line := " · ".join(facts):
        console.print(Text(f"  {line}", "dim"))


def _print_row(row: _Row, widths: Sequence[int]) -> None:
    direction, name, kind, wiring = (
        text.ljust(width) for text, width in zip(row[:4], widths[:4], strict=True)
    )
    styled = (f"  {direction}  ", (name, "cyan"), "  ", (kind, "magenta"), f"  {wiring}  ", (row.help, "dim"))
    line = Text.assemble(*styled)
    line.rstrip()
    console.print(line)


def _row(variable: VariableView) -> _Row:
    if variable.origin:
        return _Row("in", variable.name, variable.type, _origin(variable), variable.help)
    if variable.role == "parameter":
        changed = f", not {_short(variable.default)}" if variable.value != variable.default else ""
        return _Row(
            "set", variable.name, variable.type, f"= {_short(variable.value)}{changed}", variable.help
        )
    readers = dict.fromkeys(reader.partition(".")[0] for reader in variable.readers)
    return _Row(
        "out", variable.name, variable.type, f"to {', '.join(readers)}" if readers else "", variable.help
    )


def _origin(variable: VariableView) -> str:
    """Says only what the variable's own name does not."""
    step, _, name = variable.origin.rpartition(".")
    if name == variable.name:
        return f"from {step or 'data'}"
    return f"from {variable.origin if step else 'data ' + name}"


def _settings(step: StepView) -> Iterator[str]:
    """What the pipeline file says beside the notebook, each in a few words; of secrets, where they are."""
    words = {
        "image": "image {}",
        "cpu": "{} CPU",
        "memory": "{} memory",
        "gpu": "{} GPU",
        "accelerator": "accelerator {}",
        "env": "variables {}",
        "secrets": "secrets {}",
        "node_selector": "on nodes {}",
        "tolerations": "tolerates {}",
        "retries": "retried up to {}×",
        "timeout": "{:g} s a cell",
        "cache": "never cached",
    }
    yield from (words.get(key, f"{key} {{}}").format(_plain(value)) for key, value in step.settings.items())
    if step.after:
        yield f"after {', '.join(step.after)}"


def _plain(value: Any) -> Any:
    """A mapping, or a list of them, in one line."""
    if isinstance(value, Mapping):
        return " ".join(f"{key}={item}" for key, item in value.items() if item is not None)
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else value


def _gate(gate: Mapping[str, Any]) -> Iterator[str]:
    for metric, bounds in gate["thresholds"].items():
        signs = (("≥", bounds["min"]), ("≤", bounds["max"]))
        yield f"{metric} {' and '.join(f'{sign} {bound:g}' for sign, bound in signs if bound is not None)}"
    allowed = f" (at most {gate['tolerance']:.0%} more)" if gate["require"] == "no worse" else ""
    yield (
        f"{gate['losses']} {gate['require']} than the champion's on the same rows{allowed}, "
        f"with {gate['confidence']:.0%} confidence"
    )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDEST_VALUE else f"{text[: _WIDEST_VALUE - 1]}…"
