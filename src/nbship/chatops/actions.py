"""What each command does: a few lines over `workflow`, and how it is told.

Nothing here asks who may do it; whoever calls has checked that, and has checked out what the context says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbship import ci, config
from nbship.chatops.answers import State
from nbship.ci import RunState
from nbship.errors import ExitCode, NbshipError, UsageError
from nbship.project import PIPELINES, pipeline_names
from nbship.values import split_setting
from nbship.versions import git, upstream
from nbship.workflow.note import fenced, plain, table

if TYPE_CHECKING:
    from nbship.local.runner import Event
    from nbship.record import RunRecord
    from nbship.workflow.deploy import Deployed

LABEL = "nbship:"
# Of the stages that have labels; of what a gate said, and of where a model was deployed last, one is true.
PASSED, REJECTED, STAGING, DEPLOYED = (LABEL + it for it in ("passed", "rejected", "staging", "deployed"))
_LABELS = {"staging": STAGING, "production": DEPLOYED}
_MOST_ROWS = 40


@dataclass(frozen=True)
class Context:
    """What an action may use.

    Attributes:
        root: The project: the request's own commit for what runs its code, else the branch it is merged into.
        project: The project on the forge.
        standing: Where the merge request stands.
        environment: The variables of this job.
        given: The command's parameters.
        key: What no other command has, and each repetition of this one has again.
        memo: What the command noted before it was interrupted; empty if it is done for the first time.
        tell: Told in a line what happens.
        note: Keeps a memo before what it is about is done.
        others: What the commands that only talk need: the help, what runs, and what ends it.
    """

    root: Path
    project: ci.Project
    standing: ci.Standing
    environment: Mapping[str, str]
    given: Mapping[str, Any]
    key: str
    memo: str
    tell: Callable[[str], None]
    note: Callable[[str], None]
    others: Mapping[str, Callable[[], str]]


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        state: How.
        text: What is told, as Markdown.
        labels: What the merge request gets.
        removed: What is taken off it.
        served: The stage that serves the request's model now; empty if none was changed.
    """

    state: State
    text: str
    labels: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    served: str = ""


Action = Callable[[Context], Outcome]


def failure(error: NbshipError) -> str:
    """Returns an error as a person is told of it."""
    parts = [plain(error.message), f"_{plain(error.hint)}_" if error.hint else ""]
    return "\n\n".join(filter(None, [*parts, fenced(error.details) if error.details else ""]))


def run(context: Context) -> Outcome:
    """Runs pipelines of the request's commit, and judges their models."""
    ended = [_run_one(context, name) for name in _pipelines(context)]
    states = [state for state, _, _ in ended]
    passed = [judged for _, judged, _ in ended if judged is not None]
    verdict: State = "failed" if "failed" in states else "rejected" if "rejected" in states else "done"
    labels = (PASSED, REJECTED) if all(passed) else (REJECTED, PASSED)
    told = "\n\n".join(text for _, _, text in ended)
    return Outcome(verdict, told, *(((it,) for it in labels) if passed else ()))


def _run_one(context: Context, name: str) -> tuple[RunState, bool | None, str]:
    """How a run ended, what the gate said of its model on real data, and the words for both."""
    from nbship.workflow import run as workflow
    from nbship.workflow.merge_request import kept_files, upload_plots
    from nbship.workflow.note import run_section

    records: list[RunRecord] = []
    given = {key: value for key, value in context.given.items() if key != "name"}
    request = workflow.RunRequest(name, **given)
    _set_status(context, name, "running", "started by a comment")
    problem = ""
    try:
        on_event = _steps(context, name)
        workflow.run(context.root, request, on_event, context.tell, lambda record, _: records.append(record))
    except NbshipError as error:
        problem = failure(error)
    if not records:
        _set_status(context, name, "failed", "failed")
        return "failed", None, problem
    record = records[0]
    judged = record.verdict
    state: RunState = "failed"
    if record.state == "done":
        state = "succeeded" if judged is None or judged.passed else "rejected"
    _set_status(context, name, state, "; ".join(judged.reasons) if judged else state)
    plots = upload_plots(context.project, context.root, record, "")
    section = run_section(record, plots, kept_files(record, ci.current_job(context.environment)))
    return state, judged.passed if judged and not record.synthetic else None, section


def sweep(context: Context) -> Outcome:
    """Tries combinations of parameters."""
    from nbship.pages.formatting import number_text, value_text
    from nbship.workflow import sweep as workflow

    name = _one_pipeline(context)
    given = {key: value for key, value in context.given.items() if key != "name"}
    request = workflow.SweepRequest(name, **given)
    record, _ = workflow.sweep(context.root, request, _steps(context, name), context.tell)
    names = list(record.trials[0].parameters)
    rows = []
    for trial in record.trials[:_MOST_ROWS]:
        value = str(trial.state) if trial.value is None else number_text(trial.value)
        rows.append([plain(value_text(trial.parameters[each])) for each in names] + [plain(value)])
    best = "" if record.trials[0].value is None else "The best is first."
    return Outcome("done", "\n\n".join([table([*map(plain, names), plain(record.metric)], rows), best]))


def compare(context: Context) -> Outcome:
    """Shows what differs between two runs that this job can see."""
    from nbship.pages.formatting import value_text
    from nbship.workflow import runs

    one, other = runs.find_pair(context.root, context.given["a"], context.given["b"])
    rows = [
        (plain(f"{each.kind}: {each.name}"), *(plain(value_text(value)) for value in (each.a, each.b)))
        for each in runs.compare(one, other)
    ]
    headings = ("", plain(f"A: {one.id}"), plain(f"B: {other.id}"))
    return Outcome("done", table(headings, rows[:_MOST_ROWS]) or "Nothing differs.")


def submit(context: Context) -> Outcome:
    """Runs the request's commit on Kubeflow, and waits; what passes the gate is published on its branch."""
    from nbship.pages.formatting import metrics_text
    from nbship.workflow import submit as workflow
    from nbship.workflow.outcome import read_outcome
    from nbship.workflow.waiting import exit_code, failed_tasks, wait

    fetch(context)
    name = _one_pipeline(context)
    head, branch = context.standing.head, context.standing.branch
    known = name in pipeline_names(context.root)
    # Where a token is sent is never for the request to say.
    connection = workflow.connect_for(context.root, name if known else "", context.environment)
    for setting in context.given["settings"]:
        if len(split_setting(setting)[0]) < 2:
            # The repository, the branch and the stage of a run: with a token, that is more than a parameter.
            raise UsageError(f"--set {setting}: not a parameter of a step", "as in --set train.C=3")
    # What a pipeline deploys by itself is for merged commits: here, who deploys needs the right to.
    published = [f"branch={branch}", "deploy="] if _publishes(context, name) else []
    settings = [*context.given["settings"], *published]
    image = context.environment.get("NBSHIP_IMAGE", "")
    request = workflow.SubmitRequest(
        *(name, head, settings, branch), image=image, variables=context.environment, key=context.key
    )
    submission = workflow.submit(connection, context.root, request, context.environment)
    link = f"[Run on Kubeflow]({submission.link})"
    context.tell(link)
    _set_status(context, name, "running", "on Kubeflow")
    ended = wait(connection, submission, _steps(context, name))
    result = read_outcome(connection, context.root, name, head, ended)
    code = exit_code(ended)
    lines = [link]
    if result and result.verdict:
        lines.append("; ".join(map(plain, result.verdict.reasons)))
    if result and result.main_metrics:
        lines.append(plain(metrics_text(result.main_metrics)))
    if result and result.version:
        lines.append(f"Published as version {plain(result.version)}.")
    failed = failed_tasks(ended, submission.tasks)
    if code == ExitCode.FAILED and failed:
        lines.append(f"Failed: {plain(', '.join(failed))}")
    states: Mapping[int, tuple[State, RunState]] = {
        ExitCode.DONE: ("done", "succeeded"),
        ExitCode.REJECTED: ("rejected", "rejected"),
    }
    state, told = states.get(code, ("failed", "failed"))
    _set_status(context, name, told, told)
    labels = {"done": (PASSED, REJECTED), "rejected": (REJECTED, PASSED)}.get(state)
    return Outcome(state, "\n\n".join(lines), *(((it,) for it in labels) if labels else ()))


def deploy(context: Context) -> Outcome:
    """Deploys the newest version that is on the request's branch, or the one that is named."""
    from nbship.workflow.deploy import deploy as deploy_model

    fetch(context)
    name, stage = _one_pipeline(context), str(context.given["stage"])
    version = str(context.given.get("version") or "") or context.memo or _newest(context, name)
    context.note(version)
    pipeline = config.load_pipeline(context.root, name, environment=context.environment)
    done = deploy_model(context.root, pipeline, stage, version, context.tell)
    return Outcome("done", _deployed(done), *_stage_labels(stage), served=stage)


def roll_back(context: Context) -> Outcome:
    """Takes a stage back; which version that is, is settled once."""
    from nbship.workflow.rollback import previous_version, roll_back_to

    fetch(context)
    name, stage = _one_pipeline(context), str(context.given["stage"])
    version = context.memo or previous_version(context.root, name, stage)
    context.note(version)
    pipeline = config.load_pipeline(context.root, name, environment=context.environment)
    done = roll_back_to(context.root, pipeline, stage, version, context.tell)
    return Outcome("done", _deployed(done), removed=(_LABELS[stage],) if stage in _LABELS else ())


def monitor(context: Context) -> Outcome:
    """Says whether what serves is still right, by what it was asked."""
    from nbship.workflow import monitor as workflow

    fetch(context)
    name = _one_pipeline(context)
    window = workflow.MonitorWindow(**{key: value for key, value in context.given.items() if key != "name"})
    pipeline = config.load_pipeline(context.root, name)
    found = workflow.monitor(context.root, pipeline, window, report=context.tell).examination
    between = f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC"
    lines = [f"- {plain(reason)}" for reason in (*found.decision.reasons[:_MOST_ROWS], *found.notes)]
    told = f"**{plain(found.decision.state)}**: {plain(found.name)} {plain(found.version)}, {between}"
    return Outcome("done", "\n\n".join([f"{told}, {found.rows} records.", "\n".join(lines)]).strip())


def status(context: Context) -> Outcome:
    """Tells what runs on the request, and what was deployed last."""
    from nbship.workflow.deployments import list_deployments

    fetch(context)
    lines = [context.others["running"]() or "Nothing runs on this request."]
    rows = []
    for name in pipeline_names(context.root):
        found = list_deployments(context.root, config.load_pipeline(context.root, name), ask=False)
        last = {each.stage: each for each in reversed(found.history)}
        rows += [
            (plain(name), plain(stage), plain(each.version), f"{each.created:%Y-%m-%d %H:%M} UTC")
            for stage, each in sorted(last.items())
        ]
    return Outcome("done", "\n\n".join([*lines, table(("model", "stage", "version", "since"), rows)]).strip())


def stop(context: Context) -> Outcome:
    """Ends what runs on the request."""
    return Outcome("done", context.others["stop"]() or "Nothing runs on this request.")


def approve(context: Context) -> Outcome:
    """Notes that a commit may be run; whether it counts is found out anew by each command."""
    given = "".join(context.given["words"])
    if given != context.standing.head:
        raise UsageError(
            f"the request is at {context.standing.head}, not at {given[:60] or 'what was given'}",
            "look at it, and approve it by its whole hash",
        )
    context.note(given)
    return Outcome("done", f"Commands may run {given} now, and no other commit.")


def show_help(context: Context) -> Outcome:
    """Shows all commands."""
    return Outcome("done", context.others["help"]())


def fetch(context: Context) -> None:
    """Brings the request's commits and all versions here.

    Raises:
        NbshipError: The remote cannot be reached.
    """
    remote = upstream.default_remote(context.root)
    if remote:
        refs = (context.standing.ref, "+refs/tags/*:refs/tags/*")
        upstream.ask(context.root, remote, "fetch", "--quiet", "--no-write-fetch-head", remote, *refs)


def _pipelines(context: Context) -> list[str]:
    """The one that is named; else those that the request concerns."""
    from nbship.workflow.changes import find_changes

    if context.given.get("name"):
        return [context.given["name"]]
    names = pipeline_names(context.root)
    if len(names) > 1:
        base = f"origin/{context.standing.target}"
        names = [change.pipeline for change in find_changes(context.root, {}, base)]
    if not names:
        raise UsageError("the request affects no pipeline", "name one: /run NAME")
    return names


def _one_pipeline(context: Context) -> str:
    names = [str(context.given["name"])] if context.given.get("name") else pipeline_names(context.root)
    if len(names) != 1:
        raise UsageError("which pipeline?", f"name one: {', '.join(names) or 'there is none'}")
    return names[0]


def _publishes(context: Context, name: str) -> bool:
    text = git.read_at(context.root, context.standing.head, context.root / PIPELINES / f"{name}.yaml")
    return "\npublish:" in f"\n{text or ''}"


def _newest(context: Context, name: str) -> str:
    """The newest version whose commit the request's branch holds: its own, else that of the branch below."""
    from nbship.versions import registry

    for version in registry.versions(context.root, name):
        if git.succeeds(context.root, "merge-base", "--is-ancestor", version.commit, context.standing.head):
            return version.version
    raise NbshipError(f"this branch has no published version of {name}", "publish one first: /submit")


def _deployed(done: Deployed) -> str:
    if not done.changed:
        return f"{plain(done.name)} {plain(done.version)} serves in {plain(done.stage)} already."
    before = f", after {plain(done.previous)}" if done.previous else ""
    asked = f" A check's median answer took {done.latency * 1000:.0f} ms." if done.latency else ""
    return f"{plain(done.name)} {plain(done.version)} serves in {plain(done.stage)} now{before}.{asked}"


def _stage_labels(stage: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return ((_LABELS[stage],), ()) if stage in _LABELS else ((), ())


def _steps(context: Context, name: str) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        cell = f", cell {event.cell} of {event.cells}" if event.cells else ""
        context.tell(f"{plain(name)}: step {plain(event.step)} {event.state}{cell}")

    return tell


def _set_status(context: Context, name: str, state: Any, description: str) -> None:
    """The commit's status is a convenience: where the token may not set it, the reply says the same."""
    link = ci.current_job(context.environment).link
    try:
        context.project.set_status(context.standing.head, state, f"nbship/{name}", description, link)
    except NbshipError as error:
        context.tell(f"the commit's status: {plain(error.message)}")
