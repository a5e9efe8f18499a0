"""The compiled form that a package carries: made once, checked, never asked what it was not compared on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbship import package
from nbship.config import ColumnSettings
from nbship.errors import NbshipError
from nbship.package import COMPILED, DESCRIPTION, MODEL
from nbship.package.records import check
from nbship.serving.errors import PipelineNotLoadedError
from nbship.serving.predictor import load_predictor
from tests.package.packages import classification, make_cars, make_package, regression

CAR = {"weight": 3000, "power": 99.5, "origin": "usa"}
UNSEEN = CAR | {"origin": "mars"}
# Loads a package and predicts; prints what is imported then, and after a record for the pipeline.
SCRIPT = """
import json, sys
from pathlib import Path
from nbship.package.records import check
from nbship.serving.predictor import load_predictor

def predict(record):
    checked = check(predictor.columns, {name: [value] for name, value in record.items()}, 1)
    return predictor.predict(checked).values[0]

def heavy():
    return [name for name in ("joblib", "onnx", "pandas", "skl2onnx", "sklearn") if name in sys.modules]

predictor = load_predictor(Path(sys.argv[1]))
first = predict(json.loads(sys.argv[2]))
before = heavy()
print(json.dumps([first, before, predict(json.loads(sys.argv[3])), heavy()]))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled") / "cars"
    make_package(folder, regression())
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "cars")


def value_of(folder: Path, record: dict[str, Any]) -> Any:
    predictor = load_predictor(folder)
    checked = check(predictor.columns, {name: [value] for name, value in record.items()}, 1)
    return predictor.predict(checked).values[0]


def test_the_same_model_has_the_same_compiled_form(built: Path, tmp_path: Path) -> None:
    described = package.read_package(built)
    assert described.compiled
    assert described.files == (MODEL, COMPILED, DESCRIPTION)
    assert described.compiled.modules == ["builtins", "numpy", "sklearn"]
    make_package(tmp_path / "again", regression())
    assert (tmp_path / "again" / COMPILED).read_bytes() == (built / COMPILED).read_bytes()


def test_libraries_are_imported_for_the_first_record_that_needs_the_pipeline(built: Path) -> None:
    records = (json.dumps(CAR), json.dumps(UNSEEN))
    command = [sys.executable, "-c", SCRIPT, str(built), *records]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, before, unseen, after = json.loads(done.stdout)
    assert before == []
    assert {"joblib", "pandas", "sklearn"} <= set(after)
    assert "skl2onnx" not in after
    estimator = package.load_model(built)
    expected = estimator.predict(make_cars(2)[["weight", "power", "origin"]].assign(**UNSEEN))[0]
    assert unseen == expected
    assert first == pytest.approx(value_of(built, CAR))


def test_who_has_no_time_is_told_that_the_pipeline_is_not_loaded(built: Path) -> None:
    predictor = load_predictor(built)
    checked = check(predictor.columns, {name: [value] for name, value in UNSEEN.items()}, 1)
    with pytest.raises(PipelineNotLoadedError):
        predictor.predict(checked, wait=False)
    expected = predictor.predict(checked).values
    assert predictor.predict(checked, wait=False).values == expected


def test_the_pipeline_is_the_one_that_was_there_when_the_package_was_loaded(
    folder: Path, tmp_path: Path
) -> None:
    expected, predictor = value_of(folder, UNSEEN), load_predictor(folder)
    make_package(tmp_path / "other", regression(), cars=make_cars().assign(mpg=lambda cars: cars["mpg"] * 3))
    for name in package.read_package(tmp_path / "other").files:
        shutil.copy(tmp_path / "other" / name, folder / name)
    checked = check(predictor.columns, {name: [value] for name, value in UNSEEN.items()}, 1)
    assert predictor.predict(checked).values == [expected]
    assert value_of(folder, UNSEEN) == pytest.approx(3 * expected, rel=0.05)


@pytest.mark.parametrize("content", [None, b"", b"not ONNX"])
def test_where_it_cannot_be_used_the_model_is_compiled_again(folder: Path, content: bytes | None) -> None:
    expected = value_of(folder, CAR)
    if content is None:
        (folder / COMPILED).unlink()
    else:
        (folder / COMPILED).write_bytes(content)
    predictor = load_predictor(folder)
    assert predictor.compiled.session
    assert COMPILED in predictor.compiled.why_not
    assert value_of(folder, CAR) == expected


def test_one_that_answers_otherwise_here_is_not_used(folder: Path, tmp_path: Path) -> None:
    """As one may with another ONNX Runtime: the hash is right, and the golden records are not."""
    make_package(tmp_path / "other", regression(), cars=make_cars().assign(mpg=lambda cars: cars["mpg"] * 3))
    other, expected = package.read_package(tmp_path / "other"), value_of(folder, CAR)
    assert other.compiled
    shutil.copy(tmp_path / "other" / COMPILED, folder / COMPILED)
    described = package.read_package(folder)
    package.write_description(folder, described.model_copy(update={"compiled": other.compiled}))
    predictor = load_predictor(folder)
    assert predictor.compiled.why_not.startswith("its predictions differ by up to ")
    assert value_of(folder, CAR) == expected


def test_a_vote_is_compared_with_its_golden_records(tmp_path: Path) -> None:
    make_package(tmp_path / "cars", classification(), "sells")
    predictor = load_predictor(tmp_path / "cars")
    assert predictor.compiled.why_not == ""
    assert not predictor.pipeline.loaded


def test_a_package_from_before_is_served_as_it_was(folder: Path) -> None:
    expected, described = value_of(folder, CAR), package.read_package(folder)
    columns = [
        column.model_copy(update={"lowest": None, "highest": None, "takes_unseen": True})
        for column in described.inputs
    ]
    package.write_description(folder, described.model_copy(update={"compiled": None, "inputs": columns}))
    (folder / COMPILED).unlink()
    predictor = load_predictor(folder)
    assert (bool(predictor.compiled.session), predictor.compiled.why_not) == (True, "")
    assert value_of(folder, CAR) == expected
    assert predictor.columns == load_predictor(folder).columns
    assert [column.lowest for column in predictor.columns] == [1, pytest.approx(1e-9), None]


def test_a_model_that_cannot_be_compiled_has_none(tmp_path: Path) -> None:
    model = regression()
    model.set_params(columntransformer__pipeline__functiontransformer__func=np.cbrt)
    described = make_package(tmp_path / "cars", model)
    assert described.compiled is None
    assert described.files == (MODEL, DESCRIPTION)
    assert not (tmp_path / "cars" / COMPILED).exists()


def test_other_words_leave_it_unless_they_let_values_be_missing(built: Path) -> None:
    described = package.read_package(built)
    worded = package.reworded(described, {"weight": ColumnSettings(unit="lb", unseen="refuse")}, "")
    assert worded.compiled == described.compiled
    may_be_missing = package.reworded(described, {"weight": ColumnSettings(optional=True)}, "")
    assert may_be_missing.compiled is None


def test_modules_that_are_not_installed_are_told_at_once(folder: Path) -> None:
    described = package.read_package(folder)
    assert described.compiled
    form = described.compiled.model_copy(update={"modules": ["carlib", "sklearn"]})
    package.write_description(folder, described.model_copy(update={"compiled": form}))
    with pytest.raises(NbshipError, match=r"the model is made of 'carlib', which is not installed here"):
        load_predictor(folder)


def test_a_pipeline_of_another_scikit_learn_is_told_at_once(folder: Path) -> None:
    described = package.read_package(folder)
    libraries = described.libraries | {"scikit-learn": "1.5.1"}
    package.write_description(folder, described.model_copy(update={"libraries": libraries}))
    with pytest.raises(NbshipError, match=r"fitted with scikit-learn 1\.5\.1"):
        load_predictor(folder)


def test_unseen_categories_stay_refused_where_the_model_cannot_take_them(tmp_path: Path) -> None:
    described = make_package(tmp_path / "cars", regression(handle_unknown="error"))
    assert described.compiled
    assert {c.name: (c.unseen, c.takes_unseen) for c in described.inputs}["origin"] == ("accept", False)
    worded = package.reworded(described, {"origin": ColumnSettings(unseen="accept")}, "")
    package.write_description(tmp_path / "cars", worded)
    assert {c.name: c.unseen for c in load_predictor(tmp_path / "cars").columns}["origin"] == "refuse"
