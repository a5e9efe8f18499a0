"""The fast path: a scikit-learn pipeline compiled to ONNX, taken only if it answers as the pipeline does.

Compiled when a model is loaded, so that it always belongs to the pickle that was checked. Not for records
unlike those in training: they are the pipeline's business.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbship.package.schema import Column

if TYPE_CHECKING:
    import numpy as np

# What is not named here is a number of 32 bits.
_KINDS = {"category": "int64", "text": "object"}
# Records from which on a run's memory is worth more than the time to get it again.
_MANY = 20_000
# Beyond this size of the pickle, compiling takes longer than a server may need to start.
_BYTES_AT_MOST = 20_000_000
# Below this, 32 bits tell all whole numbers apart.
_WHOLE_BELOW = 2**24
# How far apart neighbouring numbers of 32 bits may be, as a share of a column's range.
_STEP = 1e-4


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
        for position, column in enumerate(columns):
            array = np.asarray(coded[column.name], dtype=_KINDS.get(column.type, np.float32))
            name = _code(position) if column.type == "category" else _input(position)
            feed[name] = array if column.type in ("array", "category") else array.reshape(-1, 1)
        return list(self.session.run(None, feed, _returning() if len(array) > _MANY else None))


def _returning() -> Any:
    """Has ONNX Runtime return the memory of a run; it would keep it for the next one that is as large."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


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
        return Compiled(_session(estimator, columns))
    except Exception as error:  # converters, like models, may raise anything
        return Compiled(why_not=describe(error))


def describe(error: Exception) -> str:
    """Returns an error's kind and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _is_too_fine(column: Column) -> bool:
    if column.minimum is None or column.maximum is None:
        return False
    widest = max(abs(column.minimum), abs(column.maximum))
    if column.type == "integer":
        return widest > _WHOLE_BELOW
    return 0 < (column.maximum - column.minimum) * _STEP < widest / _WHOLE_BELOW


def _session(estimator: Any, columns: Sequence[Column]) -> Any:
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
    _number_inputs(onnx.graph, columns)
    for position, column in enumerate(columns):
        if column.type == "category":
            _take_codes(onnx, _input(position), _code(position), list(column.categories))
    return _open(onnx)


def _open(onnx: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One record is done before a second thread wakes up; more processes make use of more cores.
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # an error is raised as well, and its text may quote a record
    return onnxruntime.InferenceSession(onnx.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _input(position: int) -> str:
    """Names an input of the graph: skl2onnx makes names of letters, digits and underscores alone."""
    return f"column {position}"


def _code(position: int) -> str:
    return f"code {position}"


def _number_inputs(graph: Any, columns: Sequence[Column]) -> None:
    """Names the inputs by their columns' positions, for skl2onnx changes names that are no identifiers."""
    names = {given.name: _input(i) for i, (given, _) in enumerate(zip(graph.input, columns, strict=True))}
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
    found = _open(part).run(list(wanted), {given.name: array})
    if any(len(table) != len(array) for table in found):
        raise ValueError("a part of the model does not compute row by row")
    return dict(zip(wanted, found, strict=True))
