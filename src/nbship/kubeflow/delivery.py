"""The Python source of the components around the notebooks: check out, judge, publish, deploy, tell.

Every function hands what KFP gives it to one of `workflow.incluster.delivery`, which does the work. Makes
text only and needs no KFP; wiring the components is the business of `compile`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from nbship.graph import CHAMPION, RECIPES, REFITS, Graph, Reference, held_out_input
from nbship.kubeflow.component import docstring, header, json_literal, literal

CHECKOUT, GATE, RECORD, REJECTED, PASSED = "checkout", "gate", "record", "rejected", "passed"
PUBLISH, DEPLOY, REPORT = "publish", "deploy", "report"
COMMIT, HASHES, RUN, VERSION = "commit", "hashes", "run", "version"
# What the checkout knows of the champion beside the model: its description, and the rows it was trained on.
CHAMPION_FACTS = ("champion_description", "champion_rows")
# KFP's name of a returned value; in a condition, `kfp.local` knows no other output.
OUTCOME = "Output"
# What the address of the run's page is made of.
_PAGE = ("host", "job")
_I = "    "


def is_needed(graph: Graph) -> bool:
    """Returns whether a pipeline has anything to check out, judge or publish."""
    return bool(used_data(graph) or graph.pipeline.gate or graph.pipeline.publish)


def sources(graph: Graph) -> dict[str, str]:
    """Returns the source of each component that a pipeline needs around its notebooks, by component.

    Args:
        graph: The pipeline, with the step that judges the champion where it has a gate.
    """
    pipeline = graph.pipeline
    if not is_needed(graph):
        return {}
    found = {CHECKOUT: _checkout(graph), REPORT: _report_end(graph)}
    if pipeline.gate:
        found |= {GATE: _decide(graph, GATE), REJECTED: _report(REJECTED, "The champion stays")}
    elif pipeline.publish:
        found[RECORD] = _decide(graph, RECORD)
    if pipeline.publish:
        found |= {PUBLISH: _publish(graph), DEPLOY: _deploy(graph)}
    elif pipeline.gate:
        found[PASSED] = _report(PASSED, "The model is good enough")
    return found


def used_data(graph: Graph) -> list[str]:
    """Returns the data files that some step reads; the champion is one of them where it is judged."""
    read = {r.name for step in graph.steps.values() for r in step.inputs.values() if r.step is None}
    return [name for name in graph.data if name in read]


def identifier(name: str) -> str:
    """Returns a name as KFP's parameters and artifacts may have it."""
    return re.sub("[^0-9A-Za-z]+", "_", name).strip("_")


def measured(graph: Graph) -> dict[str, str]:
    """Returns the metrics files of all steps but the champion's: `step.output` by the argument's name."""
    return {
        identifier(f"{step.name}_{name}"): f"{step.name}.{name}"
        for step in graph.steps.values()
        for name, variable in step.notebook.signature.outputs.items()
        if variable.type == "Metrics" and not judges_champion(graph, step.name)
    }


def results(graph: Graph) -> dict[str, tuple[str, str]]:
    """Returns the scalar results: `step.output` and type by the argument's name."""
    return {
        identifier(f"{step.name}_{name}"): (f"{step.name}.{name}", variable.type)
        for step in graph.steps.values()
        for name, variable in step.notebook.signature.results.items()
        if not judges_champion(graph, step.name)
    }


def judges_champion(graph: Graph, step: str) -> bool:
    """Returns whether a step is the one that judges the champion."""
    return any(r.step is None and r.name == CHAMPION for r in graph.steps[step].inputs.values())


def evidence(graph: Graph) -> dict[str, Reference]:
    """Returns what the gate reads beside metrics and losses, by the argument's name."""
    found = {}
    if RECIPES in graph.steps:
        found[REFITS] = Reference(RECIPES, REFITS)
    held_out, publish = held_out_input(graph), graph.pipeline.publish
    if held_out and publish:
        step, _, output = publish.reference.rpartition(".")
        found |= {"held_out": held_out, "reference": Reference(step, output)}
        found |= {fact: Reference(None, fact) for fact in CHAMPION_FACTS}
    return found


def _kind(graph: Graph, reference: Reference) -> str:
    """The type that KFP knows an artifact by."""
    if reference.step is None:
        return "Artifact" if reference.name in CHAMPION_FACTS else "Dataset"
    return graph.steps[reference.step].notebook.signature.outputs[reference.name].type


def _file_name(graph: Graph, reference: Reference) -> str:
    """The name by which a file's kind is known; KFP's own have no ending."""
    if reference.step is None:
        return graph.data[reference.name].rpartition("/")[2]
    variable = graph.steps[reference.step].notebook.signature.outputs[reference.name]
    return variable.default.rpartition("/")[2] or reference.name


def _checkout(graph: Graph) -> str:
    artifacts = {name: "Model" if name == CHAMPION else "Dataset" for name in used_data(graph)}
    artifacts |= {name: "Artifact" for name in CHAMPION_FACTS if name in evidence(graph)}
    arguments = [
        "repository: str",
        "revision: str",
        f"{COMMIT}: dsl.OutputPath(str)",
        f"{HASHES}: dsl.OutputPath(dict)",
        *(f"{identifier(name)}: dsl.Output[dsl.{kind}]" for name, kind in artifacts.items()),
    ]
    passed = [
        COMMIT,
        HASHES,
        _mapping({name: identifier(name) for name in artifacts}),
        f"pipeline={literal(graph.name)}",
        "repository=repository",
        "revision=revision",
    ]
    text = "Clones the repository at a revision, and pulls its data files and the champion"
    return _component(CHECKOUT, text, arguments, "checkout", passed)


def _decide(graph: Graph, name: str) -> str:
    gate, files, scalars = graph.pipeline.gate, measured(graph), results(graph)
    arguments = [
        f"{COMMIT}: str",
        f"{HASHES}: dict",
        *(f"{argument}: dsl.Input[dsl.Metrics]" for argument in files),
        *(f"{argument}: {kind}" for argument, (_, kind) in scalars.items()),
    ]
    passed = [
        RUN,
        "metrics",
        f"pipeline={literal(graph.name)}",
        f"{COMMIT}={COMMIT}",
        f"{HASHES}={HASHES}",
        f"measured={_mapping({reference: argument for argument, reference in files.items()})}",
        f"results={_mapping({reference: argument for argument, (reference, _) in scalars.items()})}",
    ]
    if gate:
        kind = graph.steps[gate.step].notebook.signature.outputs[gate.losses].type
        arguments += [f"{argument}: dsl.Input[dsl.{kind}]" for argument in ("losses", "champion_losses")]
        settings = json_literal(gate.model_dump(mode="json", exclude_defaults=True))
        beside = evidence(graph)
        arguments += [f"{name}: dsl.Input[dsl.{_kind(graph, origin)}]" for name, origin in beside.items()]
        passed += ["losses=losses", "champion_losses=champion_losses", f"gate={settings}"]
        passed += [f"evidence={_mapping({name: name for name in beside})}"] if beside else []
        tables = {
            name: _file_name(graph, beside[name]) for name in ("held_out", "reference") if name in beside
        }
        passed += [f"names={_mapping({n: literal(file) for n, file in tables.items()})}"] if tables else []
        passed += [f"target={literal(graph.pipeline.publish.target)}"] if graph.pipeline.publish else []
    arguments += [f"{RUN}: dsl.Output[dsl.Artifact]", "metrics: dsl.Output[dsl.Metrics]"]
    text = "Judges the model by the quality gate" if gate else "Puts together what the run measured"
    return _component(name, text, arguments, "decide", passed, returns="str")


def _publish(graph: Graph) -> str:
    settings = graph.pipeline.publish
    assert settings is not None  # noqa: S101 (for the type checker: only then it is called)
    outputs, names, kinds = {}, {}, {}
    for argument, reference in (("model", settings.model), ("reference", settings.reference)):
        step, _, output = reference.rpartition(".")
        variable = graph.steps[step].notebook.signature.outputs[output]
        outputs[reference], kinds[argument] = argument, variable.type
        names[reference] = literal(_file_name(graph, Reference(step, output)))
    arguments = [
        f"{RUN}: dsl.Input[dsl.Artifact]",
        *(f"{argument}: dsl.Input[dsl.{kind}]" for argument, kind in kinds.items()),
        "repository: str",
        "branch: str",
        *(f"{name}: str" for name in _PAGE),
        f"{VERSION}: dsl.OutputPath(str)",
    ]
    passed = [
        VERSION,
        RUN,
        _mapping(outputs),
        f"names={_mapping(names)}",
        f"pipeline={literal(graph.name)}",
        "repository=repository",
        "branch=branch",
        *(f"{name}={name}" for name in _PAGE),
    ]
    text = "Makes the model the champion: pushes it to DVC's remote, the model store and Git"
    return _component(PUBLISH, text, arguments, "publish", passed)


def _deploy(graph: Graph) -> str:
    names = ("repository", "branch", "stage", "version")
    passed = [f"pipeline={literal(graph.name)}", *(f"{name}={name}" for name in names)]
    text = "Deploys the published model"
    return _component(DEPLOY, text, [f"{name}: str" for name in names], "deploy", passed)


def _report(name: str, text: str) -> str:
    names = ("repository", *_PAGE)
    arguments = [f"{RUN}: dsl.Input[dsl.Artifact]", *(f"{name}: str" for name in names)]
    return _component(name, text, arguments, "report", [RUN, *(f"{name}={name}" for name in names)])


def _report_end(graph: Graph) -> str:
    names = ("repository", "revision", *_PAGE)
    passed = [
        "status",
        f"pipeline={literal(graph.name)}",
        *(f"{name}={name}" for name in names),
        f"judged={bool(graph.pipeline.gate or graph.pipeline.publish)}",
    ]
    arguments = [*(f"{name}: str" for name in names), "status: dsl.PipelineTaskFinalStatus"]
    return _component(REPORT, "Tells GitLab how the run ended", arguments, "report_end", passed)


def _component(
    name: str, text: str, arguments: list[str], function: str, passed: list[str], returns: str = "None"
) -> str:
    lines = "".join(f"{_I * 2}{argument},\n" for argument in passed)
    call = f"{'' if returns == 'None' else 'return '}delivery.{function}(\n{lines}{_I})\n"
    body = f"{_I}from nbship.workflow.incluster import delivery\n\n{_I}{call}"
    return f"{header(name, arguments, returns)}{docstring(text, '')}{body}"


def _mapping(items: Mapping[str, str]) -> str:
    """A Python dictionary of expressions by text."""
    return "{" + ", ".join(f"{literal(key)}: {value}" for key, value in items.items()) + "}"
