"""The model package: `model.joblib`, and `model.json` that says all that one must know to serve and judge it.

Built from a run's model and the rows it learnt from; read by the model server, the monitor and the client. A
pickle is code: nothing is unpickled before its hash is found to be the one that the description names.
"""

from __future__ import annotations

import hashlib
import io
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from nbship import __version__
from nbship.config import Column as ColumnSettings
from nbship.errors import NbshipError, UsageError, suggestion
from nbship.files import content_hash, write_text
from nbship.gate import Verdict
from nbship.serving.heldout import cross_validated_interval
from nbship.serving.outcome import (
    column_taken_alone,
    learns_without_target,
    outcome_of,
    predictions,
    with_gaps,
)
from nbship.serving.reference import read_reference
from nbship.serving.schema import Column, Output, describe_column, to_records, to_table
from nbship.serving.trained import TRAINED_ROWS, write_trained_rows

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
        synthetic: Names of the data files in whose place the run used a synthetic sample.
    """

    run: str
    started: datetime
    revision: str = ""
    dirty: bool = False
    data: dict[str, str] = {}
    synthetic: list[str] = []


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
        description: What it is for, in words.
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
    description: str = ""
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
    columns: Mapping[str, ColumnSettings] = MappingProxyType({}),
    description: str = "",
    held_out: Sequence[Path] = (),
) -> Package:
    """Writes the package of a model, and the hashes of the rows that it learnt from.

    Args:
        folder: Where to; must exist.
        name: How the model is called.
        model: The fitted model, written by joblib or pickle, whose origin the caller has checked.
        reference: The rows that it learnt from; see `read_reference`.
        target: The column that it predicts.
        origin: Where it comes from.
        metrics: What was measured of it.
        verdict: What the gate said of it.
        columns: What is known of its columns beyond what the rows show.
        description: What it is for, in words.
        held_out: Rows that it was judged on. What is missing there may be missing in a request.

    Raises:
        NbshipError: The model cannot be loaded outside its notebook, or does not fit the reference rows.
    """
    content = model.read_bytes()
    estimator = _unpickle(content, model)
    rows = read_reference(reference)
    names = _input_names(estimator, rows, target, reference)
    _check_known(columns, [*names, target])
    inputs = _inputs(estimator, rows[names], columns)
    golden = _golden(estimator, inputs, rows[names])
    package = Package(
        name=name,
        description=description,
        sha256=hashlib.sha256(content).hexdigest(),
        origin=origin,
        inputs=with_gaps(estimator, inputs, held_out),
        output=_output(estimator, inputs, rows, target, columns),
        rows=len(rows),
        metrics={key: value for key, value in metrics.items() if math.isfinite(value)},
        verdict=verdict,
        libraries=_libraries(),
        golden=golden,
    )
    (folder / MODEL).write_bytes(content)
    write_trained_rows(folder / TRAINED_ROWS, reference, names)
    write_description(folder, package)
    return package


def write_description(folder: Path, package: Package) -> None:
    """Writes `model.json`."""
    write_text(folder / DESCRIPTION, package.model_dump_json(indent=2) + "\n")


def reworded(package: Package, columns: Mapping[str, ColumnSettings], description: str) -> Package:
    """Returns a package with other words about the same model: what a person says, not what was measured.

    Raises:
        UsageError: The model neither takes nor predicts such a column.
    """

    def worded(column: Column) -> Column:
        return column.model_copy(update=columns.get(column.name, ColumnSettings()).model_dump())

    inputs, output = package.inputs, package.output
    _check_known(columns, [*(column.name for column in inputs), output.target])
    return package.model_copy(
        update={
            "description": description,
            "inputs": [worded(column) for column in inputs],
            "output": output.model_copy(update={"reference": worded(output.reference)}),
        }
    )


def words(package: Package) -> dict[str, ColumnSettings]:
    """Returns what a person has said of the columns, as it is in the pipeline file."""
    said = set(ColumnSettings.model_fields)
    columns = [*package.inputs, package.output.reference]
    return {c.name: ColumnSettings(**c.model_dump(include=said)) for c in columns}


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


def find_package(folder: Path) -> Package | None:
    """Returns the description of the model in a folder; None if there is none that fits it."""
    try:
        return read_package(folder)
    except NbshipError:
        return None


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


def _input_names(estimator: Any, rows: pd.DataFrame, target: str, reference: Path) -> list[str]:
    columns = [str(column) for column in rows.columns]
    if target not in columns and not learns_without_target(estimator):
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


def _check_known(known: Iterable[str], names: Sequence[str]) -> None:
    for name in known:
        if name not in names:
            raise UsageError(
                f"publish.columns: the model neither takes nor predicts a column '{name}'",
                suggestion(name, names),
            )


def _described(values: pd.Series[Any], known: Mapping[str, ColumnSettings]) -> Column:
    """Describes a column by its rows and by what the pipeline file says of it."""
    column = describe_column(values)
    settings = known.get(column.name)
    return column.model_copy(update=settings.model_dump()) if settings else column


def _inputs(estimator: Any, rows: pd.DataFrame, known: Mapping[str, ColumnSettings]) -> list[Column]:
    inputs = [_described(rows[name], known) for name in rows.columns]
    arrays = [column.name for column in inputs if column.type == "array"]
    if arrays and len(inputs) > 1:
        raise NbshipError(
            f"the model takes the array '{arrays[0]}' and other columns", "fit it on one array a record"
        )
    alone = column_taken_alone(estimator, inputs, rows)
    return [c.model_copy(update={"alone": True}) for c in inputs if c.name == alone] or inputs


def _output(
    estimator: Any,
    inputs: Sequence[Column],
    rows: pd.DataFrame,
    target: str,
    known: Mapping[str, ColumnSettings],
) -> Output:
    import pandas as pd

    table = to_table(inputs, to_records(rows[[column.name for column in inputs]]))
    outcome = outcome_of(estimator, table, len(rows))
    truth = rows.get(target)
    if truth is None or learns_without_target(estimator):
        truth = pd.Series(predictions(estimator, table, len(rows)), name=target)
    return Output(
        kind=outcome.kind,
        target=target,
        classes=outcome.classes,
        probabilities=outcome.probabilities,
        scores=outcome.scores,
        interval=cross_validated_interval(estimator, table, truth) if outcome.kind == "regression" else None,
        reference=_described(truth, known),
    )


def _golden(estimator: Any, inputs: Sequence[Column], rows: pd.DataFrame) -> list[Golden]:
    """Takes rows from all over the table, and one with a missing value if there is one."""
    rows = _finite_rows(rows[[column.name for column in inputs]])
    positions = {round(i * (len(rows) - 1) / (_GOLDEN - 1)) for i in range(_GOLDEN)}
    incomplete = rows.isna().any(axis=1).to_numpy().nonzero()[0][:1].tolist()
    records = to_records(rows.iloc[sorted(positions | set(incomplete))])
    table = to_table(inputs, records)
    predicted = predictions(estimator, table, len(records)).tolist()
    has_shares = hasattr(estimator, "predict_proba")
    probabilities = estimator.predict_proba(table).tolist() if has_shares else [[] for _ in records]
    return [
        Golden(record=record, prediction=prediction, probabilities=shares)
        for record, prediction, shares in zip(records, predicted, probabilities, strict=True)
    ]


def _finite_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Leaves out rows with an infinite number, which no request can hold, unless all are such."""
    import numpy as np

    numbers = rows.select_dtypes("number").astype("float64")
    finite = rows[~np.isinf(numbers.to_numpy()).any(axis=1)]
    return rows if finite.empty else finite


def _libraries() -> dict[str, str]:
    versions = {name: version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), "nbship": __version__, **versions}
