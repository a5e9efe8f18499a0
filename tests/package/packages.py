"""Model packages for tests, and servers of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import requests
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer, StandardScaler

from nbship import package
from nbship.config import ColumnSettings
from nbship.serving import server

ORIGIN = package.Origin(run="20250101-000000-abcd", started=datetime(2025, 1, 1, tzinfo=UTC))


def make_cars(count: int = 200) -> pd.DataFrame:
    random = np.random.default_rng(1)
    weight = random.integers(1600, 5200, count)
    power = random.uniform(45, 230, count).round(1)
    cars = pd.DataFrame(
        {
            "weight": weight,
            "power": power,
            "origin": random.choice(["usa", "japan", "europe"], count),
            "mpg": 50 - weight / 140 + random.normal(0, 1.5, count),
            "sells": np.where(random.random(count) < weight / 6000, "yes", "no"),
        }
    )
    cars.loc[::20, "power"] = np.nan
    return cars


def regression(**encoding: Any) -> Any:
    """With a logarithm inside and one around, as skl2onnx does not know them."""
    logarithm = make_pipeline(SimpleImputer(strategy="median"), FunctionTransformer(np.log), StandardScaler())
    features = make_column_transformer(
        (logarithm, ["weight", "power"]),
        (OneHotEncoder(**({"handle_unknown": "ignore"} | encoding)), ["origin"]),
    )
    return make_pipeline(features, TransformedTargetRegressor(Ridge(), func=np.log, inverse_func=np.exp))


def classification() -> Any:
    """A soft vote of a spline logistic regression and boosted trees."""
    splines = make_pipeline(SimpleImputer(), SplineTransformer(n_knots=5))
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    features = make_column_transformer((splines, ["weight", "power"]), (encoder, ["origin"]))
    vote = VotingClassifier(
        [
            ("line", LogisticRegression(max_iter=1000)),
            ("trees", GradientBoostingClassifier(n_estimators=20, random_state=0)),
        ],
        voting="soft",
    )
    return Pipeline([("features", features), ("vote", vote)])


def make_package(
    folder: Path,
    estimator: Any,
    target: str = "mpg",
    columns: dict[str, ColumnSettings] | None = None,
    cars: pd.DataFrame | None = None,
) -> package.Package:
    """Fits a model to cars and packages it into the folder."""
    cars = make_cars() if cars is None else cars
    folder.mkdir(parents=True, exist_ok=True)
    source = folder.parent / f"{folder.name}-source"
    source.mkdir(exist_ok=True)
    inputs = ["weight", "power", "origin"]
    joblib.dump(estimator.fit(cars[inputs], cars[target]), source / "model.joblib")
    cars.to_csv(source / "train.csv", index=False)
    return package.build(
        folder,
        name="cars",
        model=source / "model.joblib",
        reference=source / "train.csv",
        target=target,
        origin=ORIGIN,
        metrics={"evaluate.rmse": 1.5},
        verdict=None,
        columns=columns or {},
        description="Cars and what they burn.",
    )


def make_images(folder: Path, count: int = 60) -> package.Package:
    """Packages a classifier of images of 3 × 2, by whether the first pixel is bright."""
    random = np.random.default_rng(2)
    images = random.integers(0, 256, (count, 3, 2)).astype("uint8")
    labels = np.where(images[:, 0, 0] > 127, 1, 0)
    flatten = FunctionTransformer(np.reshape, kw_args={"shape": (-1, 6)})
    model = make_pipeline(flatten, StandardScaler(), LogisticRegression()).fit(images, labels)
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, folder.parent / "images.joblib")
    np.savez(folder.parent / "images.npz", image=images, label=labels)
    return package.build(
        folder,
        name="images",
        model=folder.parent / "images.joblib",
        reference=folder.parent / "images.npz",
        target="label",
        origin=ORIGIN,
        metrics={},
        verdict=None,
    )


@contextlib.contextmanager
def served(folder: Path, *arguments: str, **environment: str) -> Iterator[str]:
    """Runs the server as a container does, and yields its address once it is ready; prints what it said."""
    with started(folder, *arguments, **environment) as (address, _):
        yield address


@contextlib.contextmanager
def started(folder: Path, *arguments: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The same, with the process."""
    port = server.free_port("127.0.0.1")
    command = [sys.executable, "-m", "nbship.serving.server", "--model_name", "cars", "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--model_dir", str(folder), "--http_port", str(port), *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(address, process)
        yield address, process
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
        sys.stdout.write(said)
    assert "Traceback" not in said


def wait_until_ready(address: str, process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"{address}/v2/health/ready", timeout=5).ok:
                return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"the server did not start: {process.stdout.read() if process.stdout else ''}")
