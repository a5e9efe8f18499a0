"""Wires a pipeline's components with KFP's domain-specific language: order, conditions, exit handler, pods.

Called while KFP traces a pipeline; what the components are is the business of `component` and `delivery`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nbship.graph import RECIPES, Graph, Reference, Step, champion_step
from nbship.kubeflow import delivery, pod
from nbship.kubeflow.delivery import COMMIT, HASHES, OUTCOME, RUN, VERSION

Components = Mapping[str, Callable[..., Any]]
Given = Mapping[str, Any]
# What `workflow.incluster.delivery.decide` writes for a model that may be published; see there.
_PASS = "pass"  # noqa: S105


def wire(graph: Graph, components: Components, given: Given) -> None:
    """Makes the tasks of a pipeline.

    Args:
        graph: The pipeline, with the step that judges the champion where it has a gate.
        components: By the name that their task will have.
        given: The pipeline's parameters.
    """
    from kfp import dsl

    if not delivery.is_needed(graph):
        add_steps(graph, graph.steps, components, given, {})
        return
    told = {"repository": given["repository"], **_page(graph)}
    end = _own(graph, components, delivery.REPORT, {**told, "revision": given["revision"]}, secret=True)
    with dsl.ExitHandler(end):
        tasks = check_out(graph, components, given)
        add_steps(graph, graph.steps, components, given, tasks)
        if graph.pipeline.gate:
            judged = _decide(graph, components, delivery.GATE, tasks)
            with dsl.If(judged.outputs[OUTCOME] == _PASS, name="passed"):
                _passed(graph, components, given, tasks, judged)
            with dsl.If(judged.outputs[OUTCOME] != _PASS, name="not-passed"):
                _told(graph, components, given, delivery.REJECTED, judged)
        elif graph.pipeline.publish:
            _passed(graph, components, given, tasks, _decide(graph, components, delivery.RECORD, tasks))


def argument(step: str, parameter: str) -> str:
    """Returns the pipeline's parameter for a step's."""
    return f"{delivery.identifier(step)}_{parameter}"


def check_out(graph: Graph, components: Components, given: Given) -> dict[str, Any]:
    """Makes the task that the data files come from, where there are any; returns it by its name."""
    if not delivery.is_needed(graph):
        return {}
    arguments = {name: given[name] for name in ("repository", "revision")}
    return {delivery.CHECKOUT: _own(graph, components, delivery.CHECKOUT, arguments, secret=True)}


def add_steps(
    graph: Graph, names: Iterable[str], components: Components, given: Given, tasks: dict[str, Any]
) -> None:
    """Makes the tasks of notebooks, and adds them to those that they may read from.

    Args:
        graph: The pipeline.
        names: Its steps that are to be added, in order.
        components: By the name that their task will have.
        given: The pipeline's parameters.
        tasks: By name.
    """
    for step in (graph.steps[name] for name in names):
        task = components[step.name](**_arguments(graph, step, given, tasks))
        tasks[step.name] = task.after(*(tasks[other] for other in step.settings.after))
        pod.configure(task, step.name, step.settings)


def _arguments(graph: Graph, step: Step, given: Given, tasks: Mapping[str, Any]) -> dict[str, Any]:
    wired = {name: _channel(reference, tasks) for name, reference in step.inputs.items()}
    gate = graph.pipeline.gate
    # The champion is judged with what the candidate is judged with.
    own = gate is None or step.name not in (champion_step(gate.step), RECIPES)
    owner = step.name if gate is None or own else gate.step
    return {
        **wired,
        **{name: given.get(argument(owner, name), value) for name, value in step.parameters.items()},
    }


def _channel(reference: Reference, tasks: Mapping[str, Any]) -> Any:
    if reference.step:
        return tasks[reference.step].outputs[reference.name]
    return tasks[delivery.CHECKOUT].outputs[delivery.identifier(reference.name)]


def _decide(graph: Graph, components: Components, name: str, tasks: Mapping[str, Any]) -> Any:
    checkout = tasks[delivery.CHECKOUT].outputs
    references = {
        **delivery.measured(graph),
        **{key: reference for key, (reference, _) in delivery.results(graph).items()},
    }
    arguments = {COMMIT: checkout[COMMIT], HASHES: checkout[HASHES]}
    for key, reference in references.items():
        step, _, output = reference.partition(".")
        arguments[key] = tasks[step].outputs[output]
    gate = graph.pipeline.gate
    if gate:
        arguments["losses"] = tasks[gate.step].outputs[gate.losses]
        arguments["champion_losses"] = tasks[champion_step(gate.step)].outputs[gate.losses]
        for key, origin in delivery.evidence(graph).items():
            arguments[key] = (
                tasks[delivery.CHECKOUT].outputs[key]
                if key in delivery.CHAMPION_FACTS
                else _channel(origin, tasks)
            )
    return _own(graph, components, name, arguments)


def _passed(
    graph: Graph, components: Components, given: Given, tasks: Mapping[str, Any], judged: Any
) -> None:
    """Publishes the model, and deploys it where a stage is named; without `publish`, only tells."""
    from kfp import dsl

    settings = graph.pipeline.publish
    if settings is None:
        _told(graph, components, given, delivery.PASSED, judged)
        return
    place = {name: given[name] for name in ("repository", "branch")}
    arguments = {RUN: judged.outputs[RUN], **place, **_page(graph)}
    for key, reference in (("model", settings.model), ("reference", settings.reference)):
        step, _, output = reference.rpartition(".")
        arguments[key] = tasks[step].outputs[output]
    published = _own(graph, components, delivery.PUBLISH, arguments, secret=True)
    with dsl.If(given["deploy"] != "", name="to-deploy"):
        target = {"stage": given["deploy"], "version": published.outputs[VERSION]}
        _own(graph, components, delivery.DEPLOY, {**place, **target}, secret=True)


def _told(graph: Graph, components: Components, given: Given, name: str, judged: Any) -> None:
    arguments = {RUN: judged.outputs[RUN], "repository": given["repository"], **_page(graph)}
    _own(graph, components, name, arguments, secret=True)


def _own(
    graph: Graph, components: Components, name: str, arguments: Mapping[str, Any], secret: bool = False
) -> Any:
    """A task around the notebooks: never cached, because it looks at what may have changed, or changes it."""
    task = components[name](**arguments)
    task.set_caching_options(False)
    if secret:
        pod.use_secret(task, graph.pipeline.kubeflow.secret)
    return task


def _page(graph: Graph) -> dict[str, str]:
    """What the address of the run's page is made of: the server, if the pipeline file names one, and the run.

    Kubeflow puts the run's identifier in only where its placeholder is the whole value of a parameter.
    """
    from kfp import dsl

    return {"host": graph.pipeline.kubeflow.host or "", "job": dsl.PIPELINE_JOB_ID_PLACEHOLDER}
