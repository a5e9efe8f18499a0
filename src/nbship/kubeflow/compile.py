"""Compiles a graph into what Kubeflow runs: KFP's v2 intermediate representation, as YAML.

KFP's own SDK builds it from the generated components; this adds the descriptions and writes the text. Where
the text goes, and whether the committed one is current, is decided elsewhere.
"""

from __future__ import annotations

import inspect
import re
import runpy
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nbship.errors import UsageError
from nbship.graph import Graph, Step
from nbship.kubeflow.component import EXECUTED_NOTEBOOK, fetch_source, function_name, step_source
from nbship.notebook import Role

# Names that a component uses for itself, or that KFP does.
_RESERVED = (EXECUTED_NOTEBOOK, "run_step", "Output", "self")
# KFP passes a component's source, with some lines of its own, as one argument; Linux allows 128 KiB for one.
_LONGEST_SOURCE = 127 * 1024
# JSON's numbers are doubles for KFP: whole numbers beyond this would arrive changed.
_LARGEST_INTEGER = 2**53
_PYTHON_TYPES: Mapping[str, type] = {t.__name__: t for t in (bool, dict, float, int, list, str)}


@dataclass(frozen=True)
class Parameter:
    """A value that may be set when the pipeline is submitted.

    Attributes:
        name: Its name in Kubeflow.
        type: One of `nbship.values.TYPES`.
        default: The value it has unless it is set.
        help: What it is for.
        origin: What it belongs to, for errors: `step.parameter`, or a data file.
    """

    name: str
    type: str
    default: Any
    help: str
    origin: str


def compile_graph(graph: Graph, hashes: Mapping[str, str]) -> str:
    """Compiles a graph; the same graph gives the same bytes.

    Args:
        graph: The pipeline with its notebooks.
        hashes: MD5 of each data file, by its name, against which what is fetched is checked.

    Returns:
        The YAML.

    Raises:
        UsageError: Kubeflow cannot take a name, a value or a setting, or a notebook is too long.
    """
    parameters = pipeline_parameters(graph)
    _check_names(graph, parameters)
    for parameter in parameters:
        _check_value(parameter.origin, parameter.default)
    pipeline = _build(graph, parameters, _sources(graph, hashes))
    _describe(pipeline.pipeline_spec, graph, parameters)
    return _header(graph) + _to_yaml(pipeline.pipeline_spec)


def pipeline_parameters(graph: Graph) -> list[Parameter]:
    """Returns what may be set at submission: parameters that are not wired, and places of data files."""
    declared = {step.name: step.notebook.signature.parameters for step in graph.steps.values()}
    parameters = [
        Parameter(
            _argument(step, name),
            declared[step.name][name].type,
            value,
            declared[step.name][name].help,
            f"{step.name}.{name}",
        )
        for step in graph.steps.values()
        for name, value in step.parameters.items()
    ]
    for name in _used_data(graph):
        path = graph.data[name]
        text = f"path or URL to take {path} from instead of its source"
        parameters.append(Parameter(_location(name), "str", "", text, f"data file '{name}'"))
    return parameters


def _sources(graph: Graph, hashes: Mapping[str, str]) -> dict[str, str]:
    """The source of every component, by component."""
    sources = {_fetch(name): _fetch_source(graph, name, hashes) for name in _used_data(graph)}
    for step in graph.steps.values():
        sources[step.name] = source = step_source(graph, step)
        size = len(source.encode())
        if size > _LONGEST_SOURCE:
            raise UsageError(
                f"{step.settings.notebook}: {size // 1024} KiB of text, and a component can carry 127",
                "remove images attached to its text, or move code into a module",
            )
    return sources


def _fetch_source(graph: Graph, name: str, hashes: Mapping[str, str]) -> str:
    data = graph.pipeline.data[name]
    if name not in hashes:
        raise UsageError(f"data file '{name}': there is no {data.path}.dvc", f"track it: dvc add {data.path}")
    return fetch_source(_fetch(name), data.path, data.description, hashes[name], data.source)


def _build(graph: Graph, parameters: list[Parameter], sources: Mapping[str, str]) -> Any:
    """Lets KFP make components of the sources, and a pipeline of the components."""
    from kfp import dsl

    components = _components(graph, sources)

    def pipeline(*channels: Any) -> None:
        given = dict(zip((p.name for p in parameters), channels, strict=True))
        tasks = {
            _fetch(name): components[_fetch(name)](location=given[_location(name)])
            for name in _used_data(graph)
        }
        for step in graph.steps.values():
            task = components[step.name](**_arguments(step, given, tasks))
            tasks[step.name] = task.after(*(tasks[other] for other in step.settings.after))
            _configure(task, step)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    pipeline.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(p.name, kind, default=p.default, annotation=_PYTHON_TYPES[p.type])
            for p in parameters
        ]
    )
    return dsl.pipeline(pipeline, name=graph.name, description=graph.pipeline.description or None)


def _components(graph: Graph, sources: Mapping[str, str]) -> dict[str, Callable[..., Any]]:
    """KFP reads a component's source from its file, so each function is written to one."""
    from kfp import dsl

    components = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, source in sources.items():
            path = Path(folder, f"{name}.py")
            path.write_text(f"from kfp import dsl\n\n\n{source}", encoding="utf-8")
            function = runpy.run_path(str(path))[function_name(name)]
            # KFP would look for descriptions of arguments in the docstring; `_describe` sets them.
            function.__doc__ = None
            settings = graph.pipeline.steps.get(name)
            image = settings.image if settings and settings.image else graph.pipeline.image
            components[name] = dsl.component(function, base_image=image, install_kfp_package=False)
    return components


def _arguments(step: Step, given: Mapping[str, Any], tasks: Mapping[str, Any]) -> dict[str, Any]:
    wired = {
        name: tasks[reference.step].outputs[reference.name]
        if reference.step
        else tasks[_fetch(reference.name)].outputs["data"]
        for name, reference in step.inputs.items()
    }
    return {**wired, **{name: given[_argument(step, name)] for name in step.parameters}}


def _configure(task: Any, step: Step) -> None:
    settings = step.settings
    limits = {
        "cpu": (settings.cpu, (task.set_cpu_request, task.set_cpu_limit), "2, 0.5 or 500m"),
        "memory": (
            settings.memory,
            (task.set_memory_request, task.set_memory_limit),
            "512Mi or 2Gi, a whole number",
        ),
    }
    for key, (quantity, setters, accepted) in limits.items():
        try:
            for setter in setters if quantity else ():
                setter(quantity)
        except ValueError:
            raise UsageError(
                f"steps.{step.name}.{key}: Kubeflow Pipelines does not take '{quantity}'",
                f"write it like {accepted}",
            ) from None
    if settings.retries:
        task.set_retry(settings.retries)
    task.set_caching_options(settings.cache)


def _describe(spec: Any, graph: Graph, parameters: Iterable[Parameter]) -> None:
    """Sets the help texts; a docstring, where KFP looks for them, cannot carry every text."""
    for parameter in parameters:
        spec.root.input_definitions.parameters[parameter.name].description = parameter.help
    for name in _used_data(graph):
        component = spec.components[f"comp-{_fetch(name)}"]
        component.input_definitions.parameters[
            "location"
        ].description = "path or URL, or nothing for the source"
        component.output_definitions.artifacts["data"].description = graph.pipeline.data[name].description
    for step in graph.steps.values():
        component = spec.components[f"comp-{step.name}"]
        component.output_definitions.artifacts[
            EXECUTED_NOTEBOOK
        ].description = f"{step.settings.notebook}, executed"
        for variable in step.notebook.signature.variables:
            takes = variable.role in (Role.INPUT, Role.PARAMETER)
            definitions = component.input_definitions if takes else component.output_definitions
            artifact = variable.role in (Role.INPUT, Role.OUTPUT)
            group = definitions.artifacts if artifact else definitions.parameters
            group[variable.name].description = variable.help


def _check_names(graph: Graph, parameters: Iterable[Parameter]) -> None:
    for step in graph.steps.values():
        for variable in step.notebook.signature.variables:
            plain = variable.name.isascii() and variable.name[0].isalpha()
            if not plain or variable.name in _RESERVED:
                raise UsageError(
                    f"{step.settings.notebook}: Kubeflow cannot take the name '{variable.name}'",
                    f"use ASCII letters, digits and _, begin with a letter, and avoid {', '.join(_RESERVED)}",
                )
    for name in _used_data(graph):
        if not _identifier(name)[:1].isalpha():
            raise UsageError(f"data: Kubeflow cannot take the name '{name}'", "begin it with an ASCII letter")
    components = [(_fetch(name), f"data file '{name}'") for name in _used_data(graph)]
    _check_unique("component", [*components, *((name, f"step '{name}'") for name in graph.steps)])
    _check_unique("parameter", ((p.name, p.origin) for p in parameters))


def _check_unique(kind: str, names: Iterable[tuple[str, str]]) -> None:
    taken: dict[str, str] = {}
    for name, origin in names:
        if name in taken:
            raise UsageError(
                f"{taken[name]} and {origin} would both be the {kind} '{name}' in Kubeflow",
                "rename one of them",
            )
        taken[name] = origin


def _check_value(origin: str, value: Any) -> None:
    """Refuses what KFP would lose or alter on the way."""
    if isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            _check_value(origin, item)
    elif value is None:
        raise UsageError(
            f"{origin}: Kubeflow cannot carry null in a default", "leave the key out, or use text"
        )
    elif isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise UsageError(
            f"{origin}: Kubeflow cannot carry {value} exactly", "whole numbers end at 2^53; use text"
        )


def _used_data(graph: Graph) -> list[str]:
    """The data files that some step reads."""
    read = {r.name for step in graph.steps.values() for r in step.inputs.values() if r.step is None}
    return [name for name in graph.data if name in read]


def _argument(step: Step, parameter: str) -> str:
    """The pipeline's parameter for a step's."""
    return f"{_identifier(step.name)}_{parameter}"


def _fetch(data: str) -> str:
    """The component that fetches a data file."""
    return f"fetch-{_identifier(data).replace('_', '-')}"


def _location(data: str) -> str:
    """The pipeline's parameter for the place of a data file."""
    return f"{_identifier(data)}_location"


def _identifier(name: str) -> str:
    return re.sub("[^0-9a-z]+", "_", name.lower()).strip("_")


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as such, so that a person can read and compare the code."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Quotes for what YAML would take for a line break of its own, such as U+0085.
    style = None if text.isprintable() else "|" if text.replace("\n", "").isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _header(graph: Graph) -> str:
    """The comment from which KFP takes a description when it loads a compiled pipeline."""
    description = "".join(c for c in " ".join(graph.pipeline.description.split()) if c.isprintable())
    lines = ["PIPELINE DEFINITION", f"Name: {graph.name}"]
    lines += [f"Description: {description}"] if description else []
    lines += [
        f"Compiled from pipelines/{graph.name}.yaml; do not edit. Renew it: nbship compile {graph.name}"
    ]
    return "".join(f"# {line}\n" for line in lines)


def _to_yaml(spec: Any) -> str:
    from google.protobuf import json_format

    content = json_format.MessageToDict(spec)
    return str(yaml.dump(content, Dumper=_Dumper, allow_unicode=True, width=110))
