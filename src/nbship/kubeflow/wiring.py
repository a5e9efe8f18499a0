"""Wires a pipeline's components with KFP's domain-specific language: order, conditions, exit handler, pods.

Called while KFP traces a pipeline; what the components are is the business of `component` and `delivery`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nbship.graph import CHAMPION, RECIPES, Graph, Reference, Step, champion_step
from nbship.kubeflow import delivery, pod
from nbship.kubeflow.delivery import COMMIT, OUTCOME, PASS, REFRESH, RUN, SHA256, VERSION
from nbship.kubeflow.escaping import sent
from nbship.kubeflow.plan import CHAMPION_FACTS, FILE, Plan, identifier

Components = Mapping[str, Callable[..., Any]]
Given = Mapping[str, Any]


def wire(plan: Plan, components: Components, given: Given) -> None:
    """Makes the tasks of a pipeline.

    Args:
        plan: The pipeline.
        components: By the name that their task will have.
        given: The pipeline's parameters.
    """
    from kfp import dsl

    graph = plan.graph
    if not plan.is_needed:
        add_steps(plan, graph.steps, components, given, {})
        return
    told = {"repository": given["repository"], **_page(graph)}
    end = _own(graph, components, delivery.REPORT, {**told, "revision": given["revision"]}, secret=True)
    with dsl.ExitHandler(end):
        tasks = fetch(plan, components, given)
        add_steps(plan, graph.steps, components, given, tasks)
        if graph.pipeline.gate:
            judged = _decide(plan, components, delivery.GATE, tasks)
            with dsl.If(judged.outputs[OUTCOME] == PASS, name="passed"):
                _passed(plan, components, given, tasks, judged)
            with dsl.If(judged.outputs[OUTCOME] != PASS, name="not-passed"):
                _tell_gitlab(graph, components, given, delivery.REJECTED, judged)
        elif graph.pipeline.publish:
            _passed(plan, components, given, tasks, _decide(plan, components, delivery.RECORD, tasks))


def argument(step: str, parameter: str) -> str:
    """Returns the pipeline's parameter for a step's."""
    return f"{identifier(step)}_{parameter}"


def fetch(plan: Plan, components: Components, given: Given) -> dict[str, Any]:
    """Makes the tasks that data files and champion come from, where they are needed; returns them by name.

    Kubeflow's cache goes by parameters, and by which artifacts are read. So what is looked up in each run,
    the commit and the hashes, travels as parameters; a file is fetched anew only when its own hash is new.
    """
    if not plan.is_needed:
        return {}
    repository = {"repository": given["repository"]}
    resolved = _own(
        plan.graph,
        components,
        delivery.RESOLVE,
        {**repository, "revision": given["revision"]},
        secret=True,
    )
    tasks = {delivery.RESOLVE: resolved}
    for fetched in plan.fetched.values():
        version = {VERSION: resolved.outputs[fetched.version]}
        task = components[fetched.task](**repository, **version, **{REFRESH: given[REFRESH]})
        task.set_caching_options(True)
        pod.use_secret(task, plan.graph.pipeline.kubeflow.secret)
        tasks[fetched.task] = task
    return tasks


def add_steps(
    plan: Plan, names: Iterable[str], components: Components, given: Given, tasks: dict[str, Any]
) -> None:
    """Makes the tasks of notebooks, and adds them to those that they may read from.

    Args:
        plan: The pipeline.
        names: Its steps that are to be added, in order.
        components: By the name that their task will have.
        given: The pipeline's parameters.
        tasks: By name.
    """
    for step in (plan.graph.steps[name] for name in names):
        task = components[step.name](**_arguments(plan, step, given, tasks))
        tasks[step.name] = task.after(*(tasks[other] for other in step.settings.after))
        pod.configure(task, step.name, step.settings)


def _arguments(plan: Plan, step: Step, given: Given, tasks: Mapping[str, Any]) -> dict[str, Any]:
    wired = {name: _channel(plan, reference, tasks) for name, reference in step.inputs.items()}
    gate = plan.graph.pipeline.gate
    # The champion is judged with what the candidate is judged with.
    own = gate is None or step.name not in (champion_step(gate.step), RECIPES)
    owner = step.name if gate is None or own else gate.step
    return {
        **wired,
        **{name: given.get(argument(owner, name), sent(value)) for name, value in step.parameters.items()},
    }


def _channel(plan: Plan, reference: Reference, tasks: Mapping[str, Any]) -> Any:
    if reference.step:
        return tasks[reference.step].outputs[reference.name]
    if reference.name in CHAMPION_FACTS:
        return tasks[plan.fetched[CHAMPION].task].outputs[reference.name]
    return tasks[plan.fetched[reference.name].task].outputs[FILE]


def _decide(plan: Plan, components: Components, name: str, tasks: Mapping[str, Any]) -> Any:
    arguments = {COMMIT: tasks[delivery.RESOLVE].outputs[COMMIT]}
    arguments |= {f.digest: tasks[f.task].outputs[SHA256] for f in plan.fetched.values()}
    arguments |= {key: _channel(plan, origin, tasks) for key, origin in plan.measured.items()}
    arguments |= {key: _channel(plan, origin, tasks) for key, (origin, _) in plan.results.items()}
    gate = plan.graph.pipeline.gate
    if gate:
        arguments["losses"] = tasks[gate.step].outputs[gate.losses]
        arguments["champion_losses"] = tasks[champion_step(gate.step)].outputs[gate.losses]
        arguments |= {key: _channel(plan, origin, tasks) for key, origin in plan.evidence.items()}
    return _own(plan.graph, components, name, arguments)


def _passed(plan: Plan, components: Components, given: Given, tasks: Mapping[str, Any], judged: Any) -> None:
    """Publishes the model, and deploys it where a stage is named; without `publish`, only tells."""
    from kfp import dsl

    graph = plan.graph
    if not plan.published:
        _tell_gitlab(graph, components, given, delivery.PASSED, judged)
        return
    place = {name: given[name] for name in ("repository", "branch")}
    arguments = {RUN: judged.outputs[RUN], **place, **_page(graph)}
    arguments |= {key: _channel(plan, origin, tasks) for key, origin in plan.published.items()}
    published = _own(graph, components, delivery.PUBLISH, arguments, secret=True)
    with dsl.If(given["deploy"] != "", name="to-deploy"):
        target = {"stage": given["deploy"], "version": published.outputs[VERSION]}
        _own(graph, components, delivery.DEPLOY, {**place, **target}, secret=True)


def _tell_gitlab(graph: Graph, components: Components, given: Given, name: str, judged: Any) -> None:
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
