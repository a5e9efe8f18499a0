"""The model package: `model.joblib`, and `model.json` that says all that one must know to serve and judge it.

Built from a run's model and the rows it learnt from; read by the model server, the monitor and the client. A
pickle is code: nothing is unpickled before its hash is found to be the one that the description names.
"""

from __future__ import annotations

import hashlib
import io
import math
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from nbship import __version__
from nbship.errors import NbshipError, UsageError, suggestion
from nbship.files import content_hash, write_text
from nbship.gate import Verdict
from nbship.serving.schema import Column, Output, describe_column, to_frame, to_records

if TYPE_CHECKING:
    import pandas as pd

MODEL = "model.joblib"
DESCRIPTION = "model.json"
_LIBRARIES = ("scikit-learn", "numpy", "pandas", "joblib")
_GOLDEN = 5


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Origin(_Frozen):
    """Where a model comes from.

    Attributes:
        run: The run that made it.
        started: When that run began.
        revision: The Git commit that was checked out; empty if there was none.
        dirty: Whether files differed from that commit.
        data: SHA-256 by name of the data files that the run read.
    """

    run: str
    started: datetime
    revision: str = ""
    dirty: bool = False
    data: dict[str, str] = {}


class Golden(_Frozen):
    """A record and what the model makes of it: a server that answers otherwise serves something else.

    Attributes:
        record: Value by column.
        prediction: The predicted number or class.
        probabilities: Of each class, in the order of `Output.classes`.
    """

    record: dict[str, Any]
    prediction: Any
    probabilities: list[float] = []


class Package(_Frozen):
    """The content of `model.json`.

    Attributes:
        format: Of this file.
        name: The model.
        sha256: Hash of `model.joblib`.
        origin: Where the model comes from.
        inputs: The raw columns that it takes.
        output: What it predicts.
        rows: How many reference rows the columns describe.
        metrics: What the run measured, by `step.metric`.
        verdict: What the gate said; None for a pipeline without one.
        libraries: Versions of Python and of the libraries that a server needs alike.
        golden: A few records with the model's predictions.
    """

    format: Literal[1] = 1
    name: str
    sha256: str
    origin: Origin
    inputs: list[Column]
    output: Output
    rows: int
    metrics: dict[str, float]
    verdict: Verdict | None = None
    libraries: dict[str, str]
    golden: list[Golden]


def build(
    folder: Path,
    name: str,
    model: Path,
    reference: Path,
    target: str,
    origin: Origin,
    metrics: Mapping[str, float],
    verdict: Verdict | None,
) -> Package:
    """Writes the package of a model.

    Args:
        folder: Where to; must exist.
        name: How the model is called.
        model: The fitted model, written by joblib or pickle, whose origin the caller has checked.
        reference: CSV of the rows that it learnt from.
        target: The column that it predicts.
        origin: Where it comes from.
        metrics: What was measured of it.
        verdict: What the gate said of it.

    Raises:
        NbshipError: The model cannot be loaded outside its notebook, or does not fit the reference rows.
    """
    content = model.read_bytes()
    estimator = _unpickle(content, model)
    rows = _read_table(reference)
    names = _input_names(estimator, rows, target, reference)
    inputs = [describe_column(rows[column]) for column in names]
    package = Package(
        name=name,
        sha256=hashlib.sha256(content).hexdigest(),
        origin=origin,
        inputs=inputs,
        output=_output(estimator, rows[target]),
        rows=len(rows),
        metrics={key: value for key, value in metrics.items() if math.isfinite(value)},
        verdict=verdict,
        libraries=_libraries(),
        golden=_golden(estimator, inputs, rows[names]),
    )
    (folder / MODEL).write_bytes(content)
    write_text(folder / DESCRIPTION, package.model_dump_json(indent=2) + "\n")
    return package


def parse_package(text: str, where: str) -> Package:
    """Reads the content of a `model.json`.

    Raises:
        NbshipError: It is not one, or one of another format.
    """
    try:
        return Package.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise NbshipError(
            f"{where}: not a model's description: {place}: {problem['msg']}", "publish the model again"
        ) from None


def read_package(folder: Path) -> Package:
    """Reads the description of a package and checks that the model beside it is the one described.

    Raises:
        NbshipError: A file is missing or damaged, or the two do not belong together.
    """
    package = _read_description(folder)
    try:
        digest = content_hash(folder / MODEL)
    except OSError as error:
        raise NbshipError(f"{folder / MODEL}: {error.strerror}", "bring it here: dvc pull") from None
    _check_hash(package, digest, folder)
    return package


def load_model(folder: Path) -> Any:
    """Loads the model of a package; nothing is unpickled unless it is the one described.

    Raises:
        NbshipError: The model is not the one described, or was fitted with another scikit-learn.
    """
    package = _read_description(folder)
    path = folder / MODEL
    try:
        # What is hashed is what is unpickled, even if the file is replaced in between.
        content = path.read_bytes()
    except OSError as error:
        raise NbshipError(f"{path}: {error.strerror}", "bring it here: dvc pull") from None
    _check_hash(package, hashlib.sha256(content).hexdigest(), folder)
    fitted, here = package.libraries.get("scikit-learn", ""), version("scikit-learn")
    if fitted.split(".")[:2] != here.split(".")[:2]:
        raise NbshipError(
            f"{path}: fitted with scikit-learn {fitted}, and this is {here}",
            f"use the environment it was fitted in: pip install scikit-learn=={fitted}",
        )
    return _unpickle(content, path)


def _read_description(folder: Path) -> Package:
    path = folder / DESCRIPTION
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NbshipError(f"{path}: cannot be read: {error}", "publish a model: nbship publish") from None
    return parse_package(text, str(path))


def _check_hash(package: Package, digest: str, folder: Path) -> None:
    if digest != package.sha256:
        raise NbshipError(
            f"{folder / MODEL}: is not the model that {DESCRIPTION} describes",
            f"bring back the one that belongs there: dvc checkout --force {folder.name}/{MODEL}.dvc, "
            "or let a publishing that was cut off finish: nbship publish",
        )


def _unpickle(content: bytes, path: Path) -> Any:
    import joblib

    try:
        model = joblib.load(io.BytesIO(content))
    except Exception as error:  # unpickling runs the model's own code, which may raise anything
        raise NbshipError(
            f"{path}: the model cannot be loaded outside its notebook: {error}",
            "define what it is made of in an importable module, not in the notebook",
        ) from None
    if not hasattr(model, "predict"):
        raise NbshipError(f"{path}: a {type(model).__name__} cannot predict", "publish a fitted estimator")
    return model


def _read_table(path: Path) -> pd.DataFrame:
    """Reads a CSV file with types that tell a whole number from a missing value, and so from a fraction."""
    import pandas as pd

    try:
        rows = pd.read_csv(path, dtype_backend="numpy_nullable")
    except (OSError, ValueError) as error:
        raise NbshipError(f"{path}: no CSV table: {error}", "publish.reference names a CSV output") from None
    if rows.empty:
        raise NbshipError(
            f"{path}: has no rows", "publish.reference names the rows that the model learnt from"
        )
    return rows


def _input_names(estimator: Any, rows: pd.DataFrame, target: str, reference: Path) -> list[str]:
    columns = [str(column) for column in rows.columns]
    if target not in columns:
        raise UsageError(
            f"publish.target: {reference.name} has no column '{target}'", suggestion(target, columns)
        )
    names = [str(n) for n in getattr(estimator, "feature_names_in_", [c for c in columns if c != target])]
    if target in names:
        raise NbshipError(
            f"the model takes '{target}', which it is to predict", "fit it on a table without the target"
        )
    for name in names:
        if name not in columns:
            raise UsageError(
                f"publish.reference: {reference.name} has no column '{name}', which the model takes",
                suggestion(name, columns),
            )
    return names


def _output(estimator: Any, target: pd.Series[Any]) -> Output:
    classes = getattr(estimator, "classes_", None)
    return Output(
        kind="regression" if classes is None else "classification",
        target=str(target.name),
        classes=[] if classes is None else classes.tolist(),
        probabilities=hasattr(estimator, "predict_proba"),
        reference=describe_column(target),
    )


def _golden(estimator: Any, inputs: Sequence[Column], rows: pd.DataFrame) -> list[Golden]:
    """Takes rows from all over the table, and one with a missing value if there is one."""
    positions = {round(i * (len(rows) - 1) / (_GOLDEN - 1)) for i in range(_GOLDEN)}
    incomplete = rows.isna().any(axis=1).to_numpy().nonzero()[0][:1].tolist()
    records = to_records(rows.iloc[sorted(positions | set(incomplete))])
    table = to_frame(inputs, records)
    try:
        predictions = estimator.predict(table).tolist()
        probabilities = estimator.predict_proba(table).tolist() if hasattr(estimator, "predict_proba") else []
    except Exception as error:  # the model's own code may raise anything
        raise NbshipError(
            f"the model cannot predict a record of raw columns: {error}",
            "put every transform into the model: one Pipeline that takes named columns",
        ) from None
    probabilities = probabilities or [[] for _ in records]
    return [
        Golden(record=record, prediction=prediction, probabilities=shares)
        for record, prediction, shares in zip(records, predictions, probabilities, strict=True)
    ]


def _libraries() -> dict[str, str]:
    versions = {name: version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), "nbship": __version__, **versions}
