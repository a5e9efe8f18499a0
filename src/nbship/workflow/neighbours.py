"""What was changed for a run: against the run before it, and against the run that made the champion.

Only the record of a run that is here can be compared. Metrics are not told: the page has them elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from nbship import package
from nbship.errors import NbshipError
from nbship.pages.formatting import value_text
from nbship.pages.run_page import Neighbour, RunDifference, link_next
from nbship.record import PAGE, RunRecord, all_runs, read, run_folder
from nbship.versions import registry
from nbship.workflow.runs import Difference, compare

# In the order in which it is told: what a person changed comes first.
_KINDS = ("parameters", "code", "data", "steps", "environment")
_HASHES = ("data", "code")
_HASH = 12


def neighbours(root: Path, record: RunRecord) -> list[Neighbour]:
    """Returns the runs that a run is compared with, as far as they are here, with what differs.

    Args:
        root: The project's folder.
        record: The run.
    """
    before = next((run for run in all_runs(root, record.pipeline) if run.id < record.id), None)
    champion = _champion(root, record)
    found = []
    if before:
        made_champion = champion is not None and champion.id == before.id
        relation = "the run before, the champion's" if made_champion else "the run before"
        found.append(Neighbour(relation, before.id, tuple(_changes(before, record)), is_before=True))
    if champion and not (before and champion.id == before.id):
        found.append(Neighbour("the champion's run", champion.id, tuple(_changes(champion, record))))
    return found


def link_from_before(root: Path, record: RunRecord, others: Iterable[Neighbour]) -> None:
    """Lets the page of the run before lead to this one.

    Args:
        root: The project's folder.
        record: The run, whose page is there.
        others: Its neighbours.

    Raises:
        NbshipError: The page cannot be written.
    """
    for before in (other for other in others if other.is_before):
        link_next(run_folder(root, record.pipeline, before.run) / PAGE, record.id)


def _champion(root: Path, record: RunRecord) -> RunRecord | None:
    described = (
        package.find_package(registry.model_folder(root, record.pipeline)) if record.champion else None
    )
    if described is None or described.sha256 != record.champion:
        return None
    try:
        return read(run_folder(root, record.pipeline, described.origin.run))
    except NbshipError:
        return None  # it ran elsewhere


def _changes(other: RunRecord, record: RunRecord) -> Iterator[RunDifference]:
    told = [each for each in compare(other, record) if each.kind in _KINDS and each.name != "dirty"]
    for difference in sorted(told, key=lambda each: _KINDS.index(each.kind)):
        before, now = (_text(difference, value) for value in (difference.a, difference.b))
        yield RunDifference(difference.kind, difference.name, before, now)


def _text(difference: Difference, value: object) -> str:
    if value is None or value == "":
        return "—"
    text = value_text(value)
    return text[:_HASH] if difference.kind in _HASHES or difference.name in ("lock", "revision") else text
