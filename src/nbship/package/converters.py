"""How ONNX computes the few scikit-learn estimators that skl2onnx does not know, or not all of.

Given to skl2onnx for each conversion; nothing is registered for the whole process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbship.package import dates, encoders

Converter = Callable[[Any, Any, Any], None]
ShapeCalculator = Callable[[Any], None]
_GRID = 200


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
    if not encoders.is_missing(imputer.missing_values) or imputer.add_indicator:
        raise NotImplementedError("texts that count as missing are not compiled")
    nodes = _Nodes(scope, container)
    nodes.add("Identity", [_concatenated(nodes, operator)], operator.outputs[0].full_name)


def _shape_of_imputer(operator: Any) -> None:
    from skl2onnx.common._registration import get_shape_calculator

    if _takes_text(operator):
        width = sum(each.type.shape[1] for each in operator.inputs)
        operator.outputs[0].type = type(operator.inputs[0].type)([None, width])
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


def _convert_encoder(scope: Any, operator: Any, container: Any) -> None:
    encoders.convert(_Nodes(scope, container), operator)


def _shape_of_encoded(operator: Any) -> None:
    from skl2onnx.common.data_types import FloatTensorType

    operator.outputs[0].type = FloatTensorType([None, encoders.width(operator.raw_operator)])
