"""Takes records and samples apart into what the tests take: tables of columns, and answers with truth."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from nbship.monitoring.values import numbers
from nbship.package.sample import Answers, ReferenceSample
from nbship.package.schema import Column

if TYPE_CHECKING:
    import pandas as pd

    from nbship.monitoring.records import Records

# The square of a larger error is none.
_LARGEST = 1e150


def reference_table(sample: ReferenceSample | None) -> pd.DataFrame | None:
    """Returns a sample's inputs as a table; None without."""
    import pandas as pd

    if sample is None or not sample.inputs:
        return None
    return pd.DataFrame({name: pd.Series(values, dtype="object") for name, values in sample.inputs.items()})


def shown(columns: Sequence[Column], private: Collection[str]) -> list[Column]:
    """Returns the columns that can be compared: what is private is left out of the records, or hashed."""
    return [column for column in columns if column.name not in private]


def given(columns: Sequence[Column], inputs: pd.DataFrame, private: Collection[str]) -> pd.DataFrame:
    """Returns the columns of records; a column that was never given is absent from them, and empty here."""
    import pandas as pd

    names = [
        column.name for column in shown(columns, private) if column.type != "array" or column.name in inputs
    ]
    absent = pd.Series([None] * len(inputs), index=inputs.index, dtype="object")
    return pd.DataFrame({name: inputs.get(name, absent) for name in names}, index=inputs.index)


def labelled(records: Records, chosen: pd.Series[bool], kind: str) -> pd.DataFrame:
    """Returns the answers whose truth is known, with it, in the order in which that became known.

    Args:
        records: What was asked and answered.
        chosen: Which of it.
        kind: What the model gives; of a `regression`, what is no number is left out.
    """
    import pandas as pd

    table = records.answers[chosen].join(records.labels, how="inner")
    known = table["value"].notna() & table["prediction"].notna()
    if kind == "regression":
        sums = numbers(table["value"]) + numbers(table["prediction"])
        known &= pd.Series(abs(sums) < _LARGEST, index=table.index)
    table = table[known]
    order = sorted(range(len(table)), key=lambda row: (table["arrived"].iloc[row], str(table.index[row])))
    return table.iloc[order]


def answers_of(table: pd.DataFrame) -> Answers:
    """Returns what labelled rows say as a model's answers."""
    return Answers(
        predictions=table["prediction"].tolist(),
        probabilities=[_listed(row) for row in table["probabilities"].tolist()],
        truth=table["value"].tolist(),
        low=numbers(table["low"]).tolist(),
        high=numbers(table["high"]).tolist(),
    )


def _listed(row: Any) -> list[float]:
    import numpy as np

    return list(row) if isinstance(row, list | tuple | np.ndarray) else []
