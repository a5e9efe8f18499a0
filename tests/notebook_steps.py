"""Runs the project's own notebooks in tests as steps run them, and finds their data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nbship.config import load_pipeline
from nbship.errors import NbshipError
from nbship.local.artifacts import check_outputs
from nbship.local.execute import execute
from nbship.notebook import read_notebook
from nbship.workflow.data import ensure

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"


def run_notebook(
    name: str, folder: Path, values: Mapping[str, Any] | None = None
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Runs `notebooks/NAME.ipynb`; returns its output files, which lie in the folder, and its metrics."""
    notebook = read_notebook(NOTEBOOKS / f"{name}.ipynb")
    step = folder / Path(name).name
    paths = {key: step / Path(output.default).name for key, output in notebook.signature.outputs.items()}
    given = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in {**(values or {}), **paths}.items()
    }
    step.mkdir(parents=True, exist_ok=True)
    execute(notebook, given, folder / f"{step.name}.ipynb", kernel="nbship", folder=notebook.path.parent)
    return paths, check_outputs(notebook, paths)


def real_data(pipeline: str, name: str) -> Path:
    """Returns a data file of a pipeline; a test that needs one that cannot be had is skipped."""
    try:
        return ensure(ROOT, load_pipeline(ROOT, pipeline))[name]
    except NbshipError as error:
        pytest.skip(f"no real data: {error.message}")
