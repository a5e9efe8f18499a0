"""What a run of a compiled pipeline is given: parameters of its steps, set by a person, a file or a variable.

Everything else is in the compiled pipeline, and cannot be changed for a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nbship import config
from nbship.errors import UsageError, suggestion
from nbship.graph import Graph, Reference, read_graph
from nbship.values import Text, ValueTypeError, check_value, split_setting

# What a pipeline file says of the server, which is no part of the compiled pipeline.
SERVER_KEYS = ("host", "namespace", "auth", "ca")


def run_parameters(graph: Graph, settings: Sequence[str]) -> dict[str, Any]:
    """Turns `step.parameter=value` into the run's parameters, checked against what the notebooks declare.

    Raises:
        UsageError: There is no such parameter, or the value is not of its type.
    """
    from nbship.kubeflow.compile import pipeline_parameters, sent_value
    from nbship.kubeflow.limits import check_together

    parameters = pipeline_parameters(graph)
    known = {(p.origin if Reference.parse(p.origin).step in graph.steps else p.name): p for p in parameters}
    values = {}
    for setting in settings:
        keys, text = split_setting(setting)
        key = ".".join(keys)
        if key not in known:
            raise UsageError(f"--set {setting}: a run has no parameter '{key}'", suggestion(key, known))
        parameter = known[key]
        try:
            value = check_value(parameter.type, Text(text))
        except ValueTypeError as error:
            raise UsageError(f"--set {setting}: {key} {error}", f"it takes {parameter.type}") from None
        values[parameter.name] = sent_value(parameter, _carried(f"--set {setting}", value))
    check_together({**{p.name: p.default for p in parameters}, **values})
    return values


def overridden_parameters(
    root: Path, graph: Graph, override_files: Sequence[Path], variables: Mapping[str, str]
) -> dict[str, Any]:
    """Returns the run's parameters that override files and variables change.

    Args:
        root: The project's folder.
        graph: The pipeline as it is compiled.
        override_files: YAML files; they may change parameters of steps, and where the server is.
        variables: The environment; of what is no parameter of a run, the compiled pipeline has its own.

    Raises:
        UsageError: A file changes what is compiled, or a value is not of its type.
    """
    from nbship.kubeflow.compile import pipeline_parameters, sent_value

    filed = config.load_pipeline(root, graph.name, (), override_files)
    changed = list(_differences(_compiled_part(graph.pipeline), _compiled_part(filed)))
    if changed:
        raise UsageError(
            f"--config-override: '{changed[0]}' is in the compiled pipeline, and no parameter of a run",
            f"compile it so: nbship compile {graph.name} --config-override FILE",
        )
    before = {parameter.name: parameter.default for parameter in pipeline_parameters(graph)}
    over = read_graph(root, config.load_pipeline(root, graph.name, (), override_files, variables))
    return {
        p.name: sent_value(p, _carried(p.origin, p.default))
        for p in pipeline_parameters(over)
        if p.name in before and p.default != before[p.name]
    }


def _compiled_part(pipeline: config.Pipeline) -> dict[str, Any]:
    """What a run cannot change: all but parameters of steps, and where the servers are."""
    steps = {name: {"parameters"} for name in pipeline.steps}
    return pipeline.model_dump(exclude={"steps": steps, "kubeflow": set(SERVER_KEYS), "vertex": True})


def _differences(one: Any, other: Any, at: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            yield from _differences(one.get(key), other.get(key), f"{at}.{key}" if at else str(key))
    elif one != other:
        yield at


def _carried(origin: str, value: Any) -> Any:
    """Refuses what would arrive as something else: Kubeflow's numbers are doubles."""
    from google.protobuf import json_format, struct_pb2

    arrived = json_format.MessageToDict(json_format.ParseDict(value, struct_pb2.Value()))
    if arrived != value:
        raise UsageError(f"{origin}: Kubeflow cannot carry it exactly", "whole numbers end at 2^53")
    return value
