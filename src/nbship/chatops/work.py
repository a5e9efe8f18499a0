"""Works one comment: checks who asks for what, does it once, and keeps the reply up to date.

In CI this is done in parts, each by a job that holds no more than the part needs. Each begins with the
comment as the forge has it, and believes no other part: the reply only tells what is done already. It is
written before something is done, so that whoever was interrupted goes on.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from nbship import ci
from nbship.chatops.actions import Context, Outcome, failure
from nbship.chatops.answers import FINAL, Reply, to_text
from nbship.chatops.commands import Parse, Part, help_text, is_meant
from nbship.chatops.comments import Line, read_commands
from nbship.chatops.decision import CommandDecision, decide, find_place
from nbship.chatops.desk import Desk, audit, claim, decorate, refresh
from nbship.chatops.events import LONGEST_TEXT, PREFIX, Comment
from nbship.errors import ExitCode, NbshipError, Report, UsageError
from nbship.versions import git
from nbship.workflow.note import plain

# Seconds between two changes of the reply that only tell of progress, and between two looks at a pipeline.
INTERVAL = 10.0
# What a pipeline is told that works one part.
PART = f"{PREFIX}PART"
_CODES = {"failed": ExitCode.FAILED, "refused": ExitCode.USAGE, "rejected": ExitCode.REJECTED}


def work(
    comment: Comment,
    environment: Mapping[str, str],
    parse: Parse,
    root: Path,
    part: Part | Literal["wait", "end"] | None = None,
    index: int | None = None,
    report: Report = lambda _: None,
) -> int:
    """Works a comment.

    Args:
        comment: As the event tells it.
        environment: The forge's token, and the job's variables.
        parse: The command line's parser.
        root: The project: for the part `code` the request's commit, else the branch that it is merged into.
        part: What this job does of it; all if None. To `wait` is to have `code` started elsewhere
            until it has ended; the `end` tells of what no other could tell.
        index: The one command that this job works; all of its part if None.
        report: Given a line for each thing that is decided or done, as JSON: who, what, and how it ended.

    Returns:
        The exit code of the worst command of this part.

    Raises:
        NbshipError: The forge refuses, or does not answer. Done again, it goes on.
    """
    if not _is_worth_asking(comment):
        return ExitCode.DONE
    place = find_place(_project(comment, environment), comment)
    if place is None:
        return ExitCode.DONE
    desk = Desk(comment, environment, place, report, root)
    # What was seen when it was written, even if somebody edits it meanwhile: then all of it is refused.
    whole = 0 < len(comment.text) < LONGEST_TEXT
    lines = _lines(comment.text if whole else place.note.text)
    if isinstance(lines, UsageError):
        decisions = [CommandDecision(Line("", ""), refusal=f"{plain(lines.message)}. _{plain(lines.hint)}_")]
    else:
        decisions = decide(place, comment, lines, parse)
    if not claim(desk, decisions, part):
        return ExitCode.DONE
    if part in (None, "answer"):
        _each(desk, decisions, "answer", None)
        _write_plan(desk, decisions)
    if part in (None, "wait"):
        _elsewhere(desk, decisions)
    if part == "code":
        _each(desk, decisions, "code", index)
    if part in (None, "deliver"):
        _each(desk, decisions, "deliver", index)
    if part in (None, "end"):
        _end(desk)
    return _exit_code(desk, decisions, part)


def _project(comment: Comment, environment: Mapping[str, str]) -> ci.Project:
    """The project of this job, which has to be the comment's."""
    job = ci.current_job(environment)
    found = [forge for forge in ci.FORGES if forge.name.lower() == comment.forge]
    if not found or job.project != comment.project:
        raise UsageError(
            f"a comment of {comment.forge} on {comment.project} is not for a job of {job.project or 'none'}",
            "start it in the comment's own project",
        )
    return found[0].open(environment)


def _is_worth_asking(comment: Comment) -> bool:
    """Whether anything is meant for us; a text that was cut off may go on with it."""
    lines = _lines(comment.text)
    return not comment.text or isinstance(lines, UsageError) or bool(lines)


def _lines(text: str) -> list[Line] | UsageError:
    try:
        return [line for line in read_commands(text) if is_meant(line)]
    except UsageError as error:
        return error


def _each(desk: Desk, decisions: list[CommandDecision], part: Part, only: int | None) -> None:
    """Does the commands of a part, in order; those behind one that failed are left."""
    for index, decision in enumerate(decisions):
        asked, reply = decision.asked, desk.reply
        if reply is None or only not in (None, index) or reply.entries[index].state in FINAL:
            continue
        if asked is None:
            # It was allowed when the comment came; since then, something was pushed, or a right was taken.
            _conclude(desk, index, Outcome("refused", decision.refusal))
            continue
        if asked.command.part != part:
            continue
        before = [entry.state for entry in reply.entries[:index]]
        if part != "answer" and {"failed", "rejected", "skipped"} & {*before}:
            _conclude(desk, index, Outcome("skipped", "What was asked for before it did not succeed."))
            continue
        try:
            outcome = _do(desk, index, decision)
        except NbshipError as error:
            outcome = Outcome("refused" if isinstance(error, UsageError) else "failed", failure(error))
        except Exception:
            _conclude(desk, index, Outcome("failed", "the program itself failed; the job's log says how."))
            raise
        _conclude(desk, index, outcome)


def _do(desk: Desk, index: int, decision: CommandDecision) -> Outcome:
    asked, reply = decision.asked, desk.reply
    assert asked is not None and reply is not None  # noqa: S101 (for the type checker)
    place = desk.place
    desk.write(reply.with_entry(index, state="running"))
    if asked.command.part == "code" and checked_out(desk.root) != place.standing.head:
        raise NbshipError("another commit than the request's is checked out", "write it again")
    lock = threading.Lock()

    def tell(line: str) -> None:
        with lock:
            assert desk.reply is not None  # noqa: S101
            if time.monotonic() - desk.told >= INTERVAL:
                with suppress(NbshipError):
                    desk.write(desk.reply.with_entry(index, text=line))

    def note(memo: str) -> None:
        assert desk.reply is not None  # noqa: S101
        approved = memo if asked.line.name == "approve" else desk.reply.approved
        desk.write(replace(desk.reply.with_entry(index, memo=memo), approved=approved))

    context = Context(
        root=desk.root,
        project=place.project,
        standing=place.standing,
        environment=desk.environment,
        given=asked.given,
        key=f"comment-{desk.comment.id}-{index}",
        memo=reply.entries[index].memo,
        tell=tell,
        note=note,
        others={
            "help": lambda: help_text(place.settings),
            "running": lambda: "\n".join(_running(desk)),
            "stop": lambda: _stop(desk),
        },
    )
    outcome = asked.command.action(context)
    if outcome.served == "production" and place.settings.merge == "when deployed":
        reason = place.discussion.merge(place.standing.head)
        merged = f"Not merged: {plain(reason)}" if reason else "Merged."
        outcome = replace(outcome, text=f"{outcome.text}\n\n{merged}")
    return outcome


def checked_out(root: Path) -> str:
    """Returns the commit that is here; empty if none is."""
    here = git.revision(root)
    return here.commit if here else ""


def _conclude(desk: Desk, index: int, outcome: Outcome) -> None:
    assert desk.reply is not None  # noqa: S101 (there is one as soon as something is done)
    if outcome.labels or outcome.removed:
        decorate(desk, lambda: desk.place.discussion.label(outcome.labels, outcome.removed))
    audit(desk, desk.reply.entries[index].command, outcome.state)
    desk.write(desk.reply.with_entry(index, state=outcome.state, text=outcome.text))


def _running(desk: Desk) -> list[str]:
    """What is under way on the request for other comments."""
    found = []
    for _, reply in desk.place.replies:
        if reply.comment != desk.comment.id and not reply.final:
            shown = ", ".join(
                f"{plain(e.command)} ({e.state})" for e in reply.entries if e.state not in FINAL
            )
            found.append(f"- {shown}" + (f": [job]({reply.link})" if reply.link else ""))
    return found


def _stop(desk: Desk) -> str:
    """Ends the pipelines of other comments, and says so in their replies."""
    place, told = desk.place, []
    for note, reply in place.replies:
        if reply.comment == desk.comment.id or reply.final:
            continue
        for pipeline in {reply.other, reply.pipeline} - {"", desk.job.pipeline}:
            if place.project.is_running(pipeline):
                place.project.cancel(pipeline)
        for index, entry in enumerate(reply.entries):
            if entry.state not in FINAL:
                told.append(f"- {plain(entry.command)}")
                reply = reply.with_entry(index, state="skipped", text=_ended(entry.command))
        place.discussion.change(note.id, to_text(reply, desk.environment))
    return "\n".join(["Ended:", *told]) if told else ""


def _ended(command: str) -> str:
    """What the reply to a command says that /stop has ended: this job knows no secret of Kubeflow's."""
    words = command.removeprefix("/nbship ").removeprefix("/").split()
    if words[:1] in (["submit"], ["build_run"]):
        return "Ended by /stop. A run that has begun on Kubeflow goes on: end it there."
    return "Ended by /stop."


def _elsewhere(desk: Desk, decisions: list[CommandDecision]) -> None:
    """Has the forge run the request's own code apart from this job's secrets, and waits for it."""
    reply, project = desk.reply, desk.place.project
    assert reply is not None  # noqa: S101
    if not _unfinished(reply, decisions):
        return
    if not reply.other:
        number, commit = project.start(desk.place.standing.branch, {**desk.comment.variables, PART: "code"})
        # Its job may have begun to write by now.
        desk.write(replace(refresh(desk), other=number))
        if commit != reply.head:
            project.cancel(number)
    while project.is_running(desk.reply.other if desk.reply else ""):
        time.sleep(INTERVAL)
    for index in _unfinished(refresh(desk), decisions):
        _conclude(desk, index, Outcome("failed", "Its pipeline ended without an answer. Write it again."))


def _unfinished(reply: Reply, decisions: list[CommandDecision]) -> list[int]:
    """The commands that run the request's code and have not ended."""
    pairs = zip(reply.entries, decisions, strict=True)
    return [
        index
        for index, (entry, decision) in enumerate(pairs)
        if entry.state not in FINAL and decision.asked and decision.asked.command.part == "code"
    ]


def _end(desk: Desk) -> None:
    """Leaves nothing without an answer."""
    for index, entry in enumerate(desk.reply.entries if desk.reply else ()):
        if entry.state == "queued":
            _conclude(desk, index, Outcome("skipped", "What was asked for before it did not succeed."))
        elif entry.state == "running":
            _conclude(desk, index, Outcome("failed", "Its job ended without an answer."))


def _write_plan(desk: Desk, decisions: list[CommandDecision]) -> None:
    """Tells a workflow of GitHub which of its jobs have something to do."""
    path = desk.environment.get("GITHUB_OUTPUT")
    if not path or desk.reply is None:
        return
    code, deliver = False, []
    for index, (entry, decision) in enumerate(zip(desk.reply.entries, decisions, strict=True)):
        if decision.asked is None or entry.state in FINAL:
            continue
        code = code or decision.asked.command.part == "code"
        if decision.asked.command.part == "deliver":
            right = decision.asked.command.right
            places = {"deploy": decision.asked.stage, "submit": "kubeflow"}
            names = (places.get(right, "monitor"), decision.asked.name)
            image = right == "submit"
            deliver.append({"index": index, "environment": "/".join(filter(None, names)), "image": image})
    values = {
        "head": desk.reply.head,
        "code": json.dumps(code),
        "deliver": json.dumps(deliver),
        "image": json.dumps(any(each["image"] for each in deliver)),
    }
    with Path(path).open("a", encoding="utf-8") as file:
        file.writelines(f"{key}={value}\n" for key, value in values.items())


def _exit_code(
    desk: Desk, decisions: list[CommandDecision], part: Part | Literal["wait", "end"] | None
) -> int:
    if desk.reply is None or part in ("answer", "end"):
        return ExitCode.DONE
    states = [
        entry.state
        for entry, decision in zip(desk.reply.entries, decisions, strict=True)
        if part is None or (decision.asked and decision.asked.command.part == part)
    ]
    return next((code for state, code in _CODES.items() if state in states), ExitCode.DONE)
