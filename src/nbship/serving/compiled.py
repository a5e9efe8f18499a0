"""The fast path: a scikit-learn pipeline compiled to ONNX, taken only if it answers as the pipeline does.

Compiled when a model is loaded, so that it always belongs to the pickle that was checked. Not for records
unlike those that the comparison is made on: they are the pipeline's business.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbship.serving.records import check
from nbship.serving.schema import Column, Output, columns_to_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator

# How far a compiled model may be from the pipeline: a share of the prediction, or of the target's range.
# ONNX computes with 32 bits.
RELATIVE = 1e-4
OF_RANGE = 1e-5
PROBABILITY = 1e-4
_COMPARED = 500
# What is not named here is a number of 32 bits.
_KINDS = {"category": "int64", "text": "object"}
# Beyond this size of the pickle, compiling takes longer than a server may need to start.
_BYTES_AT_MOST = 20_000_000


@dataclass(frozen=True)
class Compiled:
    """A model that ONNX Runtime runs.

    Attributes:
        session: ONNX Runtime's; None if there is none.
        why_not: Says why there is none.
    """

    session: Any = None
    why_not: str = ""

    def run(self, columns: Sequence[Column], coded: Mapping[str, Any]) -> list[np.ndarray[Any, Any]]:
        """Returns ONNX's outputs: numbers of shape (rows, 1), or classes and probabilities.

        Args:
            columns: The model's columns.
            coded: Their values, with codes in place of categories; see `records.Checked`.
        """
        import numpy as np

        feed = {}
        for column in columns:
            array = np.asarray(coded[column.name], dtype=_KINDS.get(column.type, np.float32))
            name = _code_of(column) if column.type == "category" else column.name
            feed[name] = array if column.type == "array" else array.reshape(-1, 1)
        return list(self.session.run(None, feed))


def compile_model(estimator: Any, columns: Sequence[Column], output: Output, size: int) -> Compiled:
    """Compiles a model and compares it with the original.

    Args:
        estimator: The fitted model.
        columns: What it takes.
        output: What it gives.
        size: Of its pickle, in bytes.
    """
    if size > _BYTES_AT_MOST:
        return Compiled(why_not="the model is too large")
    try:
        compiled = Compiled(_session(estimator, columns))
        problem = _difference(compiled, estimator, columns, output)
    except Exception as error:  # converters, like models, may raise anything
        return Compiled(why_not=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    return Compiled(why_not=problem) if problem else compiled


def _session(estimator: Any, columns: Sequence[Column]) -> Any:
    import onnxruntime
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    from nbship.serving import converters

    # skl2onnx refuses a vote that would flatten its transform, which no prediction uses.
    votes = [name for name in estimator.get_params() if name.split("__")[-1] == "flatten_transform"]
    model = copy.deepcopy(estimator).set_params(**dict.fromkeys(votes, False))
    types = [
        (
            column.name,
            StringTensorType([None, 1])
            if column.type in ("category", "text")
            else FloatTensorType([None, *(column.shape or (1,))]),
        )
        for column in columns
    ]
    logging.getLogger("skl2onnx").setLevel(logging.ERROR)
    onnx = convert_sklearn(
        model,
        initial_types=types,
        options={id(model): {"zipmap": False}} if hasattr(model, "classes_") else None,
        custom_conversion_functions=converters.conversions(),
        custom_shape_calculators=converters.shapes(),
    )
    _take_codes(onnx.graph, columns)
    options = onnxruntime.SessionOptions()
    # One record is done before a second thread wakes up; more processes make use of more cores.
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(onnx.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _code_of(column: Column) -> str:
    return f"code of {column.name}"


def _take_codes(graph: Any, columns: Sequence[Column]) -> None:
    """Has a graph take a number for each category: texts take long to hand over, and long to compare."""
    from onnx import TensorProto, helper

    for column in columns:
        if column.type != "category":
            continue
        (given,) = (each for each in graph.input if each.name == column.name)
        given.name = _code_of(column)
        given.type.tensor_type.elem_type = TensorProto.INT64
        texts = [text.encode() for text in column.categories]
        for node in graph.node:
            if node.op_type == "OneHotEncoder" and list(node.input) == [column.name]:
                _look_up(graph, node, f"{node.output[0]} by code", _encoded(node, texts), given.name)
        if any(column.name in node.input for node in graph.node):
            table = helper.make_tensor(f"texts of {column.name}", TensorProto.STRING, [len(texts)], texts)
            graph.initializer.append(table)
            graph.node.insert(0, helper.make_node("Gather", [table.name, given.name], [column.name]))


def _look_up(graph: Any, node: Any, name: str, rows: np.ndarray[Any, Any], code: str) -> None:
    """Has a node take its result from a table."""
    from onnx import helper, numpy_helper

    graph.initializer.append(numpy_helper.from_array(rows, name))
    node.CopyFrom(helper.make_node("Gather", [name, code], list(node.output)))


def _encoded(node: Any, texts: Sequence[bytes]) -> np.ndarray[Any, Any]:
    """Returns what a node that encodes texts one-hot makes of each: zeros if it does not know it."""
    import numpy as np

    (known,) = (attribute.strings for attribute in node.attribute if attribute.name == "cats_strings")
    return np.array([[text == each for each in known] for text in texts], dtype=np.float32)


def _difference(compiled: Compiled, estimator: Any, columns: Sequence[Column], output: Output) -> str:
    """Compares on records like the reference's, half of them with missing numbers; returns what differs."""
    import numpy as np

    values = sample(columns, _COMPARED)
    table = columns_to_table(columns, values)
    outputs = compiled.run(columns, check(columns, values, _COMPARED).coded)
    expected = estimator.predict(table)
    if output.kind == "regression":
        known = output.reference
        spread = (known.maximum or 0) - (known.minimum or 0)
        if np.allclose(outputs[0].ravel(), expected, rtol=RELATIVE, atol=OF_RANGE * spread):
            return ""
        return f"its predictions differ by up to {np.abs(outputs[0].ravel() - expected).max():.2g}"
    if not output.probabilities:
        return "" if (outputs[0] == expected).all() else "its classes differ"
    classes = np.array(output.classes, dtype=object)[outputs[1].argmax(axis=1)]
    if not np.allclose(outputs[1], estimator.predict_proba(table), rtol=0, atol=PROBABILITY):
        return "its probabilities differ"
    return "" if (classes == expected).all() else "its classes differ"


def sample(columns: Sequence[Column], rows: int) -> dict[str, list[Any]]:
    """Draws records that are distributed as the reference is, column by column; the same ones every time."""
    import numpy as np

    random = np.random.default_rng(0)
    return {column.name: _draw(column, rows, random) for column in columns}


def _draw(column: Column, rows: int, random: Generator) -> list[Any]:
    import numpy as np

    if column.categories:
        shares = [count / sum(column.categories.values()) for count in column.categories.values()]
        drawn = random.choice(list(column.categories), rows, p=shares).tolist()
        return [value == "true" for value in drawn] if column.type == "boolean" else drawn
    if column.histogram is None:
        typical: list[Any] = [column.typical] * rows
        return typical
    edges, counts = np.array(column.histogram.edges), column.histogram.counts
    size = rows * math.prod(column.shape)
    bins = random.choice(len(counts), size, p=[count / sum(counts) for count in counts])
    numbers = edges[bins] + (edges[bins + 1] - edges[bins]) * random.random(size)
    if column.type == "array":
        arrays: list[Any] = list(numbers.reshape(rows, *column.shape))
        return arrays
    values: list[Any] = [round(n) for n in numbers.tolist()] if column.type == "integer" else numbers.tolist()
    if not column.required:
        values[::7] = [None] * len(values[::7])
    return values
