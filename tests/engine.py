"""For tests of the engine: a small project with a gate, without any library, and `nbship` itself."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from nbship.record import RunRecord
from nbship.versions.dvc import Tracked, tracking_file, tracking_text
from nbship.workflow.run import RunRequest, run
from tests.projects import write_notebook

NAME = "points"
PIPELINE = """\
name: points
data: {table: {path: data.csv}}
steps:
  prepare: {notebook: notebooks/prepare.ipynb}
  train: {notebook: notebooks/train.ipynb}
  evaluate: {notebook: notebooks/evaluate.ipynb}
gate: {thresholds: {error: {max: 5}}}
"""
PREPARE = """\
table: "Input[Dataset]" = "data.csv"  # points
rows: "Output[Dataset]" = "build/rows.csv"  # the same points
count: "Output[int]" = 0  # how many there are
"""
PREPARE_CODE = """\
text = open(table).read()
open(rows, "w").write(text)
count = len(text.splitlines()) - 1"""
TRAIN = """\
rows: "Input[Dataset]" = "build/rows.csv"  # points
model: "Output[Model]" = "build/model.json"  # a slope
slope: float = 2.0  # the slope
"""
TRAIN_CODE = 'import json\njson.dump(slope, open(model, "w"))'
EVALUATE = """\
rows: "Input[Dataset]" = "build/rows.csv"  # points
model: "Input[Model]" = "build/model.json"  # a slope
metrics: "Output[Metrics]" = "build/metrics.json"  # how far off
losses: "Output[Dataset]" = "build/losses.csv"  # for each point
"""
EVALUATE_CODE = """\
import csv, json
slope = json.load(open(model))
off = [abs(float(p["y"]) - slope * float(p["x"])) for p in csv.DictReader(open(rows))]
json.dump({"error": sum(off) / len(off)}, open(metrics, "w"))
csv.writer(open(losses, "w")).writerows([["row", "loss"], *enumerate(off)])"""


def write_points(root: Path, pipeline: str = PIPELINE) -> Path:
    """Writes a project whose pipeline `points` has three steps in a chain and a gate."""
    write_notebook(root / "notebooks/prepare.ipynb", PREPARE, PREPARE_CODE)
    write_notebook(root / "notebooks/train.ipynb", TRAIN, TRAIN_CODE)
    write_notebook(root / "notebooks/evaluate.ipynb", EVALUATE, EVALUATE_CODE)
    (root / "data.csv").write_text("x,y\n" + "".join(f"{x},{2 * x + 1}\n" for x in range(1, 30)))
    (root / "requirements.lock").write_text("nothing==1\n")
    (root / "pipelines").mkdir(parents=True, exist_ok=True)
    (root / f"pipelines/{NAME}.yaml").write_text(pipeline)
    return root


def write_steps(root: Path, **cells: str | list[str]) -> Path:
    """Writes a project whose pipeline `points` has independent steps, each of one or several cells."""
    steps = {}
    for name, code in cells.items():
        write_notebook(root / f"notebooks/{name}.ipynb", "", *([code] if isinstance(code, str) else code))
        steps[name] = {"notebook": f"notebooks/{name}.ipynb"}
    (root / "requirements.lock").write_text("nothing==1\n")
    (root / "pipelines").mkdir(parents=True, exist_ok=True)
    (root / f"pipelines/{NAME}.yaml").write_text(json.dumps({"name": NAME, "steps": steps}))
    return root


def put_champion(root: Path, slope: float) -> Path:
    """Puts a model in the champion's place, as `nbship publish` would."""
    model = root / f"models/{NAME}/model.joblib"
    model.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(slope).encode()
    model.write_bytes(content)
    tracked = Tracked(hashlib.md5(content).hexdigest(), len(content))  # noqa: S324 (DVC's hash)
    tracking_file(model).write_text(tracking_text(model, tracked))
    return model


def run_points(root: Path, *settings: str, **request: Any) -> tuple[RunRecord, Path]:
    """Runs the pipeline in this process."""
    return run(root, RunRequest(NAME, settings, **{"jobs": 2, **request}))


def states(record: RunRecord) -> dict[str, str]:
    """The state of each step of a run."""
    return {name: str(step.state) for name, step in record.steps.items()}


def start_nbship(*arguments: str, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    """Starts the command as a user does, in a process group of its own."""
    program = Path(sys.executable).with_name("nbship")
    usual = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen([program, *arguments], cwd=cwd, **{**usual, **options})


def nbship(*arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user does."""
    process = start_nbship(*arguments, cwd=cwd, **options)
    try:
        out, err = process.communicate(timeout=60)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(arguments, process.returncode, out or "", err or "")


def processes_of(root: Path) -> list[psutil.Process]:
    """Every process that works in a project's folder or was started for it, but for this one."""
    found = []
    for process in psutil.process_iter():
        try:
            inside = Path(process.cwd()).is_relative_to(root)
            if process.pid != os.getpid() and inside and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
