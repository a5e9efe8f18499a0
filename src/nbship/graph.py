"""Steps and their wiring, as a validated, ordered, immutable graph.

Joins what the pipeline file says with what the notebooks declare. Knows nothing of how a step is run.
"""

from __future__ import annotations

import graphlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from nbship import config
from nbship.config import Pipeline
from nbship.errors import UsageError, suggestion
from nbship.notebook import Notebook, Role, Variable, read_notebook
from nbship.values import ValueTypeError, check_value

CHAMPION = "champion"
CANDIDATE = "candidate"
RECIPES = "compare-recipes"
REFITS = "refits"
_MOST_ROWS = "most_rows"


class Reference(NamedTuple):
    """Where an input comes from: an output of a step, or a data file of the pipeline (`step` is None)."""

    step: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.step}.{self.name}" if self.step else self.name

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Reads what `str` writes: `step.output`, or the name of a data file."""
        step, _, name = text.rpartition(".")
        return cls(step or None, name)


@dataclass(frozen=True)
class Step:
    """A notebook in its place.

    Attributes:
        name: The step's name.
        notebook: What it runs.
        settings: What the pipeline file says of it.
        inputs: For every input artifact, and every parameter that is another step's result, its origin.
        parameters: Every other parameter with its value: the pipeline file's, or the notebook's default.
    """

    name: str
    notebook: Notebook
    settings: config.StepSettings
    inputs: Mapping[str, Reference]
    parameters: Mapping[str, Any]

    @property
    def upstream(self) -> tuple[str, ...]:
        """The steps that must be done before, each once."""
        return tuple(dict.fromkeys([*(r.step for r in self.inputs.values() if r.step), *self.settings.after]))


@dataclass(frozen=True)
class Graph:
    """A pipeline that can be run: steps in an order in which each comes after what it needs.

    Attributes:
        pipeline: The pipeline file.
        steps: By name.
        data: The path of each data file, by name.
        recipes: The step that compares recipes; it is one of the steps only where there is a champion.
    """

    pipeline: Pipeline
    steps: Mapping[str, Step]
    data: Mapping[str, str] = field(default_factory=dict)
    recipes: Step | None = None

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.pipeline.name

    def downstream(self, name: str) -> set[str]:
        """Returns a step and all that depend on it."""
        found = {name}
        for step in self.steps.values():
            if found.intersection(step.upstream):
                found.add(step.name)
        return found

    def ancestors(self, name: str) -> set[str]:
        """Returns a step and all that it depends on."""
        found = {name}
        for step in reversed(list(self.steps.values())):
            if step.name in found:
                found.update(step.upstream)
        return found


def read_graph(root: Path, pipeline: Pipeline) -> Graph:
    """Reads the notebooks of a pipeline and wires them.

    Args:
        root: The project's folder.
        pipeline: The pipeline file.

    Raises:
        UsageError: A notebook, a parameter or the wiring is wrong; says where and what would be right.
    """
    notebooks = {
        name: read_notebook(root / step.notebook, step.notebook) for name, step in pipeline.steps.items()
    }
    recipes = pipeline.gate.recipes if pipeline.gate else None
    return build_graph(pipeline, notebooks, read_notebook(root / recipes, recipes) if recipes else None)


def build_graph(
    pipeline: Pipeline, notebooks: Mapping[str, Notebook], recipes: Notebook | None = None
) -> Graph:
    """Wires notebooks that have been read; see `read_graph`.

    An input is wired by the name it shares with another step's output or with a data file, unless `inputs`
    names its origin.
    """
    steps = {name: _step(name, pipeline, notebooks) for name in pipeline.steps}
    _check_gate(pipeline, steps)
    _check_publish(pipeline, notebooks)
    data = {name: data.path for name, data in pipeline.data.items()}
    comparing = _recipes_step(pipeline, steps, notebooks, recipes) if recipes else None
    return Graph(pipeline, {name: steps[name] for name in _order(steps, pipeline.name)}, data, comparing)


def with_champion(graph: Graph, model: Path) -> Graph:
    """Adds what needs a champion, where there is a gate.

    One step judges the champion as the gate's step judges the candidate. Another fits both again, if the gate
    has a notebook for it and that is wanted of any number of rows.

    Args:
        graph: A graph.
        model: The champion's model file.
    """
    gate = graph.pipeline.gate
    if gate is None:
        return graph
    judged = graph.steps[gate.step]
    name = champion_step(gate.step)
    inputs = {**judged.inputs, model_input(judged): Reference(None, CHAMPION)}
    settings = judged.settings.model_copy(update={"inputs": {k: str(v) for k, v in inputs.items()}})
    step = replace(judged, name=name, inputs=inputs, settings=settings)
    steps = {**graph.steps, name: step}
    if graph.recipes and gate.recipes_rows:
        steps[RECIPES] = graph.recipes
    return replace(graph, steps=steps, data={**graph.data, CHAMPION: str(model)})


def champion_step(gate_step: str) -> str:
    """Returns the name of the step that judges the champion."""
    return f"{gate_step}-{CHAMPION}"


def held_out_input(graph: Graph) -> Reference | None:
    """Returns where the held-out rows of the gate's step come from; None if the pipeline does not say."""
    gate = graph.pipeline.gate
    if gate is None:
        return None
    step = graph.steps[gate.step]
    tables = [v.name for v in step.notebook.signature.inputs.values() if v.type == "Dataset"]
    name = gate.held_out or (tables[0] if len(tables) == 1 else "")
    return step.inputs.get(name)


def model_input(step: Step) -> str:
    """Returns the name of the one input of a step that is a model.

    Raises:
        UsageError: It has none, or several.
    """
    models = [v.name for v in step.notebook.signature.inputs.values() if v.type == "Model"]
    if len(models) != 1:
        raise UsageError(
            f"the gate's step '{step.name}' has {len(models) or 'no'} inputs of type Input[Model]",
            "the step that judges a model takes exactly one",
        )
    return models[0]


def _recipes_step(
    pipeline: Pipeline, steps: Mapping[str, Step], notebooks: Mapping[str, Notebook], notebook: Notebook
) -> Step:
    """The step that fits both models again: it reads what the gate's step reads, under the same names."""
    gate = pipeline.gate
    assert gate is not None and gate.recipes is not None  # noqa: S101 (for the type checker)
    judged, signature = steps[gate.step], notebook.signature
    models = sorted(v.name for v in signature.inputs.values() if v.type == "Model")
    outputs = list(signature.outputs)
    if models != [CANDIDATE, CHAMPION] or REFITS not in outputs:
        raise UsageError(
            f"gate.recipes: {gate.recipes} does not compare two models",
            f"its parameters cell has {CANDIDATE} and {CHAMPION}: Input[Model], and an output '{REFITS}'",
        )
    own = {CANDIDATE: judged.inputs[model_input(judged)], CHAMPION: Reference(None, CHAMPION)}
    inputs = {
        variable.name: own.get(variable.name)
        or judged.inputs.get(variable.name)
        or _found_by_name(RECIPES, variable, pipeline, notebooks)
        for variable in signature.inputs.values()
    }
    settings = judged.settings.model_copy(
        update={"notebook": gate.recipes, "inputs": {k: str(v) for k, v in inputs.items()}, "after": []}
    )
    values = {**judged.parameters, _MOST_ROWS: gate.recipes_rows}
    parameters = {name: values.get(name, variable.default) for name, variable in signature.parameters.items()}
    return Step(RECIPES, notebook, settings, inputs, parameters)


def _step(name: str, pipeline: Pipeline, notebooks: Mapping[str, Notebook]) -> Step:
    settings, notebook = pipeline.steps[name], notebooks[name]
    signature = notebook.signature
    declared = {**signature.inputs, **signature.parameters}
    for key in settings.inputs:
        if key not in declared:
            raise UsageError(
                f"steps.{name}.inputs: {settings.notebook} has no input '{key}'", suggestion(key, declared)
            )
    inputs = {
        variable.name: _origin(name, variable, pipeline, notebooks)
        for variable in declared.values()
        if variable.role is Role.INPUT or variable.name in settings.inputs
    }
    for other in settings.after:
        if other not in pipeline.steps:
            raise UsageError(
                f"steps.{name}.after: there is no step '{other}'", suggestion(other, pipeline.steps)
            )
    return Step(name, notebook, settings, inputs, _parameters(name, settings, notebook, inputs))


def _parameters(
    name: str, settings: config.StepSettings, notebook: Notebook, inputs: Mapping[str, Reference]
) -> dict[str, Any]:
    declared = notebook.signature.parameters
    values = {key: variable.default for key, variable in declared.items() if key not in inputs}
    for key, value in settings.parameters.items():
        if key not in declared:
            raise UsageError(
                f"step '{name}': {settings.notebook} has no parameter '{key}'", suggestion(key, declared)
            )
        if key in inputs:
            raise UsageError(
                f"step '{name}': parameter '{key}' has a value and is wired to {inputs[key]}",
                "remove it from inputs or from parameters",
            )
        try:
            values[key] = check_value(declared[key].type, value)
        except ValueTypeError as error:
            raise UsageError(
                f"step '{name}': parameter '{key}' {error}",
                f"{settings.notebook} declares {key}: {declared[key].declaration}",
            ) from None
    return values


def _origin(
    name: str, variable: Variable, pipeline: Pipeline, notebooks: Mapping[str, Notebook]
) -> Reference:
    written = pipeline.steps[name].inputs.get(variable.name)
    if written is None:
        reference = _found_by_name(name, variable, pipeline, notebooks)
    else:
        reference = _named(name, written, pipeline, notebooks)
    if reference.step is None:
        given = "Dataset" if variable.role is Role.INPUT else "data file"
        accepted = variable.role is Role.INPUT
    else:
        output = _outputs(notebooks[reference.step])[reference.name]
        given = output.type
        accepted = _accepts(variable, output)
    if not accepted:
        raise UsageError(
            f"step '{name}': {variable.name}: {variable.declaration} cannot take {reference}, a {given}",
            f"wire it in steps.{name}.inputs to something of its type",
        )
    return reference


def _accepts(variable: Variable, output: Variable) -> bool:
    if variable.role is Role.INPUT:
        return output.role is Role.OUTPUT and (
            "Artifact" in (variable.type, output.type) or variable.type == output.type
        )
    return output.role is Role.RESULT and (
        variable.type == output.type or (variable.type, output.type) == ("float", "int")
    )


def _named(name: str, written: str, pipeline: Pipeline, notebooks: Mapping[str, Notebook]) -> Reference:
    """Resolves an origin that the pipeline file writes: `data name` or `step.output`."""
    where = f"steps.{name}.inputs"
    step, output = Reference.parse(written)
    if step is None:
        if written not in pipeline.data:
            outputs = (f"{s}.{o}" for s, n in notebooks.items() for o in _outputs(n))
            raise UsageError(
                f"{where}: there is no data file '{written}'", suggestion(written, [*pipeline.data, *outputs])
            )
        return Reference(None, written)
    if step not in notebooks:
        raise UsageError(f"{where}: there is no step '{step}'", suggestion(step, notebooks))
    outputs_of_step = _outputs(notebooks[step])
    if output not in outputs_of_step:
        raise UsageError(
            f"{where}: step '{step}' has no output '{output}'", suggestion(output, outputs_of_step)
        )
    return Reference(step, output)


def _outputs(notebook: Notebook) -> Mapping[str, Variable]:
    return {**notebook.signature.outputs, **notebook.signature.results}


def _found_by_name(
    name: str, variable: Variable, pipeline: Pipeline, notebooks: Mapping[str, Notebook]
) -> Reference:
    """Finds the one data file or output of another step that has the input's name."""
    found = [
        Reference(s, variable.name)
        for s, n in notebooks.items()
        if s != name and variable.name in n.signature.outputs
    ]
    if variable.name in pipeline.data:
        found.append(Reference(None, variable.name))
    if len(found) > 1:
        choices = " or ".join(map(str, found))
        raise UsageError(
            f"step '{name}': input '{variable.name}' could be {choices}",
            f"say which in steps.{name}.inputs: {variable.name}: {found[0]}",
        )
    if not found:
        known = {o for s, n in notebooks.items() if s != name for o in n.signature.outputs} | set(
            pipeline.data
        )
        raise UsageError(
            f"step '{name}': nothing produces its input '{variable.name}'", suggestion(variable.name, known)
        )
    return found[0]


def _check_gate(pipeline: Pipeline, steps: Mapping[str, Step]) -> None:
    gate = pipeline.gate
    if gate is None:
        return
    if gate.step not in steps:
        raise UsageError(f"gate.step: there is no step '{gate.step}'", suggestion(gate.step, steps))
    model_input(steps[gate.step])
    outputs = steps[gate.step].notebook.signature.outputs
    if gate.losses not in outputs:
        raise UsageError(
            f"gate.losses: step '{gate.step}' has no output '{gate.losses}'", suggestion(gate.losses, outputs)
        )
    if CHAMPION in pipeline.data:
        raise UsageError(f"data.{CHAMPION}: that name is reserved for the gate", "give the file another name")
    for name in (champion_step(gate.step), RECIPES):
        if name in steps:
            raise UsageError(
                f"steps.{name}: that name is reserved for the gate", "give the step another name"
            )
    datasets = [v.name for v in steps[gate.step].notebook.signature.inputs.values() if v.type == "Dataset"]
    if gate.held_out is not None and gate.held_out not in datasets:
        raise UsageError(
            f"gate.held_out: step '{gate.step}' has no Input[Dataset] '{gate.held_out}'",
            suggestion(gate.held_out, datasets),
        )


def _check_publish(pipeline: Pipeline, notebooks: Mapping[str, Notebook]) -> None:
    if pipeline.publish is None:
        return
    for key, type_name in (("model", "Model"), ("reference", "Dataset")):
        written = getattr(pipeline.publish, key)
        known = [
            f"{step}.{output.name}"
            for step, notebook in notebooks.items()
            for output in notebook.signature.outputs.values()
            if output.type == type_name
        ]
        if written not in known:
            raise UsageError(
                f"publish.{key}: no step has an Output[{type_name}] '{written}'", suggestion(written, known)
            )


def _order(steps: Mapping[str, Step], pipeline: str) -> list[str]:
    try:
        return list(graphlib.TopologicalSorter({n: s.upstream for n, s in steps.items()}).static_order())
    except graphlib.CycleError as error:
        cycle = " → ".join(error.args[1])
        raise UsageError(
            f"pipeline '{pipeline}' has a cycle: {cycle}", "remove one of these connections"
        ) from None
