"""Notebooks to lint, from the text of their cells."""

from __future__ import annotations

from pathlib import Path

from nbship.linting import LintFinding, check_notebook
from nbship.templates.render import notebook_text


def write_cells(path: Path, *cells: str, parameters: str = "") -> Path:
    """Writes a notebook of code cells; with parameters, it is a step."""
    texts = [f"# %% [parameters] parameters\n{parameters}"] if parameters else []
    texts += [f"# %% cell-{number}\n{source}" for number, source in enumerate(cells, start=1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(notebook_text("\n".join(texts)), encoding="utf-8")
    return path


def findings(folder: Path, *cells: str, parameters: str = "") -> list[LintFinding]:
    """Lints a notebook of code cells."""
    return check_notebook(write_cells(folder / "a.ipynb", *cells, parameters=parameters), "a.ipynb")


def rules(folder: Path, *cells: str, parameters: str = "") -> list[str]:
    """The rules that a notebook breaks, in the order of its lines."""
    return [finding.rule for finding in findings(folder, *cells, parameters=parameters)]
