"""Builds a model package from a run's model and the rows it was trained on.

That is `model.joblib`, `model.json`, `model.onnx` where that answers as the model does, and what goes with
them to DVC alone.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import platform
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any

from nbship import __version__
from nbship.config import ColumnSettings
from nbship.errors import NbshipError, UsageError, suggestion
from nbship.gate import Verdict
from nbship.package.accepted import applied, measured
from nbship.package.compilation import compiled_form
from nbship.package.description import (
    COMPILED,
    MODEL,
    CompiledForm,
    Golden,
    Origin,
    Package,
    write_description,
)
from nbship.package.load import unpickle
from nbship.package.outcome import (
    column_taken_alone,
    learns_without_target,
    output_kind_of,
    predictions,
    with_gaps,
)
from nbship.package.prediction import from_pipeline
from nbship.package.prediction_interval import cross_validated_interval
from nbship.package.reference import read_reference
from nbship.package.sample import SAMPLE, make_sample, write_sample
from nbship.package.schema import Column, Output, describe_column, to_records, to_table
from nbship.package.trained import TRAINED_ROWS, write_trained_rows
from nbship.package.wording import check_columns

if TYPE_CHECKING:
    import pandas as pd

_LIBRARIES = ("scikit-learn", "numpy", "pandas", "joblib")
_GOLDEN = 5


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
    sample: int = 0,
    private: Collection[str] = (),
) -> Package:
    """Writes the package of a model, the hashes of the rows that it was trained on, and a sample of them.

    Args:
        folder: Where to; must exist.
        name: How the model is called.
        model: The fitted model, written by joblib or pickle, whose origin the caller has checked.
        reference: The rows that it was trained on; see `read_reference`.
        target: The column that it predicts.
        origin: Where it comes from.
        metrics: What was measured of it.
        verdict: What the gate said of it.
        columns: What is known of its columns beyond what the rows show.
        description: What it is for, in words.
        held_out: Rows that it was judged on. What is missing there may be missing in a request.
        sample: How many rows are kept, for what is asked to be compared with; none if 0.
        private: Columns that are not kept in it.

    Raises:
        NbshipError: The model cannot be loaded outside its notebook, or does not fit the reference rows.
    """
    content = model.read_bytes()
    estimator = unpickle(content, model)
    rows = read_reference(reference)
    names = _input_names(estimator, rows, target, reference)
    check_columns(columns, [*names, target])
    seen = _inputs(estimator, rows[names], columns)
    golden = _golden(estimator, seen, rows[names])
    output = _output(estimator, seen, rows, target, columns)
    inputs = measured(with_gaps(estimator, seen, held_out), partial(from_pipeline, estimator, seen, output))
    known = [each.record for each in golden]
    compiled = compiled_form(estimator, applied(inputs), output, known, len(content))
    package = Package(
        name=name,
        description=description,
        sha256=hashlib.sha256(content).hexdigest(),
        origin=origin,
        inputs=list(inputs),
        output=output,
        rows=len(rows),
        metrics={key: value for key, value in metrics.items() if math.isfinite(value)},
        verdict=verdict,
        libraries=_libraries(),
        golden=golden,
        compiled=_form(compiled.content, estimator) if compiled.session else None,
        sample=write_sample(
            folder / SAMPLE, make_sample(estimator, inputs, output, rows, held_out, sample, private)
        )
        if sample
        else None,
    )
    (folder / MODEL).write_bytes(content)
    if package.compiled:
        (folder / COMPILED).write_bytes(compiled.content)
    write_trained_rows(folder / TRAINED_ROWS, reference, names)
    write_description(folder, package)
    return package


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
    given = output_kind_of(estimator, table, len(rows))
    truth = rows.get(target)
    if truth is None or learns_without_target(estimator):
        truth = pd.Series(predictions(estimator, table, len(rows)), name=target)
    return Output(
        kind=given.kind,
        target=target,
        classes=given.classes,
        probabilities=given.probabilities,
        scores=given.scores,
        interval=cross_validated_interval(estimator, table, truth) if given.kind == "regression" else None,
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


def _form(content: bytes, estimator: Any) -> CompiledForm:
    modules = _Modules(io.BytesIO())
    modules.dump(estimator)
    # Without those that compiled code makes as it goes.
    found = [name for name in modules.found if getattr(sys.modules.get(name), "__spec__", None)]
    return CompiledForm(sha256=hashlib.sha256(content).hexdigest(), modules=sorted(found))


class _Modules(pickle.Pickler):
    """Finds the modules that must be importable where an estimator is to be unpickled."""

    found: set[str]

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.found = set()

    def persistent_id(self, thing: Any) -> None:
        """Is told of each object on the way; all are pickled as they are."""
        named = thing if isinstance(thing, type | FunctionType) else type(thing)
        self.found.add(str(getattr(named, "__module__", "") or "builtins").partition(".")[0])


def _libraries() -> dict[str, str]:
    versions = {name: version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), "nbship": __version__, **versions}
