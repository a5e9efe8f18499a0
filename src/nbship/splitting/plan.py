"""The proposal: steps, what crosses each cut and how, parameters, files, and what could not be decided.

Data only; how it comes about is in `flow`, what is written from it in `writing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nbship.notebook import Variable
from nbship.splitting.kinds import AGAIN, FORMATS, RESULTS, UNKNOWN, Fact
from nbship.splitting.wishes import GateWish, ranges


@dataclass(frozen=True)
class Crossing:
    """A variable that goes from one step to others.

    Attributes:
        name: The variable.
        source: The step that has it last.
        targets: The steps that take it from there.
        kind: One of `kinds.KINDS`.
        fact: What it was when the notebook ran; None if it did not.
    """

    name: str
    source: str
    targets: tuple[str, ...]
    kind: str
    fact: Fact | None = None

    @property
    def is_result(self) -> bool:
        """Whether it goes as a value, not as a file."""
        return self.kind in RESULTS

    @property
    def artifact(self) -> str:
        """What the parameters cell calls it: the value itself, or the path of its file."""
        return self.name if self.is_result else f"{self.name}_file"

    @property
    def options(self) -> Mapping[str, Any]:
        """How its file keeps it."""
        return self.fact.options if self.fact else {}


@dataclass(frozen=True)
class File:
    """A file that the code reads or writes by its name.

    Attributes:
        variable: What the parameters cell calls its path.
        path: As the code writes it, relative to the notebook's folder.
        type: As an artifact.
        readers: Steps that read it.
        writers: Steps that write it.
        declared: Whether the notebook's own parameters cell has it.
        help: What it is.
    """

    variable: str
    path: str
    type: str
    readers: tuple[str, ...]
    writers: tuple[str, ...]
    declared: bool = False
    help: str = ""


@dataclass(frozen=True)
class StepPlan:
    """A step.

    Attributes:
        name: Its name.
        title: What a person reads.
        cells: Numbers of the notebook's cells that it has.
        takes: Variables that it takes, with the step that gives each.
        gives: Variables that it gives to others.
        parameters: Those that it uses.
        imports: What it needs of imports elsewhere: names by the position of the statement.
        settings: Positions of statements elsewhere that set libraries up for it.
        copies: Positions of constants, functions and other statements elsewhere that go along.
        module: Names that it imports from the module of what several steps use.
        reads: Variables of the files that it reads.
        writes: Variables of the files that it writes.
        rows: Outputs that a plan asks for, with the expression of the rows in each.
        metrics: Variables that are its metrics.
        results: Results that the notebook's own parameters cell declares.
        after: Steps that it follows although it takes nothing from them.
        follows: All steps that it is said to follow; what it takes comes from them and those before them.
    """

    name: str
    title: str
    cells: tuple[int, ...]
    takes: Mapping[str, str] = field(default_factory=dict)
    gives: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    imports: Mapping[int, frozenset[str]] = field(default_factory=dict)
    settings: tuple[int, ...] = ()
    copies: tuple[int, ...] = ()
    module: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    rows: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Concern:
    """Something that will hurt, or that could not be decided.

    Attributes:
        cell: The cell it is in; 0 for the whole notebook.
        rule: What kind of thing it is.
        message: What is wrong, in a line.
        hint: What to do, in a line.
    """

    cell: int
    rule: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class SplitPlan:
    """How a notebook becomes steps.

    Attributes:
        name: The pipeline.
        notebook: What to call the notebook.
        title: Its first heading.
        by: What the cuts follow: tags, headings, flow, or plan.
        steps: The steps, in order.
        crossings: What goes between them.
        parameters: By name.
        files: What is read and written by name.
        module: Positions of the functions that several steps use, and of what these need.
        module_imports: What these need of imports: names by the position of the statement.
        results: Results that the notebook's parameters cell declares, by name.
        skipped: Cells that are left out.
        parquet: Whether tables are written as Parquet.
        gate: How the model is judged, if it is.
        metrics: What the parameters cells call the file of the metrics.
        problems: What keeps it from being written.
        concerns: What will hurt.
        undecided: What could not be decided.
    """

    name: str
    notebook: str
    title: str
    by: str
    steps: tuple[StepPlan, ...]
    crossings: tuple[Crossing, ...]
    parameters: Mapping[str, Variable]
    files: tuple[File, ...]
    module: tuple[int, ...] = ()
    module_imports: Mapping[int, frozenset[str]] = field(default_factory=dict)
    results: Mapping[str, Variable] = field(default_factory=dict)
    skipped: tuple[int, ...] = ()
    parquet: bool = False
    gate: GateWish | None = None
    metrics: str = "metrics"
    problems: tuple[Concern, ...] = ()
    concerns: tuple[Concern, ...] = ()
    undecided: tuple[Concern, ...] = ()

    @property
    def module_name(self) -> str:
        """The module of what several steps use."""
        return f"{self.name.replace('-', '_')}_functions"

    def crossing(self, name: str, source: str) -> Crossing:
        """Returns what a step gives under a name."""
        return next(c for c in self.crossings if (c.name, c.source) == (name, source))

    def as_wishes(self) -> dict[str, Any]:
        """Returns what a person may change of it, as plain data."""
        steps: dict[str, Any] = {}
        for step in self.steps:
            steps[step.name] = {"cells": ranges(step.cells), "title": step.title}
            if step.follows:
                steps[step.name]["after"] = list(step.follows)
        wishes: dict[str, Any] = {
            "steps": steps,
            "parameters": list(self.parameters),
            "store": {c.name: c.kind for c in self.crossings},
        }
        if self.skipped:
            wishes["skip"] = ranges(self.skipped)
        if self.gate:
            wishes["gate"] = self.gate.model_dump(exclude_defaults=True)
        return wishes


def stored_as(crossing: Crossing, parquet: bool) -> str:
    """Returns in a word how a variable is kept between steps."""
    if crossing.kind == AGAIN:
        return "made again"
    if crossing.is_result:
        return "result"
    if parquet and crossing.kind in ("table", "series"):
        return "Parquet"
    suffix = FORMATS[crossing.kind][0].lstrip(".")
    word = {"csv": "CSV", "json": "JSON"}.get(suffix, suffix)
    return f"{word}, undecided" if crossing.kind == UNKNOWN else word
