"""Checks one notebook by all rules, less what its author silenced."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nbship.linting.cells import Source, read_source
from nbship.linting.files import absolute_paths, undeclared_inputs, unused_variables
from nbship.linting.finding import Finding
from nbship.linting.leftovers import leftovers, outputs
from nbship.linting.names import hidden_state
from nbship.linting.randomness import unseeded
from nbship.linting.secrets import secrets

_IGNORE = re.compile(r"nbship: ignore\[([\w, -]+)\]")


def check_notebook(path: Path, name: str = "") -> list[Finding]:
    """Returns what will bite later, in the order of the notebook.

    `# nbship: ignore[rule]` at the end of a line silences a rule for that line; alone in a cell's first line,
    for all of the cell.

    Args:
        path: The notebook.
        name: What to call it; the path if empty.

    Raises:
        UsageError: It is missing, or no notebook.
    """
    notebook = read_source(path, name or str(path))
    rules = (
        *(absolute_paths, hidden_state, leftovers, outputs, secrets),
        *(syntax, undeclared_inputs, unseeded, unused_variables),
    )
    found = {finding for rule in rules for finding in rule(notebook)}
    return sorted(finding for finding in found if not _is_silenced(notebook, finding))


def syntax(notebook: Source) -> Iterator[Finding]:
    """Finds cells that are no Python."""
    for cell in notebook.code:
        if isinstance(cell.parsed, SyntaxError) and not cell.source.startswith("%%"):
            message = cell.parsed.msg or "invalid syntax"
            yield Finding(notebook.name, cell.number, cell.parsed.lineno or 0, "syntax", message)


def _is_silenced(notebook: Source, finding: Finding) -> bool:
    if not finding.cell:
        return False
    lines = notebook.cells[finding.cell - 1].source.splitlines()
    places = lines[:1] if not finding.line or lines[0].lstrip().startswith("#") else []
    places += lines[finding.line - 1 : finding.line] if finding.line else []
    rules = ",".join(found for place in places for found in _IGNORE.findall(place))
    return finding.rule in {rule.strip() for rule in rules.split(",")}
