"""The run page: one HTML file that shows a run, opens from disk and asks nobody for anything.

Turns the record and the executed notebooks into what `templates/run.html.j2` lays out. Texts from notebooks
and parameters are strangers' texts: Jinja escapes them all, and the page's policy runs no script but its own.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nbship.files import write_text
from nbship.gate import percent_text
from nbship.graph import champion_step
from nbship.pages import formatting
from nbship.pages.drawing import Direction, run_svg, sign_path, step_note, svg_width
from nbship.pages.interval import interval_svg
from nbship.pages.metrics import MeasuredRow, compared, measured
from nbship.pages.outputs import Shown, read_shown
from nbship.pages.template import TEMPLATES, template
from nbship.record import PAGE, Artifact, RunRecord, State, StepRecord

if TYPE_CHECKING:
    from jinja2 import Template

# The project's folder, seen from runs/NAME/ID.
_PROJECT = "../../../"
# Where the link to the next run will be.
_NEXT = "<!-- the run after -->"
_WAYS: tuple[Direction, Direction] = ("right", "down")
# Width in pixels beyond which a graph runs downwards: the page's, and as much again to scroll.
_WIDEST = 2000
_MOST_CHANGES = 30
_SIGNS = {
    formatting.Tone.GOOD: "done",
    formatting.Tone.BAD: "failed",
    formatting.Tone.WARNING: "interrupted",
    formatting.Tone.NEUTRAL: "running",
}


@dataclass(frozen=True)
class _Parameter:
    name: str
    value: str
    default: str
    changed: bool
    help: str


@dataclass(frozen=True)
class _File:
    """An artifact with an address that works from the page; empty where there is none."""

    name: str
    artifact: Artifact
    address: str


@dataclass(frozen=True)
class _Step:
    record: StepRecord
    shown: Shown
    note: str
    parameters: list[_Parameter]
    inputs: list[_File]
    outputs: list[_File]
    metrics: list[MeasuredRow]


@dataclass(frozen=True)
class RunDifference:
    """Something that another run had otherwise: its kind, its name, and what either has, as text."""

    kind: str
    name: str
    before: str
    now: str


@dataclass(frozen=True)
class Neighbour:
    """Another run of the pipeline, such as the one before.

    Attributes:
        relation: What it is to this one.
        run: Its id.
        changes: What was changed since.
        is_before: Whether no other run is between it and this one.
    """

    relation: str
    run: str
    changes: tuple[RunDifference, ...]
    is_before: bool = False

    @property
    def address(self) -> str:
        """Its page, from this one."""
        return f"../{quote(self.run)}/{PAGE}"


@dataclass(frozen=True)
class _Changed:
    """Something that was changed against one of the neighbours; theirs is in their order, empty if alike."""

    kind: str
    name: str
    now: str
    theirs: list[str]


def write_run_page(record: RunRecord, folder: Path, neighbours: Sequence[Neighbour] = ()) -> Path:
    """Writes the page of a run, atomically.

    Args:
        record: The run, in any state.
        folder: The run's folder, where the executed notebooks are.
        neighbours: Runs that it is compared with.

    Returns:
        The page's path.

    Raises:
        NbshipError: The page cannot be written.
    """
    page = folder / PAGE
    write_text(page, _render(record, folder, neighbours))
    return page


def link_next(page: Path, run: str) -> None:
    """Lets a page lead to the run after it, if it has a place for that and leads to none yet.

    Args:
        page: The page of a run.
        run: The id of the run after it.

    Raises:
        NbshipError: The page cannot be written.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError:
        return  # whose page is gone has none to lead from
    link = f'<a href="../{quote(run)}/{PAGE}">The run after</a>'
    if _NEXT in text:
        write_text(page, text.replace(_NEXT, link, 1))


def _render(record: RunRecord, folder: Path, neighbours: Sequence[Neighbour]) -> str:
    from markupsafe import Markup

    outcome = formatting.outcome(record)
    steps = [_step(step, folder) for step in record.steps.values()]
    rows = compared(record)
    judged = {row.metric.name for row in rows}
    gate_steps = {record.gate.step, champion_step(record.gate.step)} if record.gate and judged else set()
    wide, narrow = (run_svg(record, way) if record.steps else "" for way in _WAYS)
    if svg_width(narrow) < svg_width(wide) > _WIDEST:
        wide = narrow  # a long chain reads better downwards
    script = (TEMPLATES / "run.js").read_text(encoding="utf-8")
    return _template().render(
        run=record,
        outcome=outcome,
        synthetic=formatting.synthetic_text(record),
        outcome_sign=_SIGNS[outcome.tone],
        started=record.started.astimezone(),
        neighbours=neighbours,
        changed=_changed(neighbours),
        most_changes=_MOST_CHANGES,
        next_mark=Markup(_NEXT),  # noqa: S704
        # Names are escaped where the pictures are drawn.
        graph=Markup(wide),  # noqa: S704
        narrow_graph=Markup(narrow),  # noqa: S704
        steps=steps,
        champion_name=champion_step(record.gate.step) if record.gate else "",
        failures=[step for step in steps if step.record.state is State.FAILED],
        compared=rows,
        has_champion=any(row.champion for row in rows),
        interval=Markup(_interval(record)),  # noqa: S704
        notes=formatting.comparison_notes(record.verdict) if record.verdict else [],
        other_metrics=[step for step in steps if step.metrics and step.record.name not in gate_steps],
        commands=formatting.next_commands(record),
        style=Markup((TEMPLATES / "run.css").read_text(encoding="utf-8")),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _changed(neighbours: Sequence[Neighbour]) -> list[_Changed]:
    """What was changed against any neighbour, in the order in which it is told."""
    theirs = [{(c.kind, c.name): c for c in neighbour.changes} for neighbour in neighbours]
    found: dict[tuple[str, str], _Changed] = {}
    for changes in theirs:
        for key, change in changes.items():
            before = [others[key].before if key in others else "" for others in theirs]
            found.setdefault(key, _Changed(*key, change.now, before))
    return list(found.values())


@functools.cache
def _template() -> Template:
    return template(
        "run.html.j2",
        {
            "bounds": formatting.bounds_text,
            "counted": formatting.counted,
            "number": formatting.number_text,
            "percent": percent_text,
            "seconds": formatting.seconds_text,
            "sign": sign_path,
            "url": quote,
        },
    )


def _step(record: StepRecord, folder: Path) -> _Step:
    shown = read_shown(folder / record.notebook) if record.notebook else Shown()
    return _Step(
        record=record,
        shown=shown,
        note=step_note(record),
        parameters=[_parameter(name, value, shown) for name, value in record.parameters.items()],
        inputs=[_File(name, a, _address(a)) for name, a in record.inputs.items()],
        outputs=[_File(name, a, _address(a)) for name, a in record.outputs.items()],
        metrics=measured(record),
    )


def _parameter(name: str, value: Any, shown: Shown) -> _Parameter:
    declared = shown.parameters.get(name)
    return _Parameter(
        name=name,
        value=formatting.value_text(value),
        default=formatting.value_text(declared.default) if declared else "",
        changed=declared is not None and declared.default != value,
        help=declared.help if declared else "",
    )


def _address(artifact: Artifact) -> str:
    if Path(artifact.path).is_absolute():
        return ""
    of_a_step = "." in artifact.origin
    return quote(artifact.path if of_a_step else _PROJECT + artifact.path)


def _interval(record: RunRecord) -> str:
    comparison = record.verdict.comparison if record.verdict else None
    return interval_svg(comparison) if comparison else ""
