"""A run told in words: its outcome and why, what to type next, numbers and durations as people read them.

One wording for the run page and the terminal. Decides nothing: the verdict is the gate's.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nbship.gate import Check, Comparison, Verdict, percent_text, share_text
from nbship.record import RunRecord, State

# How a record tells an override file, and a variable whose value it does not have, from a setting.
_ROUNDING = 1e-9
_FINISHED = (State.DONE, State.CACHED)


class Tone(StrEnum):
    """How an outcome is to be taken, which decides its colour and sign."""

    GOOD = "good"
    BAD = "bad"
    WARNING = "warning"
    NEUTRAL = "neutral"


@dataclass(frozen=True)
class RunSummary:
    """How a run ended.

    Attributes:
        tone: How it is to be taken.
        title: In a few words.
        reasons: What decided it, a sentence each.
    """

    tone: Tone
    title: str
    reasons: tuple[str, ...] = ()


def outcome(record: RunRecord) -> RunSummary:
    """Returns how a run ended and why."""
    done = sum(step.state in _FINISHED for step in record.steps.values())
    progress = f"{done} of {counted(len(record.steps), 'step')} finished."
    if record.state is State.FAILED:
        failed = [step for step in record.steps.values() if step.state is State.FAILED]
        told = [step.error for step in failed if step.error] or [record.error]
        reasons = [f"{text.splitlines()[0].rstrip('.')}." for text in told if text.strip()]
        where = f" in {', '.join(step.name for step in failed)}" if failed else ""
        return RunSummary(Tone.BAD, f"Failed{where}", (*reasons, progress))
    if record.state is State.INTERRUPTED:
        return RunSummary(Tone.WARNING, "Interrupted", (progress, "What was finished is kept in the cache."))
    if record.state in (State.RUNNING, State.WAITING):
        return RunSummary(Tone.NEUTRAL, "Running", (progress,))
    if record.verdict:
        return _judged(record.verdict, record)
    if record.gate:
        return RunSummary(Tone.NEUTRAL, "Done", ("The gate was not asked.",))
    return RunSummary(Tone.NEUTRAL, "Done", ("This pipeline has no gate.",))


def next_commands(record: RunRecord) -> list[tuple[str, str]]:
    """Returns what one may want to type next: a command and what it is for, the likeliest first."""
    name = record.pipeline
    if record.state in (State.FAILED, State.INTERRUPTED):
        what = "Correct the notebook, then go on" if record.state is State.FAILED else "Go on"
        return [
            (repeat_command(record), f"{what}: finished steps come from the cache{_with_variables(record)}")
        ]
    commands = [(repeat_command(record), f"Run it again with the same settings{_with_variables(record)}")]
    if record.synthetic:
        commands.insert(0, (f"nbship run {name}", "Run it on the real data"))
    elif record.verdict and record.verdict.passed:
        commands.insert(0, (f"nbship publish {name}", "Publish this model as the new champion"))
    return [*commands, (f"nbship runs compare previous {record.id}", "See what changed since the run before")]


def repeat_command(record: RunRecord) -> str:
    """Returns the command that repeats a run, ready for a shell that has the variables of that run."""
    options = []
    for setting in record.settings:
        options += ["--set", setting]
    for file in record.override_files:
        options += ["--config-override", file]
    if record.synthetic:
        options.append("--sample")
    return shlex.join(["nbship", "run", record.pipeline, *options])


def _with_variables(record: RunRecord) -> str:
    """Which variables a command needs that repeats a run; a value may be a secret, so no record has it."""
    return f", with {' and '.join(record.variables)} set as before" if record.variables else ""


def synthetic_text(record: RunRecord) -> str:
    """Returns what is to be known of a run on synthetic data; empty for one on real data."""
    if not record.synthetic:
        return ""
    return f"a sample stands in for {', '.join(record.synthetic)}; the figures say nothing of the real data"


def bounds_text(check: Check) -> str:
    """Returns the bounds of a threshold: `at most 3.2`."""
    bounds = []
    if check.min is not None:
        bounds.append(f"at least {check.min:g}")
    if check.max is not None:
        bounds.append(f"at most {check.max:g}")
    return " and ".join(bounds)


def number_text(value: Any) -> str:
    """Returns a metric as people read it: four significant digits, thousands apart."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "not a number" if math.isnan(value) else "infinite"
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return value_text(value)


def metrics_text(values: Mapping[str, Any]) -> str:
    """Returns the numbers among metrics, with their intervals where there are `x_low` and `x_high`."""
    parts = []
    for name, value in values.items():
        if name.endswith(("_low", "_high")) or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        low, high = values.get(f"{name}_low"), values.get(f"{name}_high")
        interval = f" ({low:.4g} to {high:.4g})" if low is not None and high is not None else ""
        parts.append(f"{name} {value:.4g}{interval}")
    return ", ".join(parts)


def change_text(new: float, old: float) -> str:
    """Returns how a value changed: as a share of the old one, or as it is where that was zero."""
    if new == old:
        return "same"
    if old and math.isfinite(old) and math.isfinite(new):
        return percent_text((new - old) / abs(old))
    return number_text(new - old)


def seconds_text(seconds: float) -> str:
    """Returns a duration as people say it: 0.42 s, 12.3 s, 2 min 5 s, 1 h 10 min."""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def about_text(seconds: float) -> str:
    """Returns an estimated duration, no finer than it can be known: 40 s, 3 min."""
    if seconds < 60:
        step = 1 if seconds < 10 else 10
        return f"{max(round(seconds / step) * step, 1)} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def age_text(seconds: float) -> str:
    """Returns how long ago something was: just now, 5 min ago, 3 h ago, 12 d ago."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def value_text(value: Any) -> str:
    """Returns a parameter exactly as it is: text bare, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def counted(count: int, noun: str) -> str:
    """Returns a number with its noun, in the plural where it is due."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def comparison_notes(verdict: Verdict) -> list[str]:
    """Returns what is to be known of the comparison with the champion beside its result, a sentence each."""
    told = [_sentence(note) for note in verdict.notes]
    comparison = verdict.comparison
    if comparison and comparison.tried:
        told.insert(0, _sentence(comparison.tried))
    # Where it is a reason to reject the model, it has been told.
    if verdict.held_out and verdict.held_out.low <= verdict.held_out.tolerance:
        beside = verdict.held_out
        told.append(
            f"On {counted(beside.rows, 'held-out row')} alone, the mean loss differs by "
            f"{percent_text(beside.difference)} ({percent_text(beside.low)} to {percent_text(beside.high)})."
        )
    here = max(comparison.difference, 0.0) if comparison else 0.0
    if verdict.above_best > here + _ROUNDING:
        above = _size(verdict.above_best)
        told.append(f"Its mean loss is {above} above that of the best model before it: small losses add up.")
    return told


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _judged(verdict: Verdict, record: RunRecord) -> RunSummary:
    compared = [_compared(verdict.comparison, record)] if verdict.comparison else []
    if not verdict.passed:
        missed = [
            f"{check.metric} is {number_text(check.value)}; the gate asks for {bounds_text(check)}."
            for check in verdict.checks
            if not check.passed
        ]
        others = map(_sentence, verdict.objections)
        stays = ["The champion stays."] if record.champion else []
        return RunSummary(Tone.BAD, "Rejected by the gate", (*missed, *compared, *others, *stays))
    kept = ", ".join(f"{c.metric} is {number_text(c.value)} ({bounds_text(c)})" for c in verdict.checks)
    held = [f"{kept}."] if kept else []
    if verdict.comparison:
        title = f"Passed: {verdict.comparison.outcome} than the champion"
        return RunSummary(Tone.GOOD, title, (*compared, *held))
    if record.synthetic:
        return RunSummary(Tone.GOOD, "Passed on synthetic data", tuple(held))
    if record.champion:
        alone = "Too few held-out rows are left to compare on: only the thresholds were applied."
        return RunSummary(Tone.GOOD, "Passed: only the thresholds were applied", (alone, *held))
    first = "There is no champion yet: only the thresholds were applied."
    return RunSummary(Tone.GOOD, "Passed: the first model", (first, *held))


def _compared(compared: Comparison, record: RunRecord) -> str:
    confidence = f"{100 * compared.confidence:g}\N{NO-BREAK SPACE}%"
    ends = f"{percent_text(compared.low)} to {percent_text(compared.high)}"
    interval = f"{confidence} interval {ends}, {_basis(compared)}"
    difference = compared.difference
    direction = "lower than" if difference < 0 else "higher than"
    size = f"{_size(difference)} {direction}" if difference else "equal to"
    loss = "mean loss of its recipe" if compared.folds else "mean loss"
    sentence = f"The {loss} is {size} the champion's ({interval})"
    if compared.outcome == "better":
        return f"{sentence}."
    if record.gate and record.gate.require == "better":
        return f"{sentence}; the gate asks for a model that is shown to be better."
    allowed = _size(compared.tolerance)
    said = "a rise within the tolerance of {} counts as no worse"
    if compared.outcome == "worse":
        said = "the interval does not stay within the tolerance of {}"
    return f"{sentence}; {said.format(allowed)}.{_chance(compared)}"


def _basis(compared: Comparison) -> str:
    if compared.folds:
        return f"{compared.folds} refits of both on {counted(compared.rows, 'row')}"
    return f"on {counted(compared.rows, 'held-out row')}"


def _chance(compared: Comparison) -> str:
    if compared.power is None:
        return ""
    return (
        f" A model that is as good as the champion would pass with probability {share_text(compared.power)}."
    )


def _size(share: float) -> str:
    return percent_text(abs(share)).lstrip("+")
