"""Records of runs in every state, with executed notebooks, for tests of what is shown of a run."""

from __future__ import annotations

import base64
import json
import struct
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nbship.config import Gate, Threshold
from nbship.gate import Check, Comparison, Verdict
from nbship.record import Artifact, Environment, RunRecord, State, StepRecord, run_folder, save

NAME = "auto-mpg"
GATE = Gate(thresholds={"rmse": Threshold(max=3.2), "r2": Threshold(min=0.8)})
CHECKS = (
    Check(metric="rmse", value=2.3127, min=None, max=3.2, passed=True),
    Check(metric="r2", value=0.9043, min=0.8, max=None, passed=True),
)
PARAMETERS = """\
train_set: "Input[Dataset]" = "build/train_set.csv"  # cars to learn from
folds: int = 5  # parts of each cross-validation
note: str = ""
"""


def comparison(
    outcome: str = "better", low: float = -0.33, high: float = -0.06, tolerance: float = 0.05
) -> Comparison:
    """A comparison with the champion over 79 rows."""
    middle = (low + high) / 2
    return Comparison.model_validate(
        {"outcome": outcome, "candidate": 6.7 * (1 + middle), "champion": 6.7, "difference": middle}
        | {"low": low, "high": high, "confidence": 0.95, "tolerance": tolerance, "rows": 79}
    )


def verdict(
    passed: bool = True, compared: Comparison | None = None, checks: tuple[Check, ...] = CHECKS
) -> Verdict:
    """A verdict of the gate."""
    return Verdict(passed=passed, reasons=("decided",), checks=checks, comparison=compared)


def make_record(champion: bool = True, **changes: Any) -> RunRecord:
    """A finished run of four steps, or of three where there is no champion."""
    steps = [
        _prepare(),
        _train(),
        _evaluate("evaluate", "artifacts/train/model.joblib", "train.model", 2.3127),
    ]
    if champion:
        steps.append(_evaluate("evaluate-champion", f"models/{NAME}/model.joblib", "champion", 2.5871))
    settings: dict[str, Any] = {
        "id": "20260301-120000-ab12",
        "pipeline": NAME,
        "description": "Fuel economy of cars.",
        "state": State.DONE,
        "started": datetime(2026, 3, 1, 12, tzinfo=UTC),
        "seconds": 4.2,
        "process": 1,
        "settings": ["train.folds=10"],
        "environment": Environment(
            python="3.11.7", platform="Linux", nbship="0.1.0", lock="10c4", revision="c0ffee" * 6, dirty=True
        ),
        "steps": {step.name: step for step in steps},
        "gate": GATE,
        "verdict": verdict(compared=comparison() if champion else None),
        "champion": "v1.2.0" if champion else "",
    }
    return RunRecord(**(settings | changes))


def every_state() -> dict[str, RunRecord]:
    """A record for each way in which a run can stand."""
    missed = Check(metric="rmse", value=3.45, min=None, max=3.2, passed=False)
    failed = make_record(state=State.FAILED, verdict=None)
    _stop(failed, State.FAILED, State.SKIPPED)
    failed.steps[
        "train"
    ].error = "step 'train': train.ipynb: ValueError: too many folds\nfailing cell:\n    fit()"
    interrupted = make_record(state=State.INTERRUPTED, verdict=None)
    _stop(interrupted, State.INTERRUPTED, State.WAITING)
    running = make_record(state=State.RUNNING, verdict=None)
    _stop(running, State.RUNNING, State.WAITING)
    cached = make_record(seconds=0.2)
    for step in cached.steps.values():
        step.state = State.CACHED
    return {
        "better": make_record(),
        "no worse": make_record(verdict=verdict(compared=comparison("no worse", -0.02, 0.04))),
        "worse": make_record(verdict=verdict(False, comparison("worse", -0.01, 0.2))),
        "below a threshold": make_record(verdict=verdict(False, comparison(), (missed,))),
        "first": make_record(champion=False),
        "first, rejected": make_record(champion=False, verdict=verdict(False, checks=(missed,))),
        "failed": failed,
        "interrupted": interrupted,
        "running": running,
        "cached": cached,
        "without gate": make_record(champion=False, gate=None, verdict=None),
        "without verdict": make_record(champion=False, verdict=None),
        "without steps": make_record(steps={}, verdict=None, state=State.RUNNING),
    }


def write_run(
    root: Path, record: RunRecord, notebooks: Mapping[str, list[dict[str, Any]]] | None = None
) -> Path:
    """Writes the folder of a run: its record, and a notebook for each step that has one."""
    folder = run_folder(root, record.pipeline, record.id)
    folder.mkdir(parents=True)
    save(record, folder)
    for step in record.steps.values():
        if step.notebook:
            ended = [failed_cell()] if step.state is State.FAILED else [picture_cell()]
            cells = (notebooks or {}).get(
                step.name, [parameters_cell(), markdown_cell("## How far off"), *ended]
            )
            write_executed(folder / step.notebook, cells)
    return folder


def write_executed(path: Path, cells: list[dict[str, Any]]) -> Path:
    """Writes an executed notebook."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells)]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def markdown_cell(source: str) -> dict[str, Any]:
    """A cell of text."""
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def code_cell(source: str, *outputs: dict[str, Any], tags: tuple[str, ...] = ()) -> dict[str, Any]:
    """A cell that ran."""
    metadata = {"tags": list(tags)}
    return {
        "cell_type": "code",
        "metadata": metadata,
        "source": source,
        "execution_count": 1,
        "outputs": [*outputs],
    }


def parameters_cell(source: str = PARAMETERS) -> dict[str, Any]:
    """The cell that declares the parameters."""
    return code_cell(source, tags=("parameters",))


def data_output(**data: Any) -> dict[str, Any]:
    """Something that a cell showed, by the second half of its media type: png, html ..."""
    kinds = {"png": "image/png", "svg": "image/svg+xml", "html": "text/html", "plain": "text/plain"}
    return {
        "output_type": "display_data",
        "metadata": {},
        "data": {kinds.get(k, k): v for k, v in data.items()},
    }


def picture_cell(width: int = 30, height: int = 20) -> dict[str, Any]:
    """A cell that showed a picture."""
    return code_cell("plot()", data_output(png=png(width, height)))


def failed_cell(source: str = "fit()", value: str = "too many folds") -> dict[str, Any]:
    """A cell that raised an error."""
    traceback = ["\x1b[0;31mValueError\x1b[0m: " + value]
    error = {"output_type": "error", "ename": "ValueError", "evalue": value, "traceback": traceback}
    return code_cell(source, error)


def png(width: int = 30, height: int = 20) -> str:
    """A grey picture, as a notebook keeps it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x99" * width) * height)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return base64.b64encode(content).decode() + "\n"


def parse_svg(text: str) -> ET.Element:
    """Reads a picture, which is then known to be well-formed."""
    return ET.fromstring(text)  # noqa: S314 (what the code under test has just written)


def _artifact(kind: str, path: str, origin: str) -> Artifact:
    return Artifact(
        type=kind, path=path, hash=(path + origin).encode().hex().ljust(64, "0")[-64:], origin=origin
    )


def _prepare() -> StepRecord:
    outputs = {name: ("Dataset", f"{name}.csv") for name in ("train_set", "test_set")}
    return _step(
        "prepare",
        state=State.CACHED,
        parameters={"test_fraction": 0.2},
        inputs={"table": _artifact("Dataset", "data.csv", "table")},
        outputs=_outputs("prepare", outputs),
        metrics={"rows": 392, "missing_hp": 0},
    )


def _train() -> StepRecord:
    return _step(
        "train",
        upstream=["prepare"],
        parameters={"folds": 10, "note": ""},
        inputs={"train_set": _artifact("Dataset", "artifacts/prepare/train_set.csv", "prepare.train_set")},
        outputs=_outputs("train", {"model": ("Model", "model.joblib")}),
        metrics={"cv_rmse": 2.4853, "cv_rmse_std": 0.3511, "kernel": "rbf", "converged": True},
    )


def _evaluate(name: str, model: str, origin: str, rmse: float) -> StepRecord:
    test_set = _artifact("Dataset", "artifacts/prepare/test_set.csv", "prepare.test_set")
    return _step(
        name,
        upstream=["prepare", "train"] if origin == "train.model" else ["prepare"],
        inputs={"test_set": test_set, "model": _artifact("Model", model, origin)},
        outputs=_outputs(name, {"losses": ("Dataset", "losses.csv")}),
        metrics={
            "rows": 79,
            "rmse": rmse,
            "rmse_low": rmse - 0.4,
            "rmse_high": rmse + 0.4,
            "r2": 3 - rmse * 0.9,
        },
    )


def _step(name: str, **values: Any) -> StepRecord:
    source = f"notebooks/{NAME}/{name.removesuffix('-champion')}.ipynb"
    files = {"notebook": f"notebooks/{name}.ipynb", "html": f"notebooks/{name}.html"}
    common = {
        "title": f"Step {name}",
        "state": State.DONE,
        "seconds": 1.27,
        "cells": 4,
        "code": f"code of {source}",
    }
    return StepRecord(name=name, source=source, **{**common, **files, **values})


def _outputs(step: str, files: dict[str, tuple[str, str]]) -> dict[str, Artifact]:
    return {
        name: _artifact(kind, f"artifacts/{step}/{file}", f"{step}.{name}")
        for name, (kind, file) in files.items()
    }


def _stop(record: RunRecord, at: State, after: State) -> None:
    """Lets a run end in train; what needs the model was never begun."""
    record.steps["train"].state = at
    record.steps["train"].metrics = {}
    record.steps["train"].outputs = {}
    unreached = record.steps["evaluate"]
    unreached.state, unreached.seconds, unreached.notebook, unreached.html = after, 0.0, "", ""
    unreached.inputs, unreached.outputs, unreached.metrics, unreached.code = {}, {}, {}, ""
