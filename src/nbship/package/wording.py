"""What a person says of a model, in the pipeline file: put into a package's description, and read out of it.

Changes no fact that was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nbship.config import ColumnSettings
from nbship.errors import UsageError, suggestion
from nbship.package.description import Package
from nbship.package.schema import Column


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
