"""Compiles a graph into what Kubeflow runs: KFP's v2 intermediate representation, as YAML.

KFP's own SDK builds it from the generated components: the notebooks, and around them what production needs
(`wiring`). This adds the descriptions and writes the text. Where the text goes, and whether the committed one
is current, is decided elsewhere.
"""

from __future__ import annotations

import inspect
import runpy
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nbship.errors import UsageError
from nbship.graph import CHAMPION, Graph, Step, with_champion
from nbship.kubeflow import delivery, wiring
from nbship.kubeflow.component import EXECUTED_NOTEBOOK, function_name, step_source
from nbship.kubeflow.delivery import REFRESH
from nbship.kubeflow.escaping import sent, spaced, travels
from nbship.kubeflow.limits import LONGEST_SOURCE, check_parts, check_together, size_of
from nbship.kubeflow.plan import CHAMPION_FACTS, FILE, Plan, is_needed, make_plan
from nbship.notebook import Role

# Names that a component uses for itself, or that KFP does.
_RESERVED = (EXECUTED_NOTEBOOK, "run_step", "Output", "self")
# The arguments and outputs that `resolve` has beside those of data files.
_RESOLVE_NAMES = ("repository", "revision", delivery.COMMIT, "inputs")
# JSON's numbers are doubles for KFP: whole numbers beyond this would arrive changed.
_LARGEST_INTEGER = 2**53
# Files by step, and by path from the project's folder.
Code = Mapping[str, Mapping[str, bytes]]
PYTHON_TYPES: Mapping[str, type] = {t.__name__: t for t in (bool, dict, float, int, list, str)}


@dataclass(frozen=True)
class Parameter:
    """A value that may be set when the pipeline is submitted.

    Attributes:
        name: Its name in Kubeflow.
        type: One of `nbship.values.TYPES`.
        default: The value it has unless it is set.
        help: What it is for.
        origin: What it belongs to, for errors: `step.parameter`, or the run.
        own: Whether it is the run's own, and no step's.
    """

    name: str
    type: str
    default: Any
    help: str
    origin: str
    own: bool = False


def compile_graph(graph: Graph, tracked: Collection[str], code: Code | None = None) -> str:
    """Compiles a graph; the same graph gives the same bytes.

    Args:
        graph: The pipeline with its notebooks.
        tracked: The names of the data files that DVC tracks.
        code: The project's modules and files that go with the notebooks.

    Returns:
        The YAML: the pipeline, and where steps have settings of Kubernetes a second document with those.

    Raises:
        UsageError: Kubeflow cannot take a name, a value or a setting, or a step is too large.
    """
    parameters = pipeline_parameters(graph)
    plan = make_plan(with_champion(graph, Path(CHAMPION)))
    check_names(plan, parameters)
    _check_tracked(plan, tracked)
    check_together({parameter.name: sent_value(parameter, parameter.default) for parameter in parameters})
    pipeline = _build(plan, parameters, code or {})
    describe(pipeline.pipeline_spec, plan, parameters)
    return header(graph) + to_yaml(pipeline.pipeline_spec, pipeline.platform_spec)


def pipeline_parameters(graph: Graph) -> list[Parameter]:
    """Returns what may be set at submission: steps' parameters that are not wired, and production's own."""
    declared = {step.name: step.notebook.signature.parameters for step in graph.steps.values()}
    parameters = [
        Parameter(
            wiring.argument(step.name, name),
            declared[step.name][name].type,
            value,
            declared[step.name][name].help,
            f"{step.name}.{name}",
        )
        for step in graph.steps.values()
        for name, value in step.parameters.items()
    ]
    return [*parameters, *_production_parameters(graph)]


def _production_parameters(graph: Graph) -> list[Parameter]:
    pipeline = graph.pipeline
    own = []
    if is_needed(graph):
        own += [
            ("repository", pipeline.kubeflow.repository or "", "https address of the Git repository"),
            ("revision", "", "branch, tag or commit to check out; the default branch if empty"),
            (
                REFRESH,
                "",
                "any text that no run had before: fetches all files anew, and makes what is made of them",
            ),
        ]
    if pipeline.publish:
        own += [
            ("branch", "", "branch that gets the published model; the default branch if empty"),
            ("deploy", pipeline.deploy.after_publish or "", "stage to deploy the published model to, if any"),
        ]
    return [Parameter(name, "str", value, text, f"the run's {name}", own=True) for name, value, text in own]


def component_sources(plan: Plan, code: Code) -> dict[str, str]:
    """The source of every component, by component."""
    steps = plan.graph.steps.values()
    return {
        **delivery.sources(plan),
        **{step.name: _fitting_source(plan.graph, step, code.get(step.name, {})) for step in steps},
    }


def _fitting_source(graph: Graph, step: Step, files: Mapping[str, bytes]) -> str:
    """The source of a step's component, readable if that can be carried."""
    readable = step_source(graph, step, files)
    if size_of(readable) <= LONGEST_SOURCE:
        return readable
    packed = step_source(graph, step, files, packed=True)
    size = size_of(packed)
    if size <= LONGEST_SOURCE:
        return packed
    largest = max(files, key=lambda path: len(files[path]), default="")
    beside = f" with its {len(files)} files, the largest of which is {largest}" if files else ""
    raise UsageError(
        f"{step.settings.notebook}: {size // 1024} KiB packed{beside}; Kubeflow can carry "
        f"{LONGEST_SOURCE // 1024} KiB a step",
        "declare large files as inputs, put large packages into the image, remove images from text cells",
    )


def _build(plan: Plan, parameters: list[Parameter], code: Code) -> Any:
    """Lets KFP make components of the sources, and a pipeline of the components."""
    from kfp import dsl

    graph = plan.graph
    components = make_components(graph, component_sources(plan, code))

    def pipeline(*channels: Any) -> None:
        given = dict(zip((p.name for p in parameters), channels, strict=True))
        wiring.wire(plan, components, given)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    pipeline.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(p.name, kind, default=sent(p.default), annotation=PYTHON_TYPES[p.type])
            for p in parameters
        ]
    )
    return dsl.pipeline(pipeline, name=graph.name, description=spaced(graph.pipeline.description) or None)


def make_components(graph: Graph, sources: Mapping[str, str]) -> dict[str, Callable[..., Any]]:
    """KFP reads a component's source from its file, so each function is written to one."""
    from kfp import dsl

    components = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, source in sources.items():
            path = Path(folder, f"{name}.py")
            path.write_text(f"from kfp import dsl\n\n\n{source}", encoding="utf-8")
            function = runpy.run_path(str(path))[function_name(name)]
            # KFP would look for descriptions of arguments in the docstring; `describe` sets them.
            function.__doc__ = None
            step = graph.steps.get(name)
            image = (step.settings.image if step else None) or graph.pipeline.image
            components[name] = dsl.component(function, base_image=image, install_kfp_package=False)
    return components


def describe(spec: Any, plan: Plan, parameters: Iterable[Parameter]) -> None:
    """Sets the help texts; a docstring, where KFP looks for them, cannot carry every text."""
    for parameter in parameters:
        spec.root.input_definitions.parameters[parameter.name].description = spaced(parameter.help)
    facts = ("the champion's model.json", "hashes of the rows that the champion was trained on")
    for fetched in plan.fetched.values():
        outputs = spec.components[f"comp-{fetched.task}"].output_definitions.artifacts
        outputs[FILE].description = spaced(fetched.description)
        for name, text in zip(CHAMPION_FACTS, facts, strict=True):
            if name in fetched.facts:
                outputs[name].description = f"{text}; an empty file where there is none"
    for step in plan.graph.steps.values():
        component = spec.components[f"comp-{step.name}"]
        component.output_definitions.artifacts[
            EXECUTED_NOTEBOOK
        ].description = f"{step.settings.notebook}, executed"
        for variable in step.notebook.signature.variables:
            takes = variable.role in (Role.INPUT, Role.PARAMETER)
            definitions = component.input_definitions if takes else component.output_definitions
            artifact = variable.role in (Role.INPUT, Role.OUTPUT)
            group = definitions.artifacts if artifact else definitions.parameters
            group[variable.name].description = spaced(variable.help)


def _check_tracked(plan: Plan, tracked: Collection[str]) -> None:
    for name in plan.fetched.keys() - {CHAMPION} - {*tracked}:
        path = plan.graph.data[name]
        raise UsageError(f"data file '{name}': there is no {path}.dvc", f"track it: dvc add {path}")


def check_names(plan: Plan, parameters: Iterable[Parameter]) -> None:
    """Checks that Kubeflow can take all names, and that none is there twice.

    Raises:
        UsageError: It cannot.
    """
    steps, fetched = plan.graph.steps.values(), plan.fetched.values()
    for step in steps:
        for variable in step.notebook.signature.variables:
            plain = variable.name.isascii() and variable.name[0].isalpha()
            if not plain or variable.name in _RESERVED:
                raise UsageError(
                    f"{step.settings.notebook}: Kubeflow cannot take the name '{variable.name}'",
                    f"use ASCII letters, digits and _, begin with a letter, and avoid {', '.join(_RESERVED)}",
                )
    for file in fetched:
        if not file.version[:1].isalpha():
            raise UsageError(
                f"data: Kubeflow cannot take the name '{file.name}'", "begin it with an ASCII letter"
            )
    files = [(file, f"data file '{file.name}'") for file in fetched]
    resolved = [(name, f"the own '{name}' of {delivery.RESOLVE}") for name in _RESOLVE_NAMES]
    _check_unique("output", [*resolved, *((file.version, origin) for file, origin in files)])
    named = [(file.task, origin) for file, origin in files]
    own = delivery.sources(plan).keys() - {file.task for file in fetched}
    named += [(name, "production's own") for name in sorted(own)]
    _check_unique("component", [*named, *((step.name, f"step '{step.name}'") for step in steps)])
    measured = [(file.digest, f"the hash of {origin}") for file, origin in files]
    measured += [(name, str(origin)) for name, origin in plan.measured.items()]
    measured += [(name, str(origin)) for name, (origin, _) in plan.results.items()]
    _check_unique("input", measured)
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


def sent_value(parameter: Parameter, value: Any) -> Any:
    """Returns a parameter's value as it is sent to Kubeflow.

    Raises:
        UsageError: Kubeflow would lose or alter it on the way.
    """
    check_value(parameter.origin, value)
    if parameter.own and not travels(value):
        raise UsageError(
            f"{parameter.origin}: Kubeflow cannot carry '{value}'", "it may not have $$, $( or {{ in it"
        )
    return sent(value)


def check_value(origin: str, value: Any) -> None:
    """Refuses what KFP would lose or alter on the way."""
    if isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            check_value(origin, item)
    elif value is None:
        raise UsageError(
            f"{origin}: Kubeflow cannot carry null in a default", "leave the key out, or use text"
        )
    elif isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise UsageError(
            f"{origin}: Kubeflow cannot carry {value} exactly", "whole numbers end at 2^53; use text"
        )


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as such, so that a person can read and compare the code."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Quotes for what YAML would take for a line break of its own, such as U+0085.
    style = None if text.isprintable() else "|" if text.replace("\n", "").isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def header(graph: Graph) -> str:
    """The comment from which KFP takes a description when it loads a compiled pipeline."""
    description = "".join(c for c in " ".join(graph.pipeline.description.split()) if c.isprintable())
    lines = ["PIPELINE DEFINITION", f"Name: {graph.name}"]
    lines += [f"Description: {description}"] if description else []
    lines += [
        f"Compiled from pipelines/{graph.name}.yaml; do not edit. Renew it: nbship compile {graph.name}",
        f"An image without a tag gets its own at `nbship submit`: nbship image {graph.name}",
    ]
    return "".join(f"# {line}\n" for line in lines)


def to_yaml(spec: Any, platform: Any) -> str:
    """Returns a pipeline as YAML, and what is for Kubernetes alone in a document after it.

    Raises:
        UsageError: A part of it is larger than Kubeflow can take.
    """
    from google.protobuf import json_format

    documents = [document for document in map(json_format.MessageToDict, (spec, platform)) if document]
    check_parts(documents[0])
    return str(yaml.dump_all(documents, Dumper=_Dumper, allow_unicode=True, width=110))
