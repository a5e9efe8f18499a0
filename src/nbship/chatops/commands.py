"""The commands: one table of what each is called, takes, needs and does.

What a command does stands in `actions`; the words that follow it are read by the command line's own parser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nbship.chatops import actions
from nbship.chatops.actions import Action
from nbship.chatops.comments import PREFIX, Line, nearest
from nbship.chatops.rights import needed
from nbship.config.chatops import Chatops
from nbship.errors import UsageError
from nbship.workflow.note import table

# Where a command is worked: where rights are checked, without the request's code; with that code, and without
# what deploys; with what deploys, and without that code.
Part = Literal["answer", "code", "deliver"]
# Reads words as the command line would: its command and the words, to its parameters by name; what was not
# given has its default, and a missing NAME is empty.
Parse = Callable[[str, Sequence[str]], Mapping[str, Any]]


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        usage: As a person writes it.
        about: What it does, in a line.
        part: Where it is worked.
        right: The field of `config.chatops.Rights` that says who may.
        action: Does it.
        like: The command of the command line whose words it takes; without one, it takes what `most` says.
        options: Of that command, what a comment may give: nothing that reads or writes files by name.
        stage: Where it deploys if nothing is said.
        of_commit: Whether it is about the request's commit: then that must be the one that was seen.
        most: How many words it takes, where it is like no other.
    """

    usage: str
    about: str
    part: Part
    right: str
    action: Action
    like: str = ""
    options: frozenset[str] = frozenset()
    stage: str = ""
    of_commit: bool = True
    most: int = 0


_RUN = frozenset({"name", "settings", "sample", "force", "from_step", "only"})
_SWEEP = frozenset({"name", "settings", "at_random", "seed", "metric", "goal"})
_MONITOR = frozenset({"name", "since", "until", "version", "stage", "against"})
_DEPLOY = frozenset({"name", "stage", "version"})

COMMANDS: Mapping[str, Command] = {
    "run": Command(
        "/run [NAME] [--set STEP.PARAM=VALUE …]",
        "runs a pipeline, judges its model",
        *("code", "run", actions.run, "run", _RUN),
    ),
    "sweep": Command(
        "/sweep NAME --set STEP.PARAM=VALUE,…",
        "tries combinations of parameters",
        *("code", "run", actions.sweep, "sweep", _SWEEP),
    ),
    "compare": Command(
        "/compare [RUN RUN]",
        "shows what differs between two runs",
        *("code", "run", actions.compare, "runs compare", frozenset({"a", "b"})),
    ),
    "submit": Command(
        "/submit [NAME] [--set STEP.PARAM=VALUE …]",
        "trains on Kubeflow, and publishes on this branch what the gate lets pass",
        *("deliver", "submit", actions.submit, "submit", frozenset({"name", "settings"})),
    ),
    "build_run": Command(
        "/build_run [NAME] [--set STEP.PARAM=VALUE …]",
        "the same as /submit: the image is built first if there is none of its tag",
        *("deliver", "submit", actions.submit, "submit", frozenset({"name", "settings"})),
    ),
    "staging_deploy": Command(
        "/staging_deploy [NAME] [--version V]",
        "deploys this branch's model to staging",
        *("deliver", "deploy", actions.deploy, "deploy", _DEPLOY, "staging"),
    ),
    "deploy": Command(
        "/deploy [NAME] [--to STAGE] [--version V]",
        "deploys this branch's model, to production if no stage is named",
        *("deliver", "deploy", actions.deploy, "deploy", _DEPLOY, "production"),
    ),
    "rollback": Command(
        "/rollback STAGE [NAME]",
        "takes a stage back to the version that served before",
        *("deliver", "deploy", actions.roll_back, "rollback", frozenset({"name", "stage"})),
        of_commit=False,
    ),
    "monitor": Command(
        "/monitor [NAME] [--since 7d] [--stage STAGE]",
        "says whether what serves is still right",
        *("deliver", "run", actions.monitor, "monitor", _MONITOR),
        of_commit=False,
    ),
    "status": Command("/status", "tells what runs and what serves", *("answer", "run", actions.status)),
    "stop": Command("/stop", "ends what runs on this request", *("answer", "stop", actions.stop)),
    "approve": Command(
        f"/{PREFIX} approve SHA",
        "lets commands run a commit of a fork; its whole hash",
        *("answer", "approve", actions.approve),
        most=1,
    ),
    "help": Command("/help", "shows this", *("answer", "run", actions.show_help)),
}


@dataclass(frozen=True)
class Asked:
    """A command with its words, read and checked.

    Attributes:
        line: As it was written.
        command: The command.
        given: Its parameters, by the names of the command line's functions.
    """

    line: Line
    command: Command
    given: Mapping[str, Any]

    @property
    def stage(self) -> str:
        """Where it deploys; empty if it does not."""
        return str(self.given.get("stage") or "")

    @property
    def name(self) -> str:
        """The pipeline; empty if none was named."""
        return str(self.given.get("name") or "")


def is_meant(line: Line) -> bool:
    """Returns whether a line is meant for us, and not for another program that reads comments."""
    return line.name in COMMANDS or line.text.startswith(f"/{PREFIX}") or bool(nearest(line.name, COMMANDS))


def understood(line: Line, parse: Parse) -> Asked:
    """Reads the words of a command.

    Raises:
        UsageError: There is no such command, or its words are not understood.
    """
    if line.problem:
        raise UsageError(f"/{line.name}: {line.problem}", "write it again, by hand")
    command = COMMANDS.get(line.name)
    if command is None:
        meant = nearest(line.name, COMMANDS)
        hint = f"did you mean /{meant}?" if meant else "see /help"
        raise UsageError(f"there is no command /{line.name}", hint)
    if {"--help", "-h"} & {*line.words}:
        raise UsageError(f"/{line.name} {command.about}", f"it is {command.usage}")
    if not command.like:
        if len(line.words) > command.most:
            raise UsageError(f"/{line.name} takes fewer words", f"it is {command.usage}")
        return Asked(line, command, {"words": line.words})
    given = parse(command.like, _words(line, command))
    allowed = {key: value for key, value in given.items() if key in command.options}
    odd = [key for key, value in given.items() if key not in command.options and value]
    if odd:
        raise UsageError(
            f"/{line.name} does not take all that the command line takes", f"it is {command.usage}"
        )
    return Asked(line, command, allowed)


def _words(line: Line, command: Command) -> list[str]:
    """The words as the command line has them, which names a stage by an option."""
    words = [*line.words]
    if line.name == "rollback":
        if not words or words[0].startswith("-"):
            raise UsageError("/rollback takes a stage", f"it is {command.usage}")
        return [*words[1:], f"--to={words[0]}"]
    named = any(word.partition("=")[0] == "--to" for word in words)
    if command.stage == "staging" and named:
        raise UsageError(f"/{line.name} names its stage", "to another: /deploy --to STAGE")
    return words if named or not command.stage else [*words, f"--to={command.stage}"]


def help_text(settings: Chatops) -> str:
    """Returns all commands, with the least role for each."""
    rows = [
        (f"`{each.usage}`", each.about, needed(settings, each.right, each.stage or "production"))
        for each in COMMANDS.values()
    ]
    return table(("command", "does", "for"), rows)
