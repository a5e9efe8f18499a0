"""Checks that committed notebooks are clean: no outputs except where they are the point, stable cell ids.

usage: python scripts/check_notebooks.py [--fix]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
KEEPS_OUTPUTS = "experiment.ipynb"
CELL_METADATA = {"tags", "editable", "slideshow"}


def problems(path: Path, notebook: dict) -> list[str]:
    """Returns what a reviewer would have to ask for."""
    found = []
    if (notebook["nbformat"], notebook["nbformat_minor"]) < (4, 5):
        found.append("has no cell ids: save it in a current Jupyter")
    ids = [cell.get("id") for cell in notebook["cells"]]
    if len(set(ids)) < len(ids):
        found.append("has two cells with the same id")
    if set(notebook["metadata"]) - {"kernelspec", "language_info"}:
        found.append("has metadata of an editor")
    for number, cell in enumerate(notebook["cells"], start=1):
        if set(cell["metadata"]) - CELL_METADATA:
            found.append(f"cell {number} has metadata of an editor")
        ran = cell["cell_type"] == "code" and (cell["outputs"] or cell["execution_count"] is not None)
        if ran and path.name != KEEPS_OUTPUTS:
            found.append(f"cell {number} has outputs")
    return found


def clean(path: Path, notebook: dict) -> None:
    """Removes outputs and editors' metadata, in place."""
    kept = {key: value for key, value in notebook["metadata"].items() if key == "kernelspec"}
    notebook["metadata"] = {**kept, "language_info": {"name": "python"}}
    for cell in notebook["cells"]:
        cell["metadata"] = {key: value for key, value in cell["metadata"].items() if key in CELL_METADATA}
        if cell["cell_type"] == "code" and path.name != KEEPS_OUTPUTS:
            cell["outputs"], cell["execution_count"] = [], None
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> int:
    """Prints every problem; returns the exit code."""
    bad = 0
    for path in sorted(NOTEBOOKS.rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        notebook = json.loads(path.read_text(encoding="utf-8"))
        found = problems(path, notebook)
        if found and "--fix" in sys.argv:
            clean(path, notebook)
            found = problems(path, notebook)
        for problem in found:
            print(f"error: {path.relative_to(NOTEBOOKS.parent)}: {problem}")
        bad += len(found)
    if bad:
        print("hint:  make format")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
