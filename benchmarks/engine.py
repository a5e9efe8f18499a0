"""The engine's own share: many notebooks that do next to nothing, in a chain and in a fan."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.results import Share
from benchmarks.workspace import Workspace, program

# Runs inside one process, and times only the executions.
_PAPERMILL_LOOP = """\
import sys, time, papermill
started = time.perf_counter()
for name in sys.argv[1:]:
    papermill.execute_notebook(
        name, "executed.ipynb", kernel_name="python3", progress_bar=False, cwd="notebooks/chain"
    )
open("seconds", "w").write(str(time.perf_counter() - started))
"""


def measure(space: Workspace, steps: int, sample: int, report: Callable[[str], None]) -> list[Share]:
    """Runs a chain and a fan of trivial steps with nbship, and some of them with papermill's function.

    Args:
        space: Where.
        steps: Steps of the chain and of the fan.
        sample: How many of them papermill runs, for it takes longer.
        report: Told in a line what was measured.
    """
    folder = write_project(space.folder / "engine", steps)
    shares = []
    for name in ("chain", "fan"):
        for option, words in (("--force", "every step runs"), ("--jobs=2", "nothing changed")):
            seconds = space.seconds([program("nbship"), "run", name, option], folder)
            shares.append(Share(name=f"nbship, {name}, {words}", steps=steps, seconds=round(seconds, 3)))
            report(f"{shares[-1].name}: {seconds:.1f} s")
    notebooks = [str(path) for path in sorted((folder / "notebooks/chain").glob("*.ipynb"))[:sample]]
    space.seconds([sys.executable, "-c", _PAPERMILL_LOOP, *notebooks], folder)
    seconds = float((folder / "seconds").read_text())
    shares.append(Share(name="papermill.execute_notebook in a loop", steps=sample, seconds=round(seconds, 3)))
    report(f"{shares[-1].name}: {seconds:.1f} s")
    return shares


def write_project(folder: Path, steps: int) -> Path:
    """Writes a project with the pipelines `chain`, where each step reads the one before, and `fan`."""
    (folder / "pipelines").mkdir(parents=True)
    (folder / "start.txt").write_text("0", encoding="utf-8")
    for name in ("chain", "fan"):
        lines = {f"step-{n:03}": _step(folder, name, n) for n in range(steps)}
        pipeline = {"name": name, "data": {"start": {"path": "start.txt"}}, "steps": lines}
        # JSON is YAML.
        (folder / f"pipelines/{name}.yaml").write_text(json.dumps(pipeline), encoding="utf-8")
    return folder


def _step(folder: Path, pipeline: str, number: int) -> dict[str, Any]:
    notebook = f"notebooks/{pipeline}/step-{number:03}.ipynb"
    parameters = (
        'before: "Input[Artifact]" = "../../start.txt"  # a number\n'
        f'after: "Output[Artifact]" = "build/{number}.txt"  # one more\n'
        f"step: int = {number}  # which one this is"
    )
    code = (
        "from pathlib import Path\n"
        "Path(after).parent.mkdir(parents=True, exist_ok=True)\n"
        'Path(after).write_text(f"{int(Path(before).read_text()) + 1}")'
    )
    path = folder / notebook
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_notebook(parameters, code)), encoding="utf-8")
    origin = f"step-{number - 1:03}.after" if number and pipeline == "chain" else "start"
    return {"notebook": notebook, "inputs": {"before": origin}}


def _notebook(parameters: str, code: str) -> dict[str, Any]:
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": name,
            "metadata": {"tags": [name]},
            "source": source,
            "execution_count": None,
            "outputs": [],
        }
        for name, source in (("parameters", parameters), ("add", code))
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
