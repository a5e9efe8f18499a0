"""What a pipeline is, as data: steps, signatures and wiring, for the terminal, for machines and for pictures.

Reads the pipeline file and the notebooks; imports neither Jupyter nor KFP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from nbship.graph import Graph, Reference, Step
from nbship.notebook import Role, Variable
from nbship.versions.sources import describe


@dataclass(frozen=True)
class VariableView:
    """A variable of a step's signature in its place in the pipeline.

    Attributes:
        name: The variable.
        role: Input, output, result or parameter.
        type: Artifact type of KFP, or type of the value.
        help: Its comment in the notebook.
        value: A parameter's value; None for all others.
        default: The value that the notebook gives a parameter; None for all others.
        origin: Where an input comes from: `step.output`, or a data file's name; empty if it is set here.
        readers: What takes an output: `step.variable`.
    """

    name: str
    role: Role
    type: str
    help: str
    value: Any = None
    default: Any = None
    origin: str = ""
    readers: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepView:
    """A step: its notebook, signature, and what the pipeline file says of how it runs."""

    name: str
    title: str
    description: str
    notebook: str
    variables: tuple[VariableView, ...]
    after: tuple[str, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class DataView:
    """A data file, and where it comes from when no DVC remote has it."""

    name: str
    path: str
    description: str
    source: str


@dataclass(frozen=True)
class PipelineView:
    """A pipeline with its steps in an order in which they can run."""

    name: str
    description: str
    image: str
    data: tuple[DataView, ...]
    steps: tuple[StepView, ...]
    gate: dict[str, Any] | None
    publish: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


def view(graph: Graph) -> PipelineView:
    """Returns what there is to show of a graph."""
    pipeline = graph.pipeline
    data = (
        DataView(name, d.path, d.description, describe(d.source) if d.source else "")
        for name, d in pipeline.data.items()
    )
    return PipelineView(
        name=pipeline.name,
        description=pipeline.description,
        image=pipeline.image,
        data=tuple(data),
        steps=tuple(_step(graph, step) for step in graph.steps.values()),
        gate=pipeline.gate.model_dump() if pipeline.gate else None,
        publish=pipeline.publish.model_dump() if pipeline.publish else None,
    )


def mermaid(graph: Graph) -> str:
    """Returns the graph as a Mermaid flowchart: data files, steps, what flows, gate, publication."""
    # Identifiers of our own: a name such as `end` means something to Mermaid.
    nodes = {("data", name): f"data_{number}" for number, name in enumerate(graph.data, start=1)}
    nodes |= {("step", name): f"step_{name.replace('-', '_')}" for name in graph.steps}
    lines = ["flowchart LR"]
    lines += [f'    {nodes["data", name]}[("{_quoted(path)}")]' for name, path in graph.data.items()]
    lines += [f'    {nodes["step", name]}["{name}"]' for name in graph.steps]
    for step in graph.steps.values():
        for origin, names in _incoming(step).items():
            label = f'|"{", ".join(names)}"|' if names else ""
            lines.append(f"    {nodes[origin]} -->{label} {nodes['step', step.name]}")
    gate, publish = graph.pipeline.gate, graph.pipeline.publish
    if gate:
        lines += ['    gate{"gate"}', f"    {nodes['step', gate.step]} --> gate"]
    if publish:
        model = nodes["step", str(Reference.parse(publish.model).step)]
        lines += [
            '    publish(["publish"])',
            "    gate -->|pass| publish" if gate else f"    {model} --> publish",
        ]
    return "\n".join(lines) + "\n"


def _step(graph: Graph, step: Step) -> StepView:
    settings = step.settings.model_dump(
        exclude={"notebook", "inputs", "parameters", "after"}, exclude_defaults=True
    )
    return StepView(
        name=step.name,
        title=step.notebook.title,
        description=step.notebook.description,
        notebook=step.settings.notebook,
        variables=tuple(_variable(graph, step, v) for v in step.notebook.signature.variables),
        after=tuple(step.settings.after),
        settings=settings,
    )


def _variable(graph: Graph, step: Step, variable: Variable) -> VariableView:
    origin = step.inputs.get(variable.name)
    is_set = variable.name in step.parameters
    return VariableView(
        name=variable.name,
        role=variable.role,
        type=variable.type,
        help=variable.help,
        value=step.parameters.get(variable.name),
        default=variable.default if is_set else None,
        origin=str(origin) if origin else "",
        readers=tuple(_readers(graph, Reference(step.name, variable.name))),
    )


def _readers(graph: Graph, output: Reference) -> Iterator[str]:
    for step in graph.steps.values():
        yield from (f"{step.name}.{name}" for name, origin in step.inputs.items() if origin == output)


def _incoming(step: Step) -> dict[tuple[str, str], list[str]]:
    """The names that flow into a step, by what they come from; none for a step that is only waited for."""
    incoming: dict[tuple[str, str], list[str]] = {}
    for name, origin in step.inputs.items():
        key = ("step", origin.step) if origin.step else ("data", origin.name)
        incoming.setdefault(key, []).append(name)
    for other in step.settings.after:
        incoming.setdefault(("step", other), [])
    return incoming


def _quoted(text: str) -> str:
    """Text for a Mermaid label: what would end the label is written as Mermaid's entities."""
    return text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;")
