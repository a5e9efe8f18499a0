"""The rows that a model learnt from: read from CSV, Parquet, or NumPy's archive of arrays.

Knows files and tables; what is said of their columns is the business of `schema`.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbship.errors import NbshipError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def read_reference(path: Path) -> pd.DataFrame:
    """Reads reference rows with types that tell a whole number from a missing value, and so from a fraction.

    Args:
        path: A CSV file; or a `.parquet` file, whose dates become texts, as in JSON; or an `.npz` archive,
            whose arrays are the columns, their first axis the rows. A column of arrays of one shape, such as
            images, has a NumPy array in each row.

    Raises:
        NbshipError: It cannot be read, or has no rows.
    """
    read = {".npz": _read_arrays, ".parquet": _read_parquet, ".pq": _read_parquet}
    rows = read.get(path.suffix.lower(), _read_table)(path)
    if rows.empty:
        raise NbshipError(
            f"{path}: has no rows", "publish.reference names the rows that the model was trained on"
        )
    return rows


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, dtype_backend="numpy_nullable")
    except (OSError, ValueError) as error:
        raise NbshipError(
            f"{path}: not a CSV table: {error}", "publish.reference names a CSV output"
        ) from None


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return as_json_has_it(pd.read_parquet(path, dtype_backend="numpy_nullable"))
    except ImportError:
        raise NbshipError(
            f"{path}: no library here reads Parquet", "pip install pyarrow, or write the rows as CSV"
        ) from None
    except (OSError, ValueError) as error:
        raise NbshipError(
            f"{path}: not a Parquet table: {error}", "publish.reference names a CSV or Parquet output"
        ) from None


def as_json_has_it(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a table whose values are numbers, booleans, texts and arrays, as those of a request are."""
    import pandas as pd

    columns = {str(name): _as_json_has_it(table[name]) for name in table}
    return pd.DataFrame(columns).reset_index(drop=True)


def _as_json_has_it(values: pd.Series[Any]) -> pd.Series[Any]:
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_float_dtype(values):
        return values.astype("float64")
    if pd.api.types.is_numeric_dtype(values):  # booleans too
        return values.convert_dtypes(convert_floating=False)
    if values.dtype != object:  # dates and times
        values = values.astype(str).where(values.notna())
    return values.map(_plain, na_action="ignore").convert_dtypes()


def _plain(value: Any) -> Any:
    import numpy as np

    if isinstance(value, str | bool | int | float | np.ndarray):
        return value
    return float(value) if isinstance(value, Decimal) else str(value)


def _read_arrays(path: Path) -> pd.DataFrame:
    import zipfile

    import numpy as np
    import pandas as pd

    try:
        with np.load(path, allow_pickle=False) as archive:
            columns = {name: _to_series(archive[name]) for name in archive.files}
        if len({len(column) for column in columns.values()}) > 1:
            raise ValueError(", ".join(f"{name} has {len(column)}" for name, column in columns.items()))
        return pd.DataFrame(columns)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise NbshipError(
            f"{path}: not an archive of arrays of one length: {error}", "write it with numpy.savez"
        ) from None


def _to_series(array: np.ndarray[Any, Any]) -> pd.Series[Any]:
    import pandas as pd

    if array.ndim > 1:
        return pd.Series(list(array), dtype="object")
    return pd.Series(array).convert_dtypes(convert_floating=array.dtype.kind != "f")
