"""Finished runs for tests, as the runner would have left them: a fitted model, its rows and a verdict."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from sklearn.linear_model import LinearRegression

from nbship import files
from nbship.config import Data, Gate, Pipeline, Publish, StepSettings, Threshold
from nbship.gate import Check, Verdict
from nbship.record import Artifact, Environment, RunRecord, State, StepRecord, run_folder, save

NAME = "line"
PASSED = Verdict(
    passed=True,
    reasons=("no champion yet: only the thresholds were applied",),
    checks=(Check(metric="rmse", value=0.5, min=None, max=1, passed=True),),
)
REJECTED = Verdict(passed=False, reasons=("rmse 3 (≤ 1)",))


def make_pipeline(**changes: Any) -> Pipeline:
    """A pipeline that fits a line through points."""
    settings: dict[str, Any] = {
        "data": {"table": Data(path="data.csv")},
        "steps": {name: StepSettings(notebook=f"{name}.ipynb") for name in ("prepare", "train", "evaluate")},
        "gate": Gate(thresholds={"rmse": Threshold(max=1)}),
        "publish": Publish(target="y"),
    }
    return Pipeline(name=NAME, **{**settings, **changes})


def model_bytes(slope: float, columns: tuple[str, ...] = ("x",)) -> bytes:
    """A fitted model that gives `slope` times the first column."""
    rows = _rows(slope, columns)
    content = io.BytesIO()
    joblib.dump(LinearRegression().fit(rows[list(columns)], rows["y"]), content)
    return content.getvalue()


def make_run(
    root: Path,
    run_id: str,
    slope: float = 2.0,
    columns: tuple[str, ...] = ("x",),
    champion: str = "",
    verdict: Verdict | None = PASSED,
    state: State = State.DONE,
) -> RunRecord:
    """Writes the folder of a run of the pipeline."""
    folder = run_folder(root, NAME, run_id)
    outputs = {
        "prepare.train_set": ("Dataset", "artifacts/prepare/train_set.csv"),
        "train.model": ("Model", "artifacts/train/model.joblib"),
    }
    for _, path in outputs.values():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / outputs["train.model"][1]).write_bytes(model_bytes(slope, columns))
    _rows(slope, columns).to_csv(folder / outputs["prepare.train_set"][1], index=False)
    steps = {name: StepRecord(name=name, source=f"{name}.ipynb") for name in ("prepare", "train", "evaluate")}
    for origin, (kind, path) in outputs.items():
        step, name = origin.split(".")
        artifact = Artifact(type=kind, path=path, hash=files.content_hash(folder / path), origin=origin)
        steps[step].outputs = {name: artifact}
    steps["prepare"].inputs = {
        "table": Artifact(type="Dataset", path="data.csv", hash="da7a", origin="table")
    }
    steps["evaluate"].metrics = {"rmse": 0.5}
    record = RunRecord(
        id=run_id,
        pipeline=NAME,
        state=state,
        started=datetime(2025, 1, 1, tzinfo=UTC),
        process=os.getpid(),
        environment=Environment(python="3.11", platform="any", nbship="0", revision="c0ffee", dirty=True),
        steps=steps,
        verdict=verdict,
        champion=champion,
    )
    save(record, folder)
    return record


def model_hash(record: RunRecord) -> str:
    """The hash of a run's model."""
    return record.steps["train"].outputs["model"].hash


def _rows(slope: float, columns: tuple[str, ...]) -> pd.DataFrame:
    table = {column: [float(i * j) + 0.5 for i in range(20)] for j, column in enumerate(columns, 1)}
    return pd.DataFrame({**table, "y": [slope * value for value in table[columns[0]]]})
