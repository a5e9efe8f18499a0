"""The explorations as committed: run in order, with plots, on the rows that their pipelines learn from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
import sklearn.datasets
from tests.notebook_steps import NOTEBOOKS, real_data, run_notebook

EXPERIMENTS = ["auto-mpg", "churn", "fashion-mnist", "iris"]


def cells(name: str) -> list[dict[str, Any]]:
    notebook = json.loads((NOTEBOOKS / name / "experiment.ipynb").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = notebook["cells"]
    return found


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_experiment_is_committed_with_what_it_showed(name: str) -> None:
    code = [cell for cell in cells(name) if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert not [
        output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"
    ]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_experiment_needs_the_table_alone(name: str) -> None:
    assert "nbship" not in "".join(
        "".join(cell["source"]) for cell in cells(name) if cell["cell_type"] == "code"
    )


def rows_of(name: str, table: Path, folder: Path, keep: str) -> Path:
    """Runs an exploration until its data are loaded, and one more line; returns where that line writes to."""
    notebook = nbformat.read(NOTEBOOKS / name / "experiment.ipynb", as_version=4)
    last = [cell.id for cell in notebook.cells].index("load") + 1
    kept = folder / "kept"
    notebook.cells = [*notebook.cells[:last], nbformat.v4.new_code_cell(keep.format(kept=str(kept)))]
    nbformat.write(notebook, folder / "until-load.ipynb")
    given = {"images" if name == "fashion-mnist" else "table": str(table)}
    papermill.execute_notebook(
        folder / "until-load.ipynb",
        folder / "executed.ipynb",
        given,
        engine_name="nbship",
        kernel_name="nbship",
        progress_bar=False,
    )
    return kept


@pytest.mark.parametrize(
    ("name", "rows"), [("auto-mpg", "cars"), ("churn", "customers"), ("iris", "flowers")]
)
def test_the_experiment_sets_the_same_rows_aside(name: str, rows: str, tmp_path: Path) -> None:
    iris = Path(sklearn.datasets.__file__).parent / "data" / "iris.csv"
    table = iris if name == "iris" else real_data(name, "table")
    learnt = pd.read_csv(run_notebook(f"{name}/prepare", tmp_path, {"table": table})[0]["train_set"])
    seen = pd.read_csv(rows_of(name, table, tmp_path, f"{rows}.to_csv({{kept!r}}, index=False)"))
    pd.testing.assert_frame_equal(seen[list(learnt)], learnt, check_dtype=False)


def test_the_experiment_sets_the_same_images_aside(tmp_path: Path) -> None:
    images = real_data("fashion-mnist", "images")
    learnt = np.load(run_notebook("fashion-mnist/prepare", tmp_path, {"images": images})[0]["train_set"])
    kept = rows_of("fashion-mnist", images, tmp_path, "np.save({kept!r}, image)")
    assert (np.load(f"{kept}.npy") == learnt["image"]).all()
