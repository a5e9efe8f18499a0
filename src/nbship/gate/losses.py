"""Reads the losses that steps write: one for each held-out row, or one for each fold of refitted models.

Knows files, and nothing of how models are compared.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nbship.errors import NbshipError

Losses = Mapping[str, float]


class Fold(BaseModel):
    """Mean losses of two models that were fitted to the same rows, on the same other rows.

    Attributes:
        train_rows: How many rows both were fitted to.
        rows: How many rows the losses are means of.
        candidate: Mean loss of the candidate's recipe.
        champion: Mean loss of the champion's recipe.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    train_rows: int = Field(gt=0)
    rows: int = Field(gt=0)
    candidate: float
    champion: float


class Refits(BaseModel):
    """Candidate and champion, each fitted again to the same folds of all rows.

    Attributes:
        folds: At least two; none where the models were not fitted again.
        reason: Why they were not.
    """

    model_config = ConfigDict(frozen=True)

    folds: tuple[Fold, ...] = ()
    reason: str = ""


def read_losses(path: Path) -> dict[str, float]:
    """Reads a CSV file with the columns `row` and `loss`, in the order of its lines.

    Raises:
        NbshipError: It cannot be read, a column is missing, a row appears twice, or a loss is no number.
    """
    try:
        # pandas and Excel may begin the file with a byte order mark.
        with path.open(newline="", encoding="utf-8-sig") as file:
            return dict(_losses(file, path.name))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NbshipError(f"{path.name}: cannot be read: {error}", "write it as CSV in UTF-8") from None


def read_refits(path: Path) -> Refits:
    """Reads a JSON file with `folds`, or with the `reason` why there are none.

    Raises:
        NbshipError: It cannot be read or is not of this form, or there is one fold alone.
    """
    try:
        refits = Refits.model_validate_json(path.read_bytes())
    except OSError as error:
        raise NbshipError(f"{path.name}: cannot be read: {error}", "write it as JSON in UTF-8") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"])) or "content"
        raise NbshipError(
            f"{path.name}: {where}: {problem['msg']}",
            "write folds with train_rows, rows, candidate and champion, or a reason why there are none",
        ) from None
    if len(refits.folds) == 1:
        raise NbshipError(f"{path.name}: one fold shows no spread", "refit on two at least")
    return refits


def _losses(lines: Iterable[str], name: str) -> Iterator[tuple[str, float]]:
    reader = csv.DictReader(lines)
    if not {"row", "loss"} <= set(reader.fieldnames or ()):
        raise NbshipError(
            f"{name}: has the columns {', '.join(reader.fieldnames or ['none'])}", "it needs row and loss"
        )
    seen: set[str] = set()
    for line in reader:
        where, row, text = f"{name}, line {reader.line_num}", line["row"], line["loss"]
        if row in seen:
            raise NbshipError(f"{where}: row '{row}' is there twice", "number the rows")
        seen.add(row)
        try:
            loss = float(text)
        except (TypeError, ValueError):
            loss = math.nan
        if row is None or not math.isfinite(loss):
            raise NbshipError(f"{where}: loss '{text}' is not a finite number", "write one number a row")
        yield row, loss
