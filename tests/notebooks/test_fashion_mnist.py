"""The Fashion-MNIST notebooks: the bar on real images, and what must hold of any, on digits."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from tests.notebook_steps import ROOT, real_data, run_notebook

from nbship.config import load_pipeline
from nbship.local.execute import StepError

QUICK = {"folds": 2, "components": 20}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("digits")


@pytest.fixture(scope="module")
def digits(folder: Path) -> Path:
    return run_notebook("fashion-mnist/sample", folder)[0]["images"]


@pytest.fixture(scope="module")
def prepared(folder: Path, digits: Path) -> dict[str, Path]:
    return run_notebook("fashion-mnist/prepare", folder, {"images": digits})[0]


@pytest.fixture(scope="module")
def model(folder: Path, prepared: dict[str, Path]) -> Path:
    return run_notebook("fashion-mnist/train", folder, {"train_set": prepared["train_set"], **QUICK})[0][
        "model"
    ]


def test_cross_validation_reaches_the_bar_in_every_fifth(tmp_path: Path) -> None:
    sides, _ = run_notebook(
        "fashion-mnist/prepare", tmp_path, {"images": real_data("fashion-mnist", "images")}
    )
    parts = [np.load(sides[side]) for side in ("train_set", "test_set")]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in ("image", "label")}
    np.savez(tmp_path / "whole.npz", **whole)
    _, metrics = run_notebook("fashion-mnist/train", tmp_path, {"train_set": tmp_path / "whole.npz"})
    assert metrics["train_rows"] == 3838
    assert metrics["cv_accuracy"] >= 0.855
    assert metrics["cv_log_loss"] <= 0.40
    assert metrics["cv_calibration_error"] <= 0.02
    gate = load_pipeline(ROOT, "fashion-mnist").gate
    assert gate is not None
    assert (gate.thresholds["accuracy"].min or 1) <= metrics["cv_accuracy_worst"] < metrics["cv_accuracy"]
    assert (gate.thresholds["log_loss"].max or 0) >= metrics["cv_log_loss_worst"] > metrics["cv_log_loss"]


def test_the_number_of_threads_changes_nothing(
    prepared: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.load(prepared["test_set"])["image"]
    metrics, chances = [], []
    for threads in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        values = {"train_set": prepared["train_set"], **QUICK, "components": 80}
        paths, measured = run_notebook("fashion-mnist/train", tmp_path / threads, values)
        metrics.append(measured)
        chances.append(joblib.load(paths["model"]).predict_proba(images))
    assert metrics[0] == metrics[1]
    assert chances[0] == pytest.approx(chances[1], abs=1e-12)


def test_every_image_is_on_one_side_and_stays_there(
    digits: Path, prepared: dict[str, Path], tmp_path: Path
) -> None:
    with np.load(digits) as arrays:
        fewer = {name: arrays[name][:200][::-1] for name in arrays.files}
    fewer["y_test"] = (fewer["y_test"] + 1) % 10  # corrected labels move nobody
    np.savez(tmp_path / "fewer.npz", **fewer)

    def held(path: Path) -> set[bytes]:
        return {image.tobytes() for image in np.load(path)["image"]}

    values = {"images": tmp_path / "fewer.npz"}
    again, _ = run_notebook("fashion-mnist/prepare", tmp_path, values)
    assert not held(prepared["train_set"]) & held(prepared["test_set"])
    assert held(again["test_set"]) <= held(prepared["test_set"])
    assert held(again["train_set"]) <= held(prepared["train_set"])
    more, _ = run_notebook("fashion-mnist/prepare", tmp_path / "more", {**values, "test_fraction": 0.4})
    assert held(more["test_set"]) > held(again["test_set"])


def test_the_model_takes_images_as_they_are(model: Path, prepared: dict[str, Path]) -> None:
    pipeline, images = joblib.load(model), np.load(prepared["test_set"])
    assert (pipeline.predict(images["image"]) == images["label"]).mean() > 0.9
    one = images["image"][:1].astype(float)
    assert pipeline.predict_proba(one).sum() == pytest.approx(1)


def test_evaluate_measures_what_it_says(model: Path, prepared: dict[str, Path], tmp_path: Path) -> None:
    values = {"test_set": prepared["test_set"], "model": model, "resamples": 100}
    paths, metrics = run_notebook("fashion-mnist/evaluate", tmp_path, values)
    images, pipeline = np.load(prepared["test_set"]), joblib.load(model)
    own = pipeline.predict_proba(images["image"])[np.arange(len(images["label"])), images["label"]]
    losses = pd.read_csv(paths["losses"])
    assert losses["row"].is_unique
    assert losses["loss"].to_numpy() == pytest.approx(-np.log(own))
    right = pipeline.predict(images["image"]) == images["label"]
    assert metrics["accuracy"] == pytest.approx(right.mean())
    assert metrics["log_loss_low"] < metrics["log_loss"] < metrics["log_loss_high"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x_train": np.zeros((3, 8, 8), np.uint8)}, "not images of 28 × 28 bytes"),
        ({"x_train": np.zeros((3, 28, 28))}, "not images of 28 × 28 bytes"),
        ({"y_train": np.array([0, 1, 12])}, "a label from 0 to 9"),
        ({"y_train": np.array([0, 1])}, "a label from 0 to 9"),
    ],
)
def test_prepare_refuses_what_are_not_such_images(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    images, labels = np.zeros((3, 28, 28), np.uint8), np.zeros(3, np.uint8)
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    if "x_train" in change:
        arrays["x_test"] = change["x_train"]
    np.savez(tmp_path / "wrong.npz", **{**arrays, **change})
    with pytest.raises(StepError, match=says):
        run_notebook("fashion-mnist/prepare", tmp_path, {"images": tmp_path / "wrong.npz"})


def write_published(folder: Path) -> None:
    """Writes the four files as they are published, with blank images of other numbers."""
    for part, count in (("train", 6), ("t10k", 4)):
        for kind, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
            content = gzip.compress(header + bytes(np.prod(shape)), mtime=0)
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(content)


def test_download_refuses_files_that_are_not_the_published_ones(tmp_path: Path) -> None:
    write_published(tmp_path)
    found = hashlib.md5((tmp_path / "train-images-idx3-ubyte.gz").read_bytes()).hexdigest()  # noqa: S324
    with pytest.raises(StepError, match=f"md5 {found}, not 8d4fb7e6c68d591d4c3dfef9ec88bf0d"):
        run_notebook("fashion-mnist/download", tmp_path, {"address": tmp_path.as_uri()})


def test_download_reads_the_published_form(tmp_path: Path) -> None:
    write_published(tmp_path)
    md5 = {
        path.name: hashlib.md5(path.read_bytes()).hexdigest()  # noqa: S324 (what the publisher gives)
        for path in tmp_path.glob("*.gz")
    }
    values = {"address": tmp_path.as_uri(), "md5": md5, "train_images": 5}
    with np.load(run_notebook("fashion-mnist/download", tmp_path, values)[0]["images"]) as arrays:
        shapes = {name: arrays[name].shape for name in arrays.files}
    assert shapes == {"x_train": (5, 28, 28), "y_train": (5,), "x_test": (4, 28, 28), "y_test": (4,)}


@pytest.mark.skipif(
    not importlib.util.find_spec("skorch"), reason="needs the extra torch, which the lock leaves out"
)
def test_a_network_is_a_model_like_any_other(prepared: dict[str, Path], tmp_path: Path) -> None:
    values = {"train_set": prepared["train_set"], "epochs": 3, "channels": 4, "folds": 2}
    paths, metrics = run_notebook("fashion-mnist/train-torch", tmp_path, values)
    assert metrics["cv_accuracy"] > 0.8
    images = np.load(prepared["test_set"])
    pipeline = joblib.load(paths["model"])
    assert (pipeline.predict(images["image"]) == images["label"]).mean() > 0.8
