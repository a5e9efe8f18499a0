"""How ONNX computes the few scikit-learn estimators that skl2onnx does not know, or not all of.

Its own converters of encoders stop at a value that was not seen, and take a missing one for the word "nan".
Given to skl2onnx for each conversion; nothing is registered for the whole process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

from nbship.serving import dates

Converter = Callable[[Any, Any, Any], None]
ShapeCalculator = Callable[[Any], None]
_GRID = 200
# Numbers in the table of what each known value becomes.
_TABLE_AT_MOST = 4_000_000


def conversions() -> Mapping[type, Converter]:
    """Returns the converters by the estimator's type."""
    from sklearn import preprocessing
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.impute import SimpleImputer

    return {
        SimpleImputer: _convert_imputer,
        preprocessing.FunctionTransformer: _convert_function,
        preprocessing.OneHotEncoder: _convert_encoder,
        preprocessing.OrdinalEncoder: _convert_encoder,
        preprocessing.SplineTransformer: _convert_splines,
        preprocessing.TargetEncoder: _convert_encoder,
        TransformedTargetRegressor: _convert_transformed_target,
    }


def shapes() -> Mapping[type, ShapeCalculator]:
    """Returns what says the type of the converters' outputs, by the estimator's type."""
    from sklearn import preprocessing
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.impute import SimpleImputer

    return {
        SimpleImputer: _shape_of_imputer,
        preprocessing.FunctionTransformer: _shape_of_function,
        preprocessing.OneHotEncoder: _shape_of_encoded,
        preprocessing.OrdinalEncoder: _shape_of_encoded,
        preprocessing.SplineTransformer: _shape_of_splines,
        preprocessing.TargetEncoder: _shape_of_encoded,
        TransformedTargetRegressor: _shape_of_target,
    }


@dataclass(frozen=True)
class _Nodes:
    """Adds nodes to the graph that is being made."""

    scope: Any
    container: Any

    def add(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        name = output or self.scope.get_unique_variable_name(kind)
        node = self.scope.get_unique_operator_name(kind)
        self.container.add_node(kind, list(inputs), name, name=node, **attributes)
        return name

    def constant(self, values: Any, kind: int) -> str:
        name: str = self.scope.get_unique_variable_name("constant")
        self.container.add_initializer(name, kind, list(values.shape), values.ravel().tolist())
        return name


def _operation(function: Any) -> str:
    """Returns ONNX's name of a NumPy function.

    Raises:
        NotImplementedError: There is none.
    """
    import numpy as np

    known = {None: "Identity", np.log: "Log", np.exp: "Exp", np.sqrt: "Sqrt", np.abs: "Abs"}
    if function not in known:
        raise NotImplementedError(f"{getattr(function, '__name__', function)} is not compiled")
    return known[function]


def _concatenated(nodes: _Nodes, operator: Any) -> str:
    names = [each.full_name for each in operator.inputs]
    return names[0] if len(names) == 1 else nodes.add("Concat", names, axis=1)


def _convert_function(scope: Any, operator: Any, container: Any) -> None:
    nodes, transformer = _Nodes(scope, container), operator.raw_operator
    given, output = _concatenated(nodes, operator), operator.outputs[0].full_name
    if dates.reads_dates(transformer):
        dates.convert_reading(nodes, transformer, given, output)
    elif dates.takes_dates_apart(transformer):
        dates.convert_part(nodes, transformer, given, output)
    else:
        nodes.add(_operation(transformer.func), [given], output)


def _shape_of_function(operator: Any) -> None:
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

    transformer = operator.raw_operator
    width = sum(each.type.shape[1] for each in operator.inputs)
    kind = type(operator.inputs[0].type)
    if dates.reads_dates(transformer):
        kind = Int64TensorType
    elif dates.takes_dates_apart(transformer):
        kind = FloatTensorType
    operator.outputs[0].type = kind([None, width])


def _convert_imputer(scope: Any, operator: Any, container: Any) -> None:
    """Leaves texts as they are, for a record that lacks one is the pipeline's business."""
    from skl2onnx.common._registration import get_converter

    imputer = operator.raw_operator
    if not _takes_text(operator):
        get_converter(_known_as(imputer))(scope, operator, container)
        return
    if not _is_missing(imputer.missing_values) or imputer.add_indicator:
        raise NotImplementedError("texts that count as missing are not compiled")
    nodes = _Nodes(scope, container)
    nodes.add("Identity", [_concatenated(nodes, operator)], operator.outputs[0].full_name)


def _shape_of_imputer(operator: Any) -> None:
    from skl2onnx.common._registration import get_shape_calculator

    if _takes_text(operator):
        _shape_of_function(operator)
    else:
        get_shape_calculator(_known_as(operator.raw_operator))(operator)


def _takes_text(operator: Any) -> bool:
    from skl2onnx.common.data_types import StringTensorType

    return isinstance(operator.inputs[0].type, StringTensorType)


def _convert_transformed_target(scope: Any, operator: Any, container: Any) -> None:
    from skl2onnx.common.data_types import FloatTensorType

    target = operator.raw_operator
    if target.transformer is not None:
        raise NotImplementedError("a target transformed by an estimator is not compiled")
    inner = scope.declare_local_operator(_known_as(target.regressor_), target.regressor_)
    inner.inputs = operator.inputs
    predicted = scope.declare_local_variable("transformed", FloatTensorType([None, 1]))
    inner.outputs.append(predicted)
    kind = _operation(target.inverse_func)
    _Nodes(scope, container).add(kind, [predicted.full_name], operator.outputs[0].full_name)


def _known_as(estimator: Any) -> str:
    from skl2onnx import get_model_alias

    alias: str = get_model_alias(type(estimator))
    return alias


def _shape_of_target(operator: Any) -> None:
    from skl2onnx.common.data_types import FloatTensorType

    operator.outputs[0].type = FloatTensorType([None, 1])


def _convert_splines(scope: Any, operator: Any, container: Any) -> None:
    """A spline is a sum of powers of x, and of powers of how far x is beyond each inner knot.

    The weights of that sum are found by evaluating the transformer on a grid. Computed with 64 bits, for the
    terms nearly cancel. Source: C. de Boor, A Practical Guide to Splines, the truncated power basis.
    """
    import numpy as np
    from onnx import TensorProto

    splines = operator.raw_operator
    if splines.extrapolation != "constant":
        raise NotImplementedError(f"splines with extrapolation '{splines.extrapolation}' are not compiled")
    nodes, degree = _Nodes(scope, container), splines.degree
    knots = np.stack([spline.t[degree : len(spline.t) - degree] for spline in splines.bsplines_])
    low, width = knots[:, :1].T, knots[:, -1:].T - knots[:, :1].T
    unit = np.linspace(0, 1, _GRID)[:, np.newaxis]
    bases = np.split(splines.transform(unit * width + low), splines.n_features_in_, axis=1)

    x = nodes.add("Cast", [_concatenated(nodes, operator)], to=TensorProto.DOUBLE)
    shifted = nodes.add("Sub", [x, nodes.constant(low, TensorProto.DOUBLE)])
    scaled = nodes.add("Div", [shifted, nodes.constant(width, TensorProto.DOUBLE)])
    zero, one, exponent = (
        nodes.constant(np.array([n]), TensorProto.DOUBLE) for n in (0.0, 1.0, float(degree))
    )
    clipped = nodes.add("Max", [nodes.add("Min", [scaled, one]), zero])
    powers = np.arange(degree + 1, dtype="float64")[np.newaxis]
    parts = []
    for feature, basis in enumerate(bases):
        inner = ((knots[feature, 1:-1] - low[0, feature]) / width[0, feature])[np.newaxis]
        terms = np.hstack([unit**powers, np.maximum(unit - inner, 0) ** degree])
        weights = np.linalg.lstsq(terms, basis, rcond=None)[0]
        column = nodes.add(
            "Gather", [clipped, nodes.constant(np.array([feature]), TensorProto.INT64)], axis=1
        )
        beyond = nodes.add("Sub", [column, nodes.constant(inner, TensorProto.DOUBLE)])
        computed = [
            nodes.add("Pow", [column, nodes.constant(powers, TensorProto.DOUBLE)]),
            nodes.add("Pow", [nodes.add("Max", [beyond, zero]), exponent]),
        ]
        joined = nodes.add("Concat", computed, axis=1)
        parts.append(nodes.add("MatMul", [joined, nodes.constant(weights, TensorProto.DOUBLE)]))
    output = operator.outputs[0].full_name
    nodes.add("Cast", [nodes.add("Concat", parts, axis=1)], output, to=TensorProto.FLOAT)


def _shape_of_splines(operator: Any) -> None:
    from skl2onnx.common.data_types import FloatTensorType

    operator.outputs[0].type = FloatTensorType([None, operator.raw_operator.n_features_out_])


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
    known = [value for value in values if not _is_missing(value)]
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
    kept = [position for position, value in enumerate(values) if not _is_missing(value)]
    return _Encoding([values[i] for i in kept], rows[kept].astype("float32"), means.astype("float32"))


def _ordinal(encoder: Any, feature: int) -> _Encoding:
    import numpy as np
    import pandas as pd

    known = [value for value in encoder.categories_[feature] if not _is_missing(value)]
    names = getattr(encoder, "feature_names_in_", range(len(encoder.categories_)))
    first = [values[0] for values in encoder.categories_]
    table = pd.DataFrame([first] * len(known), columns=names)
    table[names[feature]] = known
    given = encoder.unknown_value
    unknown = np.array([np.nan if given is None else given], dtype="float32")
    return _Encoding(known, np.asarray(encoder.transform(table))[:, [feature]].astype("float32"), unknown)


def _is_missing(value: Any) -> bool:
    return value is None or bool(value != value)  # as NaN is alone


def _convert_encoder(scope: Any, operator: Any, container: Any) -> None:
    nodes = _Nodes(scope, container)
    columns = _single_columns(nodes, operator)
    encodings = _encodings(operator.raw_operator)
    parts = [_encoded(nodes, *column, encoding) for column, encoding in zip(columns, encodings, strict=True)]
    nodes.add("Concat", parts, operator.outputs[0].full_name, axis=1)


def _single_columns(nodes: _Nodes, operator: Any) -> list[tuple[str, bool]]:
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


def _encoded(nodes: _Nodes, column: str, is_text: bool, encoding: _Encoding) -> str:
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


def _shape_of_encoded(operator: Any) -> None:
    from skl2onnx.common.data_types import FloatTensorType

    width = sum(len(encoding.unknown) for encoding in _encodings(operator.raw_operator))
    operator.outputs[0].type = FloatTensorType([None, width])
