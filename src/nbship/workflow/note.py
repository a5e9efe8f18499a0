"""The note on a merge request, as GitLab's Markdown: a section for each pipeline, each replaced on its own.

Pure functions on text. Words of notebooks and servers are strangers' words: they mention nobody, link nowhere
and start none of GitLab's quick actions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from nbship.ci import RunState
from nbship.gate import Verdict
from nbship.pages import formatting
from nbship.pages.metrics import compared, measured
from nbship.record import PAGE, RunRecord, State

# With what the note begins, by which it is found again whatever happened to the branch.
MARK = "<!-- nbship: report -->"
_SIGNS = {
    formatting.Tone.GOOD: "✅",
    formatting.Tone.BAD: "❌",
    formatting.Tone.WARNING: "⚠️",
    formatting.Tone.NEUTRAL: "ℹ️",
}
_OF_ADDRESSES = ":/?#@!$&'*+,;=%~"
_MOST_METRICS = 40
_LONGEST_ERROR = 4000
# GitLab's database takes no null, and nobody else can see one.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
# Emphasis, links, HTML, tables, emojis, addresses, and GitLab's references; and what means something at a
# line's beginning, such as a list or a quick action.
_SPECIAL = re.compile(r"([\\`*_\[\]<>#!|@~]|[:%$&](?=[\w/\"+-])|^[-+=/])")


@dataclass(frozen=True)
class RemoteOutcome:
    """How a run on Kubeflow ended.

    Attributes:
        pipeline: Its pipeline.
        repository: The https address of the Git repository, by which the forge's project is found.
        revision: The whole hash of the commit that ran; empty if it was never checked out.
        state: How it ended.
        verdict: The gate's; None if it was not asked.
        metrics: What was measured, by `step.metric`.
        version: The model's version that was published; empty if none was.
        link: The run's page; may be empty.
    """

    pipeline: str
    repository: str
    revision: str
    state: RunState
    verdict: Verdict | None
    metrics: Mapping[str, float]
    version: str
    link: str


@dataclass(frozen=True)
class UploadedPlot:
    """A plot that is on the forge."""

    caption: str
    address: str


def with_section(note: str, key: str, section: str) -> str:
    """Returns a note with a section in place of the one with the same key, or after all others."""
    begin, end = f"<!-- begin {key} -->", f"<!-- end {key} -->"
    block = f"{begin}\n{section}\n{end}"
    old = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if old.search(note):
        return old.sub(lambda _: block, note, count=1)
    return f"{note or MARK}\n\n{block}"


def run_section(record: RunRecord, plots: Sequence[UploadedPlot] = (), files: str = "") -> str:
    """Words a run on a CI machine, or on one's own.

    Args:
        record: The run.
        plots: What its notebooks drew.
        files: Address of the run's folder, where CI keeps it; empty if nobody else can see it.
    """
    outcome = formatting.outcome(record)
    parts = [
        f"### {_SIGNS[outcome.tone]} {record.pipeline}: {plain(outcome.title)}",
        " ".join(map(plain, outcome.reasons)),
        _notes(record.verdict),
        *(fenced(step.error) for step in record.steps.values() if step.state is State.FAILED),
        _gate_table(record) or _measured_table(record),
        " ".join(f"![{plain(plot.caption)}]({plot.address}){{width=48%}}" for plot in plots),
        _notebooks(record, files),
        _footer(record),
    ]
    return "\n\n".join(filter(None, parts))


def outcome_section(outcome: RemoteOutcome) -> str:
    """Words a run on Kubeflow, of which only its outcome is known."""
    sign = _SIGNS[formatting.Tone.GOOD if outcome.state == "succeeded" else formatting.Tone.BAD]
    metrics = sorted(outcome.metrics.items())[:_MOST_METRICS]
    parts = [
        f"### {sign} {outcome.pipeline} on Kubeflow: {outcome.state}",
        "; ".join(map(plain, outcome.verdict.reasons)) if outcome.verdict else "",
        _notes(outcome.verdict),
        f"Published as version {plain(outcome.version)}." if outcome.version else "",
        table(
            ("metric", "value"),
            [(plain(name), plain(formatting.number_text(value))) for name, value in metrics],
        ),
        f"[The run's page]({quote(outcome.link, safe=_OF_ADDRESSES)})" if outcome.link else "",
        f"<sub>commit {outcome.revision[:12]}</sub>",
    ]
    return "\n\n".join(filter(None, parts))


def plain(text: str) -> str:
    """Returns a text in one line that Markdown takes as it is."""
    return _SPECIAL.sub(r"\\\1", " ".join(_CONTROL.sub(" ", text).split()))


def _notes(verdict: Verdict | None) -> str:
    return "\n".join(f"- {plain(note)}" for note in formatting.comparison_notes(verdict)) if verdict else ""


def fenced(text: str) -> str:
    """Returns a block of code, which nothing in it can end."""
    text = _CONTROL.sub(" ", text)
    shown = text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}\n…"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{fence}text\n{shown.replace('<!--', '<! --').rstrip()}\n{fence}"


def _gate_table(record: RunRecord) -> str:
    rows = compared(record)[:_MOST_METRICS]
    champion = any(row.champion for row in rows)
    bounds = any(row.check for row in rows)
    headings = [
        "metric",
        "candidate",
        *(["champion", "change"] if champion else []),
        *(["gate"] if bounds else []),
    ]
    cells = []
    for row in rows:
        theirs = [row.champion.text if row.champion else "", row.difference] if champion else []
        check = row.check
        gate = f"{formatting.bounds_text(check)} {'✅' if check.passed else '❌'}" if check else ""
        value = f"{row.metric.text} ({row.metric.spread})" if row.metric.spread else row.metric.text
        cells.append([plain(row.metric.name), plain(value), *map(plain, theirs), *([gate] if bounds else [])])
    return table(headings, cells)


def _measured_table(record: RunRecord) -> str:
    rows = [
        (step.name, plain(metric.name), plain(metric.text))
        for step in record.steps.values()
        for metric in measured(step)
    ]
    return table(("step", "metric", "value"), rows[:_MOST_METRICS])


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; empty if it has no rows. What is in its cells is Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *rows)]
    return "\n".join(lines) if len(lines) > 2 else ""


def _notebooks(record: RunRecord, files: str) -> str:
    if not files:
        return ""
    steps = [f"[{step.name}]({files}/{step.html})" for step in record.steps.values() if step.html]
    page = f"[Run page]({files}/{PAGE})"
    return f"{page} · executed notebooks: {', '.join(steps)}" if steps else page


def _footer(record: RunRecord) -> str:
    environment = record.environment
    commit = f"commit {environment.revision[:12]}" if environment.revision else "no commit"
    changed = " with changes" if environment.dirty else ""
    given = [*record.settings, *record.override_files, *record.variables]
    settings = f" · {' '.join(map(plain, given))}" if given else ""
    seconds = formatting.seconds_text(record.seconds)
    return f"<sub>run {record.id} · {commit}{changed} · {seconds}{settings}</sub>"
