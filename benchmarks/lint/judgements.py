"""What was judged of each finding, and the share that is true of each rule."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbship.linting import LintFinding

FILE = Path(__file__).parent / "judgements.csv"
BEGIN = "<!-- lint: written by python -m benchmarks.lint -->"
END = "<!-- end of lint -->"
Key = tuple[str, int, int, str]


@dataclass(frozen=True)
class Precision:
    """Of one rule.

    Attributes:
        rule: The rule.
        true: Findings that would bite.
        false: Findings that would not.
        open: Findings that were not judged.
    """

    rule: str
    true: int
    false: int
    open: int

    @property
    def share(self) -> float:
        """The share of true findings among those that were judged; nan if none was."""
        return self.true / (self.true + self.false) if self.true + self.false else math.nan


def read_judgements() -> dict[Key, bool]:
    """Returns what is committed, by notebook, cell, line and rule."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return {
            (row["notebook"], int(row["cell"]), int(row["line"]), row["rule"]): row["bites"] == "yes"
            for row in csv.DictReader(file)
        }


def precision(findings: Iterable[LintFinding], judged: dict[Key, bool]) -> list[Precision]:
    """Counts findings by rule and judgement."""
    counts: Counter[tuple[str, bool | None]] = Counter()
    for finding in findings:
        counts[finding.rule, judged.get((finding.file, finding.cell, finding.line, finding.rule))] += 1
    rules = sorted({rule for rule, _ in counts})
    return [Precision(r, counts[r, True], counts[r, False], counts[r, None]) for r in rules]


def table(found: Sequence[Precision]) -> str:
    """Returns the precision of each rule as a Markdown table."""
    rows = [
        f"| `{p.rule}` | {p.true + p.false + p.open} | {p.true} | {p.false} | {p.share:.2f} |" for p in found
    ]
    return "\n".join(["| rule | findings | true | false | precision |", "|---|--:|--:|--:|--:|", *rows])


def update(readme: str, found: Sequence[Precision]) -> str:
    """Returns the text of README.md with the table between the markers."""
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{table(found)}\n\n{END}{tail}"
