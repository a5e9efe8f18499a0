"""The sample that goes with a model: what is in it, what is not, and that it is the one described."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nbship import package
from nbship.errors import NbshipError
from nbship.package.sample import SAMPLE, ReferenceSample, parse_sample
from tests.package.packages import ORIGIN, classification, make_cars, make_images, make_package, regression


def built(folder: Path, count: int, held_out: pd.DataFrame | None = None, **more: object) -> ReferenceSample:
    """Packages a model of cars with a sample of so many rows."""
    make_package(folder / "first", regression())
    source, paths = folder / "first-source", []
    if held_out is not None:
        held_out.to_csv(folder / "held_out.csv", index=False)
        paths = [folder / "held_out.csv"]
    target = folder / "package"
    target.mkdir()
    made = package.build(
        target,
        name="cars",
        model=source / "model.joblib",
        reference=source / "train.csv",
        target="mpg",
        origin=ORIGIN,
        metrics={},
        verdict=None,
        held_out=paths,
        sample=count,
        **more,  # type: ignore[arg-type]
    )
    assert made.sample is not None
    assert SAMPLE not in made.files  # no model server needs rows
    return parse_sample((target / SAMPLE).read_bytes(), made.sample)


def test_rows_trained_on_and_answers_to_rows_held_out(tmp_path: Path) -> None:
    cars = make_cars(80)
    sample = built(tmp_path, 50, cars, private=["origin"])
    assert sample.kind == "held out"
    assert set(sample.inputs) == {"weight", "power"}  # neither the target nor what is private
    assert {len(values) for values in sample.inputs.values()} == {50}
    trained = make_cars()
    assert set(sample.inputs["weight"]) <= set(trained["weight"])
    assert any(value is None for value in sample.inputs["power"]) == bool(trained["power"].isna().any())
    answers = sample.answers
    assert len(answers.predictions) == len(answers.truth) == len(answers.low) == len(answers.high) == 50
    assert {round(value, 6) for value in answers.truth} <= set(cars["mpg"].round(6))
    errors = np.array(answers.truth) - np.array(answers.predictions)
    assert np.abs(errors).mean() < 4
    assert all(
        low < value < high
        for low, value, high in zip(answers.low, answers.predictions, answers.high, strict=True)
    )


def test_without_rows_held_out_the_answers_say_that_the_model_knows_them(tmp_path: Path) -> None:
    sample = built(tmp_path, 1000, make_cars(30).drop(columns="mpg"))
    assert (sample.kind, len(sample.answers.truth)) == ("trained on", 0)
    assert len(sample.inputs["weight"]) == 200


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        built(tmp_path / name, 50, make_cars(60))
    assert (tmp_path / "one/package" / SAMPLE).read_bytes() == (
        tmp_path / "two/package" / SAMPLE
    ).read_bytes()


def test_no_sample_is_kept_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert make_package(tmp_path / "package", classification(), "sells").sample is None
    assert not (tmp_path / "package" / SAMPLE).exists()
    old = json.loads((tmp_path / "package/model.json").read_text())
    del old["sample"]  # as packages were before
    assert package.parse_package(json.dumps(old), "here").sample is None


def test_another_sample_is_refused(tmp_path: Path) -> None:
    content = b'{"inputs": {}, "answers": {}, "kind": "trained on"}'
    with pytest.raises(NbshipError, match="not the one that the model's description names"):
        parse_sample(content, "0" * 64)


def test_of_images_only_mean_and_spread_are_kept(tmp_path: Path) -> None:
    make_images(tmp_path / "first")
    (tmp_path / "package").mkdir()
    made = package.build(
        tmp_path / "package",
        name="images",
        model=tmp_path / "images.joblib",
        reference=tmp_path / "images.npz",
        target="label",
        origin=ORIGIN,
        metrics={},
        verdict=None,
        sample=40,
    )
    sample = parse_sample((tmp_path / "package" / SAMPLE).read_bytes(), str(made.sample))
    assert set(sample.inputs) == {"image (mean)", "image (spread)"}
    assert all(0 <= value <= 255 for value in sample.inputs["image (mean)"])
    assert [len(row) for row in sample.answers.probabilities] == [2] * 40
