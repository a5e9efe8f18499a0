"""The Python source of the components around the notebooks: resolve, fetch, judge, publish, deploy, tell.

Every function hands what KFP gives it to one of `workflow.incluster`, which does the work. Makes
text only and needs no KFP; wiring the components is the business of `wiring`.
"""

from __future__ import annotations

from collections.abc import Mapping

from nbship.graph import Graph, Reference
from nbship.kubeflow.component import docstring, header, json_literal, literal
from nbship.kubeflow.plan import CHAMPION_FACTS, FILE, Fetched, Plan

RESOLVE, GATE, RECORD, REJECTED, PASSED = "resolve", "gate", "record", "rejected", "passed"
PUBLISH, DEPLOY, REPORT = "publish", "deploy", "report"
COMMIT, RUN, VERSION, SHA256 = "commit", "run", "version", "sha256"
# A parameter that only makes the key of Kubeflow's cache another one.
REFRESH = "refresh"
# What the step that judges returns.
PASS, REJECT = "pass", "reject"
# KFP's name of a returned value; in a condition, `kfp.local` knows no other output.
OUTCOME = "Output"
# What the address of the run's page is made of.
_PAGE = ("host", "job")
_I = "    "
# The modules of `workflow.incluster` that do the work.
_DELIVERY, _INPUTS = "delivery", "inputs"


def sources(plan: Plan) -> dict[str, str]:
    """Returns the source of each component that a pipeline needs around its notebooks, by component."""
    pipeline = plan.graph.pipeline
    if not plan.is_needed:
        return {}
    found = {RESOLVE: _resolve(plan), REPORT: _report_end(plan.graph)}
    found |= {fetched.task: _fetch(plan.graph, fetched) for fetched in plan.fetched.values()}
    if pipeline.gate:
        found |= {GATE: _decide(plan, GATE), REJECTED: _report(REJECTED, "The champion stays")}
    elif pipeline.publish:
        found[RECORD] = _decide(plan, RECORD)
    if pipeline.publish:
        found |= {PUBLISH: _publish(plan), DEPLOY: _deploy(plan.graph)}
    elif pipeline.gate:
        found[PASSED] = _report(PASSED, "The model is good enough")
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


def _resolve(plan: Plan) -> str:
    versions = {fetched.name: fetched.version for fetched in plan.fetched.values()}
    arguments = [
        "repository: str",
        "revision: str",
        f"{COMMIT}: dsl.OutputPath(str)",
        *(f"{version}: dsl.OutputPath(dict)" for version in versions.values()),
    ]
    passed = [
        COMMIT,
        _mapping(versions),
        f"pipeline={literal(plan.graph.name)}",
        "repository=repository",
        "revision=revision",
    ]
    text = "Finds the commit that a revision means, and which data files and champion it has"
    return _component(RESOLVE, text, arguments, "resolve", passed, module=_INPUTS)


def _fetch(graph: Graph, fetched: Fetched) -> str:
    artifacts = {FILE: fetched.type, **dict.fromkeys(fetched.facts, "Artifact")}
    arguments = [
        "repository: str",
        f"{VERSION}: dict",
        f"{REFRESH}: str",
        f"{SHA256}: dsl.OutputPath(str)",
        *(f"{name}: dsl.Output[dsl.{kind}]" for name, kind in artifacts.items()),
    ]
    passed = [
        SHA256,
        _mapping({name: name for name in artifacts}),
        f"pipeline={literal(graph.name)}",
        f"{VERSION}={VERSION}",
        "repository=repository",
    ]
    text = f"Fetches {fetched.name}: the version that the run resolved, whatever commit has it"
    return _component(fetched.task, text, arguments, "fetch", passed, module=_INPUTS)


def _decide(plan: Plan, name: str) -> str:
    graph, gate, files, scalars = plan.graph, plan.graph.pipeline.gate, plan.measured, plan.results
    digests = {fetched.name: fetched.digest for fetched in plan.fetched.values()}
    arguments = [
        f"{COMMIT}: str",
        *(f"{argument}: str" for argument in digests.values()),
        *(f"{argument}: dsl.Input[dsl.Metrics]" for argument in files),
        *(f"{argument}: {kind}" for argument, (_, kind) in scalars.items()),
    ]
    passed = [
        RUN,
        "metrics",
        f"pipeline={literal(graph.name)}",
        f"{COMMIT}={COMMIT}",
        f"hashes={_mapping(digests)}",
        f"measured={_mapping({str(origin): argument for argument, origin in files.items()})}",
        f"results={_mapping({str(origin): argument for argument, (origin, _) in scalars.items()})}",
    ]
    if gate:
        kind = graph.steps[gate.step].notebook.signature.outputs[gate.losses].type
        arguments += [f"{argument}: dsl.Input[dsl.{kind}]" for argument in ("losses", "champion_losses")]
        settings = json_literal(gate.model_dump(mode="json", exclude_defaults=True))
        beside = plan.evidence
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


def _publish(plan: Plan) -> str:
    graph, published = plan.graph, plan.published
    kinds = {argument: _kind(graph, origin) for argument, origin in published.items()}
    names = {str(origin): literal(_file_name(graph, origin)) for origin in published.values()}
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
        _mapping({str(origin): argument for argument, origin in published.items()}),
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
    name: str,
    text: str,
    arguments: list[str],
    function: str,
    passed: list[str],
    returns: str = "None",
    module: str = _DELIVERY,
) -> str:
    lines = "".join(f"{_I * 2}{argument},\n" for argument in passed)
    call = f"{'' if returns == 'None' else 'return '}{module}.{function}(\n{lines}{_I})\n"
    body = f"{_I}from nbship.workflow.incluster import {module}\n\n{_I}{call}"
    return f"{header(name, arguments, returns)}{docstring(text, '')}{body}"


def _mapping(items: Mapping[str, str]) -> str:
    """A Python dictionary of expressions by text."""
    return "{" + ", ".join(f"{literal(key)}: {value}" for key, value in items.items()) + "}"
