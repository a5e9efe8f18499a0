"""Decides from what was found of a window whether it is quiet, wants a look, or wants something done.

Pure and small: findings with their p-values and effects in, a decision out. How they were found is the
business of the modules beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

State = Literal["too few", "quiet", "look", "act"]
Kind = Literal["distribution", "missing", "range", "new words", "joint", "prediction"]

# Chance of a false `act`, and of a false `look`, that a window without drift has, over all that is tested.
ACT_LEVEL, LOOK_LEVEL = 0.01, 0.05
# Evidence against the promise, as a betting score: 1 / score is what a p-value at any time would be.
BROKEN, DOUBTFUL = 1 / ACT_LEVEL, 1 / LOOK_LEVEL
# Below this, a window is not judged by its columns.
FEWEST_ROWS = 20
# How large an effect must be to ask for more than a look; each is between 0 and 1.
RELEVANT: dict[Kind, float] = {
    "distribution": 0.2,  # share of rows that would have to move
    "missing": 0.1,  # difference of shares of rows
    "range": 0.1,
    "new words": 0.1,
    "joint": 0.3,  # 2 AUC - 1: an AUC of .65
    "prediction": 0.2,
}


@dataclass(frozen=True)
class Finding:
    """One thing that was tested.

    Attributes:
        kind: What of it.
        about: The column; empty for all together, and for predictions.
        p: Chance of so much where nothing changed.
        effect: How much changed, from 0 to 1; see `RELEVANT`.
        text: The effect in words.
        adjusted: The p-value for all tests of the window together, by Holm; 1 until that is known.
    """

    kind: Kind
    about: str
    p: float
    effect: float
    text: str
    adjusted: float = 1.0

    @property
    def state(self) -> State:
        """What this alone asks for."""
        if self.adjusted <= ACT_LEVEL and self.effect >= RELEVANT[self.kind]:
            return "act"
        return "look" if self.adjusted <= LOOK_LEVEL else "quiet"

    def __str__(self) -> str:
        subject = f"{self.about}: " if self.about else "answers: " if self.kind == "prediction" else ""
        return f"{subject}{self.text} ({p_text(self.adjusted)})"


@dataclass(frozen=True)
class Promise:
    """What labels say of what the gate promised.

    Attributes:
        evidence: Against it, as a betting score that may be looked at every day; see `sequential`.
        text: What was promised and what came, in words.
        doubts: What else labels say in this window that wants a look.
    """

    evidence: float = 0.0
    text: str = ""
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class WindowDecision:
    """What is to be done about a window, and why.

    Attributes:
        state: `act` where a change is both shown and large, or a promise broken.
        reasons: What decided it; never empty.
    """

    state: State
    reasons: tuple[str, ...]


def adjust(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Returns findings with p-values for all of them together, the most certain first.

    Holm's step-down procedure (A Simple Sequentially Rejective Multiple Test Procedure, 1979): whatever the
    tests have to do with each other, the chance of any false finding is at most the level.
    """
    ordered = sorted(findings, key=lambda each: (each.p, -each.effect, each.kind, each.about))
    adjusted, highest = [], 0.0
    for place, finding in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - place) * finding.p))
        adjusted.append(replace(finding, adjusted=highest))
    return tuple(adjusted)


def decide(rows: int, findings: Iterable[Finding], promise: Promise | None = None) -> WindowDecision:
    """Decides what a window asks for.

    Args:
        rows: Of the window.
        findings: Adjusted.
        promise: What labels say; None where there are none.
    """
    promise = promise or Promise()
    judged = list(findings) if rows >= FEWEST_ROWS else []
    if promise.evidence >= BROKEN:
        told = [str(each) for each in judged if each.state == "act"]
        return WindowDecision("act", (promise.text, *told))
    for state in ("act", "look"):
        reasons = [str(each) for each in judged if each.state == state]
        if state == "look":
            reasons += [promise.text] if promise.evidence >= DOUBTFUL else []
            reasons += promise.doubts
        if reasons:
            return WindowDecision("act" if state == "act" else "look", tuple(reasons))
    if rows < FEWEST_ROWS:
        few = f"{rows} record{'' if rows == 1 else 's'}: too few to judge, which takes {FEWEST_ROWS}"
        return WindowDecision("too few", (few,))
    return WindowDecision("quiet", ("no test finds a difference from the reference",))


def p_text(p: float) -> str:
    """Returns a p-value as people read it."""
    return "p < .0001" if p < 0.0001 else f"p = {p:.2g}".replace("0.", ".") if p < 1 else "p = 1"
