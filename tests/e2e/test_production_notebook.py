"""The notebook that shows a pipeline, executed as papermill's users do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import papermill
import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parent.parent.parent
NOTEBOOK = "notebooks/production-pipeline.ipynb"
NOT_COPIED = shutil.ignore_patterns("build", ".ipynb_checkpoints", "tmp", "cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the project, for a run writes beside the notebooks."""
    copy = tmp_path / "project"
    for folder in ("notebooks", "pipelines", ".dvc"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=NOT_COPIED)
    for name in (".dvcignore", "data.csv.dvc", "requirements.lock"):
        shutil.copy(ROOT / name, copy)
    return copy


def execute(root: Path, **parameters: Any) -> str:
    """Executes the notebook; returns all that its cells show, as text."""
    executed = root.parent / "executed.ipynb"
    papermill.execute_notebook(
        root / NOTEBOOK,
        executed,
        parameters=parameters,
        cwd=root / "notebooks",
        kernel_name="python3",
        progress_bar=False,
    )
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    shown = [output["data"] for cell in cells for output in cell.get("outputs", ()) if "data" in output]
    return "\n".join("".join(text) for data in shown for text in data.values())


def test_it_needs_one_import() -> None:
    code = json.loads((ROOT / NOTEBOOK).read_text(encoding="utf-8"))["cells"]
    lines = "".join(
        "".join(cell["source"]) + "\n" for cell in code if cell["cell_type"] == "code"
    ).splitlines()
    assert [line for line in lines if "import" in line.split()] == ["import nbship"]


def test_it_shows_graph_signatures_and_what_kubeflow_sees_and_writes_nothing(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    shown = execute(root)
    assert "The pipeline auto-mpg" in shown
    assert all(f"<h3>{step}</h3>" in shown for step in ("prepare", "train", "evaluate"))
    assert "share of rows held out, between 0 and 1" in shown
    assert "from prepare.train_set" in shown
    assert "pipelines/compiled/auto-mpg.yaml" in shown
    assert "resolve" in shown
    assert "train_gamma" in shown
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_it_says_that_the_compiled_file_is_stale_and_writes_it_when_asked(root: Path) -> None:
    compiled = root / "pipelines/compiled/auto-mpg.yaml"
    compiled.unlink()
    assert "is not current (it is missing)" in execute(root)
    assert not compiled.exists()
    assert "was not current (it is missing)" in execute(root, write_it=True)
    committed = ROOT / "pipelines/compiled/auto-mpg.yaml"
    assert compiled.read_text(encoding="utf-8") == committed.read_text(encoding="utf-8")


def test_it_runs_the_pipeline(root: Path) -> None:
    if (ROOT / "data.csv").exists():
        shutil.copy(ROOT / "data.csv", root)
    shown = execute(root, run_it=True)
    (run,) = (root / "runs/auto-mpg").iterdir()
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert record["state"] == "done"
    assert f'href="../runs/auto-mpg/{run.name}/index.html"' in shown
    assert "Passed: the first model" in shown
    assert "There is no champion yet: only the thresholds were applied." in shown
    assert f"{record['steps']['evaluate']['metrics']['rmse']:.4g}" in shown
