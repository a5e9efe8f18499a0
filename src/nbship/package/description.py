"""The description of a model package, `model.json`: all that one must know to serve and judge the model.

Pydantic models and what changes or writes them. Building a package is `build`'s job, reading it `load`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from nbship.config import Column as ColumnSettings
from nbship.errors import UsageError, suggestion
from nbship.files import write_text
from nbship.gate import Verdict
from nbship.package.schema import Column, Output

MODEL = "model.joblib"
COMPILED = "model.onnx"
DESCRIPTION = "model.json"


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


class CompiledForm(_Frozen):
    """The model in its compiled form, `model.onnx`, which was found to answer as the pipeline does.

    Attributes:
        sha256: Its hash.
        modules: What must be importable for the pipeline, which answers the records that this one cannot.
    """

    sha256: str
    modules: list[str]


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
        compiled: The model in its compiled form; None if it has none.
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
    compiled: CompiledForm | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """What a model server needs, the description last, for it says that all of it is there."""
        return (MODEL, *([COMPILED] if self.compiled else []), DESCRIPTION)


def write_description(folder: Path, package: Package) -> None:
    """Writes `model.json`."""
    write_text(folder / DESCRIPTION, package.model_dump_json(indent=2) + "\n")


def reworded(package: Package, columns: Mapping[str, ColumnSettings], description: str) -> Package:
    """Returns a package with other words about the same model: what a person says, not what was measured.

    Where values may be missing that had to be there, or the other way round, it has no compiled form any
    more, for that was not compared on such records.

    Raises:
        UsageError: The model neither takes nor predicts such a column.
    """

    def worded(column: Column) -> Column:
        return column.model_copy(update=columns.get(column.name, ColumnSettings()).model_dump())

    inputs, output = package.inputs, package.output
    check_columns(columns, [*(column.name for column in inputs), output.target])
    renewed = [worded(column) for column in inputs]
    same_gaps = [column.required for column in renewed] == [column.required for column in inputs]
    return package.model_copy(
        update={
            "description": description,
            "inputs": renewed,
            "compiled": package.compiled if same_gaps else None,
            "output": output.model_copy(update={"reference": worded(output.reference)}),
        }
    )


def words(package: Package) -> dict[str, ColumnSettings]:
    """Returns what a person has said of the columns, as it is in the pipeline file."""
    said = set(ColumnSettings.model_fields)
    columns = [*package.inputs, package.output.reference]
    return {c.name: ColumnSettings(**c.model_dump(include=said)) for c in columns}


def check_columns(known: Iterable[str], names: Sequence[str]) -> None:
    """Raises UsageError where something is said of a column that the model neither takes nor predicts."""
    for name in known:
        if name not in names:
            raise UsageError(
                f"publish.columns: the model neither takes nor predicts a column '{name}'",
                suggestion(name, names),
            )
