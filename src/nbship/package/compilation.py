"""Compiles a scikit-learn pipeline to ONNX, when its package is built.

What is made is taken only if `comparison` finds that it answers as the pipeline does.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbship.package.comparison import compared
from nbship.package.compiled import Compiled, code_name, describe, input_name, open_compiled, open_session
from nbship.package.schema import Column, Output, Record

if TYPE_CHECKING:
    import numpy as np

# Beyond this size of the pickle, in bytes, compiling takes longer than a publishing may.
_BYTES_AT_MOST = 20_000_000
# Below this, 32 bits tell all whole numbers apart.
_WHOLE_BELOW = 2**24
# How far apart neighbouring numbers of 32 bits may be, as a share of a column's range.
_STEP = 1e-4


def compiled_form(
    estimator: Any, columns: Sequence[Column], output: Output, known: Sequence[Record], size: int
) -> Compiled:
    """Compiles a model if that answers as the pipeline does; otherwise says why not.

    Args:
        estimator: The pipeline.
        columns: What it takes, as values are checked by them.
        output: What it gives.
        known: Some records that it was trained on.
        size: Of its pickle, in bytes.
    """
    if output.scores:
        return Compiled(why_not="scores are not compiled")
    return compared(compile_model(estimator, columns, size), estimator, columns, output, known)


def compile_model(estimator: Any, columns: Sequence[Column], size: int) -> Compiled:
    """Compiles a model; whether it answers as the original does is still to be found out.

    Args:
        estimator: The fitted model.
        columns: What it takes.
        size: Of its pickle, in bytes.
    """
    if size > _BYTES_AT_MOST:
        return Compiled(why_not="the model is too large")
    for column in columns:
        if _is_too_fine(column):
            return Compiled(why_not=f"32 bits do not tell the numbers of '{column.name}' apart")
    try:
        return open_compiled(_converted(estimator, columns))
    except Exception as error:  # converters, like models, may raise anything
        return Compiled(why_not=describe(error))


def _is_too_fine(column: Column) -> bool:
    if column.minimum is None or column.maximum is None:
        return False
    widest = max(abs(column.minimum), abs(column.maximum))
    if column.kind.whole:
        return widest > _WHOLE_BELOW
    return 0 < (column.maximum - column.minimum) * _STEP < widest / _WHOLE_BELOW


def _converted(estimator: Any, columns: Sequence[Column]) -> bytes:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    from nbship.package import converters

    # skl2onnx refuses a vote that would flatten its transform, which no prediction uses.
    votes = [name for name in estimator.get_params() if name.split("__")[-1] == "flatten_transform"]
    model = copy.deepcopy(estimator).set_params(**dict.fromkeys(votes, False))
    types = [
        (
            column.name,
            StringTensorType([None, 1])
            if column.kind.textual
            else FloatTensorType([None, *(column.shape or (1,))]),
        )
        for column in columns
    ]
    logging.getLogger("skl2onnx").setLevel(logging.ERROR)
    onnx = convert_sklearn(
        model,
        name="model",  # else a random one
        initial_types=types,
        options={id(model): {"zipmap": False}} if hasattr(model, "classes_") else None,
        custom_conversion_functions=converters.conversions(),
        custom_shape_calculators=converters.shapes(),
    )
    _number_inputs(onnx.graph, columns)
    for position, column in enumerate(columns):
        if column.type == "category":
            _take_codes(onnx, input_name(position), code_name(position), list(column.categories))
    content: bytes = onnx.SerializeToString(deterministic=True)
    return content


def _number_inputs(graph: Any, columns: Sequence[Column]) -> None:
    """Names the inputs by their columns' positions, for skl2onnx changes names that are no identifiers."""
    names = {given.name: input_name(i) for i, (given, _) in enumerate(zip(graph.input, columns, strict=True))}
    for given in graph.input:
        given.name = names[given.name]
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = names.get(name, name)


def _take_codes(onnx: Any, name: str, code: str, texts: Sequence[str]) -> None:
    """Has a graph take a code for each category, and look up what it would compute from that column alone.

    Texts take long to hand over, and long to compare.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    graph = onnx.graph
    (given,) = (each for each in graph.input if each.name == name)
    constants = {each.name for each in graph.initializer}
    of_column = {name}
    alone, others = [], []
    for node in graph.node:  # in the order of the computation
        inputs = set(node.input)
        if inputs & of_column and inputs <= of_column | constants:
            alone.append(node)
            of_column.update(node.output)
        else:
            others.append(node)
    wanted = sorted(of_column & {each for node in others for each in node.input})
    array = np.array(texts, dtype=object).reshape(-1, 1)
    tables = {name: array} | _computed(onnx, alone, given, array, [each for each in wanted if each != name])
    look_ups = [helper.make_node("Gather", [f"{each} by code", code], [each]) for each in wanted]
    graph.initializer.extend(numpy_helper.from_array(tables[each], f"{each} by code") for each in wanted)
    del graph.node[:]
    graph.node.extend([*look_ups, *others])
    given.CopyFrom(helper.make_tensor_value_info(code, TensorProto.INT64, [None]))


def _computed(
    onnx: Any, nodes: Sequence[Any], given: Any, array: np.ndarray[Any, Any], wanted: Sequence[str]
) -> dict[str, np.ndarray[Any, Any]]:
    """Returns what a part of a graph makes of its one input, by the names of its outputs."""
    from onnx import ModelProto, ValueInfoProto

    if not wanted:
        return {}
    part = ModelProto()
    part.CopyFrom(onnx)
    del part.graph.input[:], part.graph.output[:], part.graph.node[:]
    part.graph.input.append(given)
    part.graph.node.extend(nodes)
    part.graph.output.extend(ValueInfoProto(name=name) for name in wanted)
    found = open_session(part.SerializeToString()).run(list(wanted), {given.name: array})
    if any(len(table) != len(array) for table in found):
        raise ValueError("a part of the model does not compute row by row")
    return dict(zip(wanted, found, strict=True))
