"""Compiles a sweep for Kubeflow: what combinations share runs once, the rest in a parallel loop over them.

Components, their settings and the text are those of `compile`; this only wires them in another way.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nbship.graph import Graph, Reference
from nbship.kubeflow import compile as single
from nbship.kubeflow import wiring
from nbship.kubeflow.escaping import sent, spaced
from nbship.kubeflow.plan import Plan, make_plan

# What KFP calls the types of values.
_TYPES = {
    "bool": "Boolean",
    "dict": "Dict",
    "float": "Float",
    "int": "Integer",
    "list": "List",
    "str": "String",
}


def compile_sweep(
    graph: Graph, combinations: Sequence[Mapping[str, Any]], code: single.Code | None = None
) -> str:
    """Compiles a sweep; the metrics of each combination are artifacts of its own tasks.

    Args:
        graph: The pipeline, less the steps that the sweep does not need.
        combinations: Value by `step.parameter`, the same parameters in each.
        code: The project's modules and files that go with the notebooks.

    Returns:
        The YAML.

    Raises:
        UsageError: Kubeflow cannot take a name, a value or a setting, or a step is too large.
    """
    # A sweep judges and publishes nothing.
    pipeline = graph.pipeline.model_copy(
        update={"gate": None, "publish": None, "name": f"{graph.name}-sweep"}
    )
    graph = replace(graph, pipeline=pipeline)
    parameters = single.pipeline_parameters(graph)
    plan = make_plan(graph)
    single.check_names(plan, parameters)
    values = [(origin, value) for each in combinations for origin, value in each.items()]
    for origin, value in [*((p.origin, p.default) for p in parameters), *values]:
        single.check_value(origin, value)
    fixed = [p for p in parameters if p.origin not in combinations[0]]
    built = _build(plan, fixed, {p.origin: p for p in parameters if p not in fixed}, combinations, code or {})
    single.describe(built.pipeline_spec, plan, fixed)
    return single.header(graph) + single.to_yaml(built.pipeline_spec, built.platform_spec)


def _build(
    plan: Plan,
    fixed: Sequence[single.Parameter],
    swept: Mapping[str, single.Parameter],
    combinations: Sequence[Mapping[str, Any]],
    code: single.Code,
) -> Any:
    from kfp import dsl

    graph = plan.graph
    components = single.make_components(graph, single.component_sources(plan, code))
    varying = set[str]().union(*(graph.downstream(str(Reference.parse(origin).step)) for origin in swept))
    items = [{swept[origin].name: sent(value) for origin, value in c.items()} for c in combinations]

    def pipeline(*channels: Any) -> None:
        given = dict(zip((p.name for p in fixed), channels, strict=True))
        tasks = wiring.fetch(plan, components, given)
        once = [name for name in graph.steps if name not in varying]
        wiring.add_steps(plan, once, components, given, tasks)
        with dsl.ParallelFor(items, name="combinations") as item:
            each = [name for name in graph.steps if name in varying]
            wiring.add_steps(plan, each, components, {**given, **_values(item, swept)}, tasks)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    pipeline.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(p.name, kind, default=sent(p.default), annotation=single.PYTHON_TYPES[p.type])
            for p in fixed
        ]
    )
    return dsl.pipeline(pipeline, name=graph.name, description=spaced(graph.pipeline.description) or None)


def _values(item: Any, swept: Mapping[str, single.Parameter]) -> dict[str, Any]:
    """The values of one combination, each of its own type: KFP takes the first one's for all of them."""
    values = {parameter.name: getattr(item, parameter.name) for parameter in swept.values()}
    for parameter in swept.values():
        values[parameter.name].channel_type = _TYPES[parameter.type]
    return values
