"""The description of a model package, `model.json`: all that one must know to serve and judge the model.

Pydantic models and what changes or writes them. Building a package is `builder`'s job, reading it `load`'s.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

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
        sample: Hash of `reference.json`, with which what is asked is compared; None without.
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
    sample: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """What a model server needs, the description last, for it says that all of it is there."""
        return (MODEL, *([COMPILED] if self.compiled else []), DESCRIPTION)

    @property
    def requirements(self) -> list[str]:
        """What pip installs for the pickled pipeline, of which nbship itself is no part."""
        own = ("python", "nbship")
        return [f"{name}=={version}" for name, version in self.libraries.items() if name not in own]


def write_description(folder: Path, package: Package) -> None:
    """Writes `model.json`."""
    write_text(folder / DESCRIPTION, package.model_dump_json(indent=2) + "\n")
