"""A graph on synthetic data: in the place of a data file, the notebook that makes its stand-in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nbship import graph as graphs
from nbship.config import StepSettings
from nbship.errors import UsageError
from nbship.graph import Graph, Reference
from nbship.notebook import read_notebook


def with_samples(root: Path, graph: Graph) -> Graph:
    """Puts a step in the place of every data file that has a sample: the notebook that makes the stand-in.

    Args:
        root: The project's folder.
        graph: A graph.

    Raises:
        UsageError: No data file has a sample, or a notebook of one does not make exactly one data set.
    """
    data = graph.pipeline.data
    sampled = {name: file.sample for name, file in data.items() if file.sample}
    if not sampled:
        raise UsageError(
            f"pipeline '{graph.name}' has no sample of its data",
            "say which notebook makes one: data.NAME.sample: notebooks/…/sample.ipynb",
        )
    samples = {name: _sample_step(root, name, notebook, graph) for name, notebook in sampled.items()}
    made = {
        Reference(None, name): Reference(step.name, next(iter(step.notebook.signature.outputs)))
        for name, step in samples.items()
    }
    steps = {
        step.name: replace(step, inputs={key: made.get(ref, ref) for key, ref in step.inputs.items()})
        for step in graph.steps.values()
    }
    real = {name: file for name, file in data.items() if name not in sampled}
    return Graph(
        pipeline=graph.pipeline.model_copy(update={"data": real}),
        steps={**{step.name: step for step in samples.values()}, **steps},
        data={name: path for name, path in graph.data.items() if name not in sampled},
    )


def _sample_step(root: Path, name: str, source: str, graph: Graph) -> graphs.Step:
    where = f"data.{name}.sample"
    step_name = f"sample-{name}"
    if step_name in graph.steps:
        raise UsageError(
            f"steps.{step_name}: that name is reserved for the sample", "give the step another name"
        )
    notebook = read_notebook(root / source, source)
    signature = notebook.signature
    if signature.inputs or [output.type for output in signature.outputs.values()] != ["Dataset"]:
        raise UsageError(
            f"{where}: {source} does not make a data set without inputs",
            "its parameters cell has one Output[Dataset] and no input",
        )
    settings = StepSettings(notebook=source)
    parameters = {variable.name: variable.default for variable in signature.parameters.values()}
    return graphs.Step(step_name, notebook, settings, {}, parameters)
