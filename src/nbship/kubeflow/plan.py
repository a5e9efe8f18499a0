"""What a compiled pipeline has around its notebooks, worked out once: what is fetched, measured and judged.

The source of the components, their wiring and their descriptions all go by it; it makes none of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nbship.graph import CHAMPION, RECIPES, REFITS, Graph, Reference, held_out_input

# What is known of the champion beside the model: its description, and the rows it was trained on.
CHAMPION_FACTS = ("champion_description", "champion_rows")
# The output of a task that fetches.
FILE = "file"


@dataclass(frozen=True)
class Fetched:
    """A file of the repository that a task of its own fetches, so that it is cached by its content.

    Attributes:
        name: What notebooks call it; `champion` for the model in service.
        task: The task, and its component.
        version: The output of `resolve` that says which content it has.
        type: What KFP calls it.
        facts: Other outputs of the task.
        description: What it holds.
    """

    name: str
    task: str
    version: str
    type: str
    facts: tuple[str, ...]
    description: str

    @property
    def digest(self) -> str:
        """The argument by which a task is told the file's hash."""
        return f"{self.version}_sha256"


@dataclass(frozen=True)
class Plan:
    """A pipeline, and what its steps around the notebooks are about.

    Attributes:
        graph: The pipeline, with the step that judges the champion where it has a gate.
        fetched: The files that steps read, by name.
        measured: The metrics files of all steps but the champion's, by the argument's name.
        results: The scalar results, and their types, by the argument's name.
        evidence: What the gate reads beside metrics and losses, by the argument's name.
        published: The model and the rows that it was trained on, by the argument's name.
    """

    graph: Graph
    fetched: Mapping[str, Fetched]
    measured: Mapping[str, Reference]
    results: Mapping[str, tuple[Reference, str]]
    evidence: Mapping[str, Reference]
    published: Mapping[str, Reference]

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to fetch, judge or publish."""
        return is_needed(self.graph)


def make_plan(graph: Graph) -> Plan:
    """Works out what a pipeline needs around its notebooks.

    Args:
        graph: The pipeline, with the step that judges the champion where it has a gate.
    """
    published = _published(graph)
    evidence = _evidence(graph, published)
    judging = [step for step in graph.steps.values() if not _reads_champion(graph, step.name)]
    return Plan(
        graph=graph,
        fetched={name: _fetched(graph, name, evidence) for name in _used_data(graph)},
        measured={
            identifier(f"{step.name}_{name}"): Reference(step.name, name)
            for step in judging
            for name, variable in step.notebook.signature.outputs.items()
            if variable.type == "Metrics"
        },
        results={
            identifier(f"{step.name}_{name}"): (Reference(step.name, name), variable.type)
            for step in judging
            for name, variable in step.notebook.signature.results.items()
        },
        evidence=evidence,
        published=published,
    )


def is_needed(graph: Graph) -> bool:
    """Returns whether a pipeline has anything to fetch, judge or publish."""
    return bool(_used_data(graph) or graph.pipeline.gate or graph.pipeline.publish)


def identifier(name: str) -> str:
    """Returns a name as KFP's parameters and artifacts may have it."""
    return re.sub("[^0-9A-Za-z]+", "_", name).strip("_")


def _used_data(graph: Graph) -> list[str]:
    """The data files that some step reads; the champion is one of them where it is judged."""
    read = {r.name for step in graph.steps.values() for r in step.inputs.values() if r.step is None}
    return [name for name in graph.data if name in read]


def _fetched(graph: Graph, name: str, evidence: Mapping[str, Reference]) -> Fetched:
    data = graph.pipeline.data.get(name)
    return Fetched(
        name=name,
        task=f"fetch-{identifier(name).lower().replace('_', '-')}",
        version=identifier(name),
        type="Dataset" if data else "Model",
        facts=() if data else tuple(fact for fact in CHAMPION_FACTS if fact in evidence),
        description=data.description if data else "the champion; an empty file where there is none",
    )


def _reads_champion(graph: Graph, step: str) -> bool:
    return any(r.step is None and r.name == CHAMPION for r in graph.steps[step].inputs.values())


def _published(graph: Graph) -> dict[str, Reference]:
    settings = graph.pipeline.publish
    if settings is None:
        return {}
    written = {"model": settings.model, "reference": settings.reference}
    return {name: Reference.parse(text) for name, text in written.items()}


def _evidence(graph: Graph, published: Mapping[str, Reference]) -> dict[str, Reference]:
    found = {}
    if RECIPES in graph.steps:
        found[REFITS] = Reference(RECIPES, REFITS)
    held_out = held_out_input(graph)
    if held_out and published:
        found |= {"held_out": held_out, "reference": published["reference"]}
        found |= {fact: Reference(None, fact) for fact in CHAMPION_FACTS}
    return found
