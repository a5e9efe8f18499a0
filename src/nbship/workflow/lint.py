"""Lints the project's notebooks, those of some pipelines, or some notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nbship.config import load_pipeline
from nbship.linting import LintFinding, check_notebook, fix_notebook
from nbship.project import NOTEBOOKS

_SUFFIX = ".ipynb"


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
    findings: tuple[LintFinding, ...]


def lint(root: Path, names: Sequence[str] = (), fix: bool = False) -> Linted:
    """Checks notebooks.

    Args:
        root: The project's folder.
        names: Pipelines, for their steps and the notebooks beside them, or notebooks; all if none.
        fix: Remove first what can be removed safely.

    Raises:
        UsageError: There is no such pipeline, or a file is no notebook.
        NbshipError: A notebook cannot be written.
    """
    files = [Path(name).absolute() for name in names if name.endswith(_SUFFIX)]
    pipelines = [name for name in names if not name.endswith(_SUFFIX)]
    paths = sorted({*files, *_of_pipelines(root, pipelines)}) if names else _under(root / NOTEBOOKS)
    shown = {p: p.relative_to(root).as_posix() if p.is_relative_to(root) else str(p) for p in paths}
    fixed = [name for path, name in shown.items() if fix and fix_notebook(path, name)]
    findings = [finding for path, name in shown.items() for finding in check_notebook(path, name)]
    return Linted(len(shown), tuple(fixed), tuple(findings))


def _of_pipelines(root: Path, pipelines: Sequence[str]) -> set[Path]:
    steps = {root / step.notebook for name in pipelines for step in load_pipeline(root, name).steps.values()}
    own = {path for name in pipelines for path in _under(root / NOTEBOOKS / name)}
    return steps | own


def _under(folder: Path) -> list[Path]:
    hidden = (
        path
        for path in folder.rglob("*.ipynb")
        if not any(p.startswith(".") for p in path.parts[len(folder.parts) :])
    )
    return sorted(hidden)
