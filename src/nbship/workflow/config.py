"""Tells what a pipeline's configuration is in the end, and where each value comes from.

The values are those that a command would use; nothing is run. What looks like a secret is not shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbship.config import Layer, Pipeline, pipeline_of, read_layers
from nbship.config.locations import has
from nbship.errors import without_credentials
from nbship.graph import Graph, read_graph

HIDDEN = "(hidden)"
_SECRET = re.compile(r"passw|secret|token|credential|api_?key|access_?key|private_?key", re.IGNORECASE)


@dataclass(frozen=True)
class Value:
    """One value of the configuration.

    Attributes:
        location: The keys that lead to it, outermost first.
        value: Plain data; `HIDDEN` in place of a secret.
        origin: A file and line, a variable, a setting or a notebook; "default" if nobody said anything.
    """

    location: tuple[str, ...]
    value: Any
    origin: str

    @property
    def key(self) -> str:
        """The place as `--set` takes it."""
        return ".".join(self.location)


def configuration(
    root: Path,
    name: str,
    overrides: Sequence[str],
    override_files: Sequence[Path],
    environment: Mapping[str, str],
) -> list[Value]:
    """Returns every value of a pipeline's configuration, in the order of the pipeline file's models.

    Args:
        root: The project's folder.
        name: The pipeline.
        overrides: `step.parameter=value`, or any key of the pipeline file.
        override_files: YAML files merged into the pipeline file.
        environment: Variables such as `NBSHIP_TRAIN__C`.

    Raises:
        UsageError: Something is not understood.
    """
    layers = read_layers(root, name, overrides, override_files, environment)
    pipeline = pipeline_of(name, layers)
    graph = read_graph(root, pipeline)
    return [
        Value(location, _shown(location, value), _origin(location, layers, graph))
        for location, value in _leaves(_tree(pipeline, graph))
    ]


def as_tree(values: Sequence[Value]) -> dict[str, Any]:
    """Returns values as the nested mappings that a pipeline file is."""
    tree: dict[str, Any] = {}
    for value in values:
        node = tree
        for key in value.location[:-1]:
            node = node.setdefault(key, {})
        node[value.location[-1]] = value.value
    return tree


def _tree(pipeline: Pipeline, graph: Graph) -> dict[str, Any]:
    """What is written and what is not, with the notebooks' defaults; nothing that is neither."""
    tree = pipeline.model_dump(exclude_none=True)
    for name, step in graph.steps.items():
        tree["steps"][name]["parameters"] = dict(step.parameters)
    return tree


def _leaves(tree: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value by its place; a parameter's is one value, whatever is in it. Empty ones are left out."""
    for key, value in tree.items():
        location = (*at, str(key))
        in_parameters = at[:1] == ("steps",) and at[2:] == ("parameters",)
        if isinstance(value, Mapping) and not in_parameters:
            yield from _leaves(value, location)
        elif in_parameters or value not in ("", []):
            yield location, value


def _origin(location: Sequence[str], layers: Sequence[Layer], graph: Graph) -> str:
    layer = next((layer for layer in reversed(layers) if has(layer.tree, location)), None)
    if layer:
        line = layer.line(location)
        # The text of a setting may be a secret; its value is beside it.
        return f"{layer.origin}, line {line}" if line else layer.origin.partition("=")[0]
    in_parameters = location[0] == "steps" and location[2:3] == ("parameters",)
    return graph.pipeline.steps[location[1]].notebook if in_parameters else "default"


def _shown(location: Sequence[str], value: Any) -> Any:
    """The value as plain data, unless it looks like a secret; names of secrets are none."""
    names_a_secret = location[0] == "kubeflow" or location[2:3] == ("secrets",)
    if isinstance(value, str) and _SECRET.search(location[-1]) and not names_a_secret:
        return HIDDEN if value else value
    return _without_passwords(value)


def _without_passwords(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if isinstance(item, str) and _SECRET.search(str(key)) else _without_passwords(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_without_passwords(item) for item in value]
    return without_credentials(value, HIDDEN) if isinstance(value, str) else value
