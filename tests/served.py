"""Small models in model packages, and real model servers that serve them: a number, two classes, pictures."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import requests
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from nbship.config import ColumnSettings
from nbship.package import Origin, build
from nbship.serving.server import free_port

CARS = {
    "weight": ColumnSettings(description="curb weight", unit="lb"),
    "hp": ColumnSettings(description="engine power", unit="hp"),
    "origin": ColumnSettings(
        description="where it was made", labels={"1": "USA", "2": "Europe", "3": "Japan"}
    ),
}
CUSTOMERS = {
    "tenure": ColumnSettings(description="time as a customer", unit="months"),
    "contract": ColumnSettings(description="kind of contract", unseen="refuse"),
}


def write_cars(folder: Path) -> None:
    """A model of a number, from two measures that may lack, and a code with labels."""
    random = np.random.default_rng(0)
    weight, hp, origin = (
        random.integers(1600, 5100, 300),
        random.uniform(46, 230, 300),
        random.integers(1, 4, 300),
    )
    mpg = 60 - weight / 130 - hp / 20 + origin + random.normal(0, 1, 300)
    rows = pd.DataFrame({"weight": weight, "hp": hp.round(1), "origin": origin, "mpg": mpg})
    rows.loc[7, "hp"] = None
    model = HistGradientBoostingRegressor(max_iter=60, monotonic_cst=[-1, -1, 0])
    _write(folder, model.fit(rows[["weight", "hp", "origin"]], rows["mpg"]), rows, "mpg", CARS)


def write_churn(folder: Path) -> None:
    """A model of two classes, from a measure, a category, a boolean."""
    random = np.random.default_rng(0)
    tenure = random.integers(0, 73, 400)
    contract, paperless = (
        random.choice(["month to month", "one year", "two years"], 400),
        random.random(400) < 0.5,
    )
    score = 1.5 - tenure / 20 + 1.2 * (contract == "month to month") + random.normal(0, 0.6, 400)
    rows = pd.DataFrame(
        {"tenure": tenure, "contract": contract, "paperless": paperless, "churn": (score > 0).astype(int)}
    )
    words = OneHotEncoder(handle_unknown="ignore")
    inputs = make_column_transformer((StandardScaler(), ["tenure"]), (words, ["contract", "paperless"]))
    model = make_pipeline(inputs, LogisticRegression())
    _write(folder, model.fit(rows.drop(columns="churn"), rows["churn"]), rows, "churn", CUSTOMERS)


def write_digits(folder: Path) -> None:
    """A model of ten classes, from pictures of 8 × 8."""
    digits = load_digits()
    model = make_pipeline(
        FunctionTransformer(np.reshape, kw_args={"shape": (-1, 64)}),
        StandardScaler(),
        LogisticRegression(max_iter=300),
    )
    model.fit(digits.images[:600], digits.target[:600])
    folder.mkdir(parents=True)
    np.savez(folder / "rows.npz", image=digits.images[:600], digit=digits.target[:600])
    _write(folder, model, folder / "rows.npz", "digit", {})


def _write(
    folder: Path, model: Any, rows: pd.DataFrame | Path, target: str, columns: Mapping[str, ColumnSettings]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(rows, pd.DataFrame):
        rows.to_csv(folder / "rows.csv", index=False)
        rows = folder / "rows.csv"
    joblib.dump(model, folder / "fitted.joblib")
    origin = Origin(run="20250101-000000-aaaa", started=datetime(2025, 1, 1, tzinfo=UTC), revision="c0ffee")
    build(
        folder,
        folder.name,
        folder / "fitted.joblib",
        rows,
        target,
        origin,
        {"train.score": 0.9},
        None,
        columns,
    )


@contextlib.contextmanager
def serving(*folders: Path, arguments: tuple[str, ...] = ()) -> Iterator[dict[str, int]]:
    """Serves each package with a server of its own; yields the port of each model."""
    ports = {folder.name: free_port("127.0.0.1") for folder in folders}
    processes = []
    try:
        for folder in folders:
            command = [sys.executable, "-m", "nbship.serving.server", "--model_name", folder.name]
            place = [
                "--model_dir",
                str(folder),
                "--host",
                "127.0.0.1",
                "--http_port",
                str(ports[folder.name]),
            ]
            processes.append(subprocess.Popen([*command, *place, *arguments]))
        for name, port in ports.items():
            _wait(f"http://127.0.0.1:{port}/v2/models/{name}")
        yield ports
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def _wait(address: str) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with contextlib.suppress(requests.ConnectionError):
            requests.get(address, timeout=10).raise_for_status()
            return
        time.sleep(0.1)
    raise AssertionError(f"{address} does not answer")
