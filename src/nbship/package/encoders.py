"""How ONNX computes scikit-learn's encoders of categories: each value becomes a row of a table.

skl2onnx's own converters stop at a value that was not seen, and take a missing one for the word "nan". Here,
what an unseen value becomes is a row as well; a missing one is the pipeline's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbship.package.dates import Nodes

if TYPE_CHECKING:
    import numpy as np

# Numbers in a table.
_TABLE_AT_MOST = 4_000_000


def convert(nodes: Nodes, operator: Any) -> None:
    """Adds what computes a OneHotEncoder, an OrdinalEncoder or a TargetEncoder.

    Args:
        nodes: Adds to the graph.
        operator: The encoder, its inputs and its output.

    Raises:
        NotImplementedError: It knows too many values, or numbers that 32 bits do not hold.
    """
    columns = _single_columns(nodes, operator)
    encodings = _encodings(operator.raw_operator)
    parts = [_encoded(nodes, *column, encoding) for column, encoding in zip(columns, encodings, strict=True)]
    nodes.add("Concat", parts, operator.outputs[0].full_name, axis=1)


def width(encoder: Any) -> int:
    """Returns how many columns an encoder makes."""
    return sum(len(encoding.unknown) for encoding in _encodings(encoder))


@dataclass(frozen=True)
class _Encoding:
    """What an encoder makes of one column's values.

    Attributes:
        known: The values that it knows, but for a missing one.
        rows: What each becomes, of the shape (known, width).
        unknown: What any other becomes; NaN if the encoder refuses it.
    """

    known: list[Any]
    rows: np.ndarray[Any, Any]
    unknown: np.ndarray[Any, Any]


def _encodings(encoder: Any) -> list[_Encoding]:
    from sklearn.preprocessing import OneHotEncoder, TargetEncoder

    if isinstance(encoder, OneHotEncoder):
        return [_one_hot(encoder, feature) for feature in range(len(encoder.categories_))]
    if isinstance(encoder, TargetEncoder):
        return [_by_target(encoder, feature) for feature in range(len(encoder.categories_))]
    return [_ordinal(encoder, feature) for feature in range(len(encoder.categories_))]


def _one_hot(encoder: Any, feature: int) -> _Encoding:
    import numpy as np

    values = list(encoder.categories_[feature])
    limited = encoder.min_frequency is not None or encoder.max_categories is not None
    infrequent = encoder.infrequent_categories_[feature] if limited else None
    rare = set() if infrequent is None else set(infrequent)
    frequent = [value for value in values if value not in rare]
    columns = [{value} for value in frequent] + ([rare] if rare else [])
    dropped = None if encoder.drop_idx_ is None else encoder.drop_idx_[feature]
    if dropped is not None:
        columns = [column for column in columns if values[dropped] not in column]
    known = [value for value in values if not is_missing(value)]
    rows = np.array([[value in column for column in columns] for value in known], dtype="float32")
    unknown = np.zeros(len(columns), dtype="float32")
    if encoder.handle_unknown == "error":
        unknown[:] = np.nan
    elif encoder.handle_unknown != "ignore" and rare in columns:
        unknown[columns.index(rare)] = 1
    return _Encoding(known, rows.reshape(len(known), len(columns)), unknown)


def _by_target(encoder: Any, feature: int) -> _Encoding:
    import numpy as np

    means = np.atleast_1d(encoder.target_mean_)
    width = len(means)
    values = encoder.categories_[feature]
    rows = np.stack(encoder.encodings_[feature * width : (feature + 1) * width], axis=1)
    kept = [position for position, value in enumerate(values) if not is_missing(value)]
    return _Encoding([values[i] for i in kept], rows[kept].astype("float32"), means.astype("float32"))


def _ordinal(encoder: Any, feature: int) -> _Encoding:
    import numpy as np
    import pandas as pd

    known = [value for value in encoder.categories_[feature] if not is_missing(value)]
    names = getattr(encoder, "feature_names_in_", range(len(encoder.categories_)))
    first = [values[0] for values in encoder.categories_]
    table = pd.DataFrame([first] * len(known), columns=names)
    table[names[feature]] = known
    given = encoder.unknown_value
    unknown = np.array([np.nan if given is None else given], dtype="float32")
    return _Encoding(known, np.asarray(encoder.transform(table))[:, [feature]].astype("float32"), unknown)


def is_missing(value: Any) -> bool:
    """Tells whether a value that an encoder or an imputer knows is None or NaN."""
    return value is None or bool(value != value)  # as NaN is alone


def _single_columns(nodes: Nodes, operator: Any) -> list[tuple[str, bool]]:
    """Returns an operator's input columns one by one, and of each whether it is text."""
    import numpy as np
    from onnx import TensorProto
    from skl2onnx.common.data_types import StringTensorType

    found = []
    for given in operator.inputs:
        is_text = isinstance(given.type, StringTensorType)
        for position in range(given.type.shape[1]):
            name = given.full_name
            if given.type.shape[1] > 1:
                at = nodes.constant(np.array([position]), TensorProto.INT64)
                name = nodes.add("Gather", [name, at], axis=1)
            found.append((name, is_text))
    return found


def _encoded(nodes: Nodes, column: str, is_text: bool, encoding: _Encoding) -> str:
    """Looks each value up in a table, whose last row is for any value that is not known."""
    import numpy as np
    from onnx import TensorProto

    table = np.vstack([encoding.rows, encoding.unknown])
    if table.size > _TABLE_AT_MOST:
        raise NotImplementedError(f"an encoding of {len(encoding.known)} values is too large")
    keys: dict[str, Any] = {"keys_strings": [str(value).encode() for value in encoding.known]}
    if not is_text:
        keys = {"keys_floats": [float(value) for value in encoding.known]}
        if any(key != np.float32(key) for key in keys["keys_floats"]):
            raise NotImplementedError("an encoding of numbers that need 64 bits is not compiled")
    positions = {"values_int64s": list(range(len(encoding.known))), "default_int64": len(encoding.known)}
    attributes: dict[str, Any] = {**keys, **positions, "op_domain": "ai.onnx.ml", "op_version": 2}
    position = nodes.add("LabelEncoder", [column], **attributes)
    rows = nodes.add("Gather", [nodes.constant(table, TensorProto.FLOAT), position])
    shape = nodes.constant(np.array([-1, table.shape[1]]), TensorProto.INT64)
    return nodes.add("Reshape", [rows, shape])
