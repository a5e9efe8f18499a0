"""Lints the project's notebooks, or those of some pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nbship.config import load_pipeline
from nbship.linting import Finding, check_notebook, fix_notebook

NOTEBOOKS = "notebooks"


@dataclass(frozen=True)
class Linted:
    """What was found.

    Attributes:
        notebooks: How many were looked at.
        fixed: Those that were changed, from the project's folder.
        findings: What is left.
    """

    notebooks: int
    fixed: tuple[str, ...]
    findings: tuple[Finding, ...]


def lint(root: Path, pipelines: Sequence[str] = (), fix: bool = False) -> Linted:
    """Checks notebooks.

    Args:
        root: The project's folder.
        pipelines: Whose steps, with the notebooks beside them; all notebooks of the project if none.
        fix: Remove first what can be removed safely.

    Raises:
        UsageError: There is no such pipeline, or a file is no notebook.
        NbshipError: A notebook cannot be written.
    """
    paths = _of_pipelines(root, pipelines) if pipelines else _under(root / NOTEBOOKS)
    names = {path: path.relative_to(root).as_posix() for path in paths}
    fixed = [name for path, name in names.items() if fix and fix_notebook(path, name)]
    findings = [finding for path, name in names.items() for finding in check_notebook(path, name)]
    return Linted(len(names), tuple(fixed), tuple(findings))


def _of_pipelines(root: Path, pipelines: Sequence[str]) -> list[Path]:
    steps = {root / step.notebook for name in pipelines for step in load_pipeline(root, name).steps.values()}
    own = {path for name in pipelines for path in _under(root / NOTEBOOKS / name)}
    return sorted(steps | own)


def _under(folder: Path) -> list[Path]:
    hidden = (
        path
        for path in folder.rglob("*.ipynb")
        if not any(p.startswith(".") for p in path.parts[len(folder.parts) :])
    )
    return sorted(hidden)
