"""Checks one notebook by all rules, less what its author silenced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nbship.linting.cells import Source, read_source
from nbship.linting.environment import installs, missing_modules, working_directory
from nbship.linting.files import absolute_paths, undeclared_files
from nbship.linting.finding import LintFinding
from nbship.linting.leftovers import leftovers, outputs
from nbship.linting.names import hidden_state
from nbship.linting.randomness import unseeded
from nbship.linting.secrets import secrets
from nbship.linting.signature import unused_variables

_RULES = (
    *(absolute_paths, hidden_state, installs, leftovers, missing_modules, outputs, secrets),
    *(undeclared_files, unseeded, unused_variables, working_directory),
)


def check_notebook(path: Path, name: str = "") -> list[LintFinding]:
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
    found = {finding for rule in (syntax, *_RULES) for finding in rule(notebook)}
    return sorted(finding for finding in found if not _is_silenced(notebook, finding))


def syntax(notebook: Source) -> Iterator[LintFinding]:
    """Finds cells that are no Python."""
    for cell in notebook.code:
        if isinstance(cell.parsed, SyntaxError):
            message = cell.parsed.msg or "invalid syntax"
            yield LintFinding(notebook.name, cell.number, cell.parsed.lineno or 0, "syntax", message)


def _is_silenced(notebook: Source, finding: LintFinding) -> bool:
    cell = notebook.cells[finding.cell - 1] if finding.cell else None
    return cell is not None and cell.silences(finding.rule, finding.line)
