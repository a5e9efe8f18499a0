"""What the gate must know beside losses: which held-out rows a model has seen, what was tried on them.

For runs on this machine and on Kubeflow alike; the decision itself is the gate's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from nbship.config import Gate
from nbship.errors import NbshipError
from nbship.gate import Known, Losses, Verdict, judge, read_losses, read_refits
from nbship.package import Package, trained


@dataclass(frozen=True)
class Evidence:
    """What a run has to show of its model.

    Attributes:
        losses: The candidate's losses on the held-out rows.
        champion_losses: The champion's; None where there is no champion.
        refits: The losses of both, fitted again; None where they were not.
        held_out: The held-out rows, in the order of the losses; None if the pipeline does not say.
        reference: The rows that the candidate was trained on; None if the pipeline does not say.
        target: The column that it predicts.
        champion_rows: Hashes of the rows that the champion was trained on; None if it was published without.
        champion: The champion's description; None if it has none.
        tried: How many other models were tried here on these held-out rows since the champion was published.
    """

    losses: Path
    champion_losses: Path | None = None
    refits: Path | None = None
    held_out: Path | None = None
    reference: Path | None = None
    target: str = ""
    champion_rows: Path | None = None
    champion: Package | None = None
    tried: int = 0


def decide(gate: Gate, metrics: dict[str, float], evidence: Evidence) -> Verdict:
    """Judges a run's model.

    Raises:
        UsageError: A threshold names a metric that was not measured.
        NbshipError: A file cannot be read, or the two losses are not of the same rows.
    """
    candidate = read_losses(evidence.losses)
    if evidence.champion_losses is None:
        return judge(gate, metrics, candidate, known=Known(notes=_own_rows(evidence)))
    champion = read_losses(evidence.champion_losses)
    refits = read_refits(evidence.refits) if evidence.refits else None
    seen, notes = _seen(evidence, list(candidate))
    before = evidence.champion.verdict if evidence.champion else None
    held_out_set = held_out_hash(candidate)
    tries = before.tries if before and before.held_out_set == held_out_set else 0
    known = Known(
        seen=seen,
        above_best=before.above_best if before else 0.0,
        tries=tries + evidence.tried + 1,
        held_out_set=held_out_set,
        notes=(*notes, *_own_rows(evidence)),
    )
    return judge(gate, metrics, candidate, champion, refits, known)


def held_out_hash(losses: Losses) -> str:
    """Returns what tells a set of held-out rows from any other, in whatever order they are."""
    return hashlib.sha256("\n".join(sorted(losses)).encode()).hexdigest()[:16]


def _seen(evidence: Evidence, rows: list[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """The held-out rows that the champion was trained on and the candidate was not; and what is to be told.

    A row that both were trained on, or one with the same inputs, is no advantage of the champion.
    """
    if not evidence.champion_rows or not evidence.held_out or not evidence.reference:
        return frozenset(), ("which of the held-out rows the champion was trained on is not known",)
    champion = trained.read_trained_rows(evidence.champion_rows)
    for table in (evidence.held_out, evidence.reference):
        missing = set(champion.columns) - set(trained.columns_of(table))
        if missing:
            told = f"the table has no column '{min(missing)}' by which its training rows are known"
            return frozenset(), (
                f"which of the held-out rows the champion was trained on is not known: {told}",
            )
    held_out = trained.hash_rows(evidence.held_out, champion.columns).hashes
    if len(held_out) != len(rows):
        told = f"{len(rows):,} losses, {len(held_out):,} held-out rows"
        return frozenset(), (f"which of the held-out rows the champion was trained on is not known: {told}",)
    only_champion = set(champion.hashes) - set(trained.hash_rows(evidence.reference, champion.columns).hashes)
    return frozenset(row for row, known in zip(rows, held_out, strict=True) if known in only_champion), ()


def _own_rows(evidence: Evidence) -> tuple[str, ...]:
    """Tells of held-out rows that the candidate was trained on, on which it seems better than it is."""
    if not evidence.held_out or not evidence.reference:
        return ()
    try:
        there = [
            set(trained.columns_of(path)) - {evidence.target}
            for path in (evidence.held_out, evidence.reference)
        ]
    except NbshipError:
        return ()
    columns = there[0] & there[1]
    if not columns:
        return ()
    known = set(trained.hash_rows(evidence.reference, columns).hashes)
    held_out = trained.hash_rows(evidence.held_out, columns).hashes
    count = sum(row in known for row in held_out)
    if not count:
        return ()
    rows = f"{count:,} of {len(held_out):,} held-out rows"
    return (
        f"{rows} have the same inputs as a row that the model was trained on: it seems better than it is",
    )
