"""The two protocols of inference, as plain data: KServe's V1 and the Open Inference Protocol (V2).

Turns the body of a request into columns of values and a prediction into an answer. Knows nothing of HTTP but
its statuses, and nothing of what a value means to the model.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from nbship.package.prediction import Prediction
from nbship.package.records import TOLD_AT_MOST, Problem, Values, shortened, unknown_field
from nbship.package.schema import Column, Output
from nbship.serving.content import DATATYPES
from nbship.serving.errors import RequestError
from nbship.serving.reader import are_plain, object_type

_V1_FORMS = 'send {"instances": [{"field": value, …}]}, or lists of values in the order of the fields'
_V2_FORMS = 'send {"inputs": [{"name": …, "shape": […], "datatype": …, "data": […]}]}'
# As a log names records, and KServe requests.
_RECORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")
_DATATYPES_OF_CLASSES = {frozenset([bool]): "BOOL", frozenset([int]): "INT64", frozenset([float]): "FP64"}


class _NotFinite(str):
    """NaN or Infinity, which JSON does not have but Python's writers write; of no accepted type."""


# One each for all, however many there are.
_NOT_FINITE = {name: _NotFinite(name) for name in ("NaN", "Infinity", "-Infinity")}


def parse_json(body: bytes | bytearray) -> dict[str, Any]:
    """Reads the body of a request.

    Raises:
        RequestError: It is no JSON object.
    """
    import orjson

    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            content = json.loads(body, parse_constant=_NOT_FINITE.get)
        except (ValueError, RecursionError):
            raise RequestError(400, f"the body is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise RequestError(400, f"the body is not a JSON object: {_V1_FORMS}")
    return content


def parse_v1(columns: Sequence[Column], content: Mapping[str, Any], limit: int) -> Values:
    """Reads the instances of a V1 request: named records, records of lists, or rows in the columns' order.

    Args:
        columns: The model's columns.
        content: The body.
        limit: How many records there may be.

    Raises:
        RequestError: There are none, too many, or they have none of these forms.
    """
    instances = content.get("instances", content.get("inputs"))
    if isinstance(instances, dict):
        return _lists_by_name(columns, [instances], limit)
    if not isinstance(instances, list) or not instances:
        problem = "has no instances" if instances is None else "instances is not a list with a record in it"
        raise RequestError(400, f"the request {problem}: {_V1_FORMS}")
    _check_count(len(instances), limit)
    kinds = set(map(type, instances))
    if kinds == {dict}:
        if columns[0].type != "array" and set(map(type, instances[0].values())) == {list}:
            return _lists_by_name(columns, instances, limit)
        return _records(columns, instances)
    if kinds == {list}:
        return _rows(columns, instances)
    raise RequestError(400, f"the instances are not all of one form: {_V1_FORMS}")


def parse_v2(columns: Sequence[Column], content: Mapping[str, Any], limit: int) -> Values:
    """Reads the tensors of a V2 request: one named tensor a column, or one with a row for each record.

    Raises:
        RequestError: They are malformed, too many records, or fields that the model does not take.
    """
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(each, dict) for each in inputs):
        raise RequestError(400, f"the request has no inputs: {_V2_FORMS}")
    tensors = {}
    for each in inputs:
        name = each.get("name")
        if not isinstance(name, str) or name in tensors:
            raise RequestError(400, f"an input has no name, or one that another has: {_V2_FORMS}")
        tensors[name] = _tensor(each, name)
    names = {column.name for column in columns}
    (name, (shape, data)), *others = tensors.items()
    if not others and name not in names and len(shape) >= 2:
        return _flat_rows(columns, shape, data, limit)
    rows, shapes = shape[0], {column.name: column.shape for column in columns}
    for name, (shape, _) in tensors.items():
        expected = shapes.get(name, ())
        if shape[0] != rows or tuple(shape[1:]) not in {expected, (*expected, 1)}:
            raise RequestError(
                400, f"input '{shortened(name)}': shape {shape[:8]} is not [{rows}]: {_V2_FORMS}"
            )
    _check_count(rows, limit)
    if rows == 0:
        raise RequestError(400, f"the request has no records: {_V2_FORMS}")
    lists = {name: _reshaped(data, (rows, *shapes.get(name, ()))) for name, (_, data) in tensors.items()}
    return _by_name(columns, lists, rows)


def parse_correction(content: Mapping[str, Any], output: Output) -> tuple[str, Any]:
    """Reads what came true of a record.

    Returns:
        The record's identifier, and the value: a finite number, or one of the classes.

    Raises:
        RequestError: It is none.
    """
    record, value = content.get("record"), content.get("value")
    if not isinstance(record, str) or not _RECORD.fullmatch(record):
        raise RequestError(422, "record is not an identifier: see the header nbship-record of an answer")
    if output.kind == "regression":
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise RequestError(422, f"value is not a number: {shortened(value)}")
        return record, float(value)
    for known in output.classes:
        if type(known) is type(value) and known == value:
            return record, value
    classes = ", ".join(str(each) for each in output.classes[:TOLD_AT_MOST])
    raise RequestError(422, f"value is not a class: {shortened(value)}; there are {classes}")


def answer_v1(output: Output, values: Values, prediction: Prediction) -> dict[str, Any]:
    """Makes the answer to a V1 request, for msgspec to write.

    Rows get what a stock server answers, named records more.
    """
    answer: dict[str, Any] = {"predictions": prediction.values}
    if values.named and prediction.probabilities:
        names = [class_name(each) for each in output.classes]
        answer["probabilities"] = list(map(_probabilities_by_class(*names), *prediction.probabilities))
    if values.named and prediction.intervals:
        answer["intervals"] = prediction.intervals
    if values.named and prediction.scores:
        answer["scores"] = prediction.scores
    return answer


def answer_v2(
    name: str, version: str, output: Output, content: Mapping[str, Any], prediction: Prediction
) -> dict[str, Any]:
    """Makes the answer to a V2 request.

    Raises:
        RequestError: It asks for outputs that the model does not have.
    """
    data = {
        "predict": prediction.values,
        "predict_proba": list(chain.from_iterable(zip(*prediction.probabilities, strict=True))),
        "scores": prediction.scores,
        "interval": list(chain.from_iterable(prediction.intervals)),
    }
    tensors = {tensor["name"]: tensor for tensor in output_tensors(output)}
    wanted = content.get("outputs") or [{"name": each} for each in tensors]
    if not isinstance(wanted, list) or not all(
        isinstance(w, dict) and isinstance(w.get("name"), str) for w in wanted
    ):
        raise RequestError(400, 'outputs is not a list of {"name": …}')
    unknown = next((each["name"] for each in wanted if each["name"] not in tensors), None)
    if unknown is not None:
        raise RequestError(400, f"no output '{shortened(unknown)}'; the model has {', '.join(tensors)}")
    rows = len(prediction.values)
    outputs = [
        {**tensors[w["name"]], "shape": [rows, *tensors[w["name"]]["shape"][1:]], "data": data[w["name"]]}
        for w in wanted
    ]
    answer: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": outputs}
    if isinstance(content.get("id"), str):  # half a surrogate pair can be read, but not be written
        answer["id"] = content["id"].encode("utf-8", "replace").decode()
    return answer


def input_tensors(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Describes the columns as V2's metadata does."""
    return [{"name": c.name, "datatype": c.kind.datatype, "shape": [-1, *c.shape]} for c in columns]


def output_tensors(output: Output) -> list[dict[str, Any]]:
    """Describes what the model gives as V2's metadata does."""
    kinds = {type(each) for each in output.classes}
    datatype = "FP64"
    if output.kind == "classification":
        datatype = _DATATYPES_OF_CLASSES.get(frozenset(kinds), "BYTES")
    tensors = [{"name": "predict", "datatype": datatype, "shape": [-1]}]
    if output.probabilities:
        tensors.append({"name": "predict_proba", "datatype": "FP64", "shape": [-1, len(output.classes)]})
    if output.scores:
        tensors.append({"name": "scores", "datatype": "FP64", "shape": [-1]})
    if output.interval:
        tensors.append({"name": "interval", "datatype": "FP64", "shape": [-1, 2]})
    return tensors


def class_name(value: bool | int | float | str) -> str:
    """Returns a class as it is written as a key of JSON."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@functools.cache
def _probabilities_by_class(*names: str) -> Any:
    if not are_plain(names):
        return lambda *shares: dict(zip(names, shares, strict=True))
    return object_type(names, [float] * len(names))


def _records(columns: Sequence[Column], records: Sequence[Mapping[str, Any]]) -> Values:
    names = [column.name for column in columns]
    if len(names) > 1 and set(map(len, records)) == {len(names)}:
        with contextlib.suppress(KeyError):  # most have every field and no other, which is soon seen
            rows = map(itemgetter(*names), records)
            return Values(len(records), dict(zip(names, zip(*rows, strict=True), strict=True)), named=True)
    known = set(names)
    if not all(map(known.issuperset, records)):
        unknown = (
            unknown_field(columns, instance, name, record[name])
            for instance, record in enumerate(records)
            for name in record
            if name not in known
        )
        _refuse_unknown(unknown)
    return Values(
        len(records), {name: [record.get(name) for record in records] for name in names}, named=True
    )


def _lists_by_name(columns: Sequence[Column], frames: Sequence[Mapping[str, Any]], limit: int) -> Values:
    """Reads records of lists, as pandas writes tables."""
    joined: dict[str, list[Any]] = {column.name: [] for column in columns}
    rows = 0
    for frame in frames:
        lengths = {len(values) if isinstance(values, list) else -1 for values in frame.values()}
        if len(lengths) != 1 or -1 in lengths:
            raise RequestError(400, "the lists of the fields are not of one length")
        rows += (length := lengths.pop())
        _check_count(rows, limit)
        part = _by_name(columns, frame, length)
        for name, values in part.columns.items():
            joined[name].extend(values)
    if rows == 0:
        raise RequestError(400, f"the request has no records: {_V1_FORMS}")
    return Values(rows, joined, named=True)


def _by_name(columns: Sequence[Column], lists: Mapping[str, Sequence[Any]], rows: int) -> Values:
    names = {column.name for column in columns}
    if not names.issuperset(lists):
        _refuse_unknown(
            unknown_field(columns, 0, name, lists[name][0] if lists[name] else None)
            for name in lists
            if name not in names
        )
    absent = [None] * rows
    return Values(rows, {c.name: lists.get(c.name, absent) for c in columns}, named=True)


def _rows(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> Values:
    """Reads rows in the order of the columns; an array may come without the list around it."""
    if columns[0].type == "array":
        shape = columns[0].shape
        bare = [row[0] if len(row) == 1 and _depth(row) == len(shape) + 1 else row for row in rows]
        return Values(len(rows), {columns[0].name: bare}, named=False)
    wrong = next((i for i, row in enumerate(rows) if len(row) != len(columns)), None)
    if wrong is not None:
        names = ", ".join(column.name for column in columns)
        raise RequestError(
            422, f"record {wrong} has {len(rows[wrong])} values, accepted are {len(columns)}: {names}"
        )
    return Values(
        len(rows), dict(zip((c.name for c in columns), zip(*rows, strict=True), strict=True)), named=False
    )


def _flat_rows(columns: Sequence[Column], shape: Sequence[int], data: Sequence[Any], limit: int) -> Values:
    """Reads one tensor with a row for each record."""
    _check_count(shape[0], limit)
    if not data:
        raise RequestError(400, f"the request has no records: {_V2_FORMS}")
    return _rows(columns, _reshaped(data, shape))


def _tensor(content: Mapping[str, Any], name: str) -> tuple[list[int], list[Any]]:
    """Returns the shape and the flat data of a tensor, after checking that they agree."""
    where = f"input '{shortened(name)}'"
    shape, data = content.get("shape"), content.get("data")
    whole = isinstance(shape, list) and all(type(size) is int and 0 <= size < 2**31 for size in shape)
    if not isinstance(shape, list) or not whole or not 1 <= len(shape) <= 8:
        raise RequestError(400, f"{where}: shape is not a list of lengths: {_V2_FORMS}")
    datatype = content.get("datatype")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise RequestError(400, f"{where}: datatype is not one of {', '.join(DATATYPES)}")
    if not isinstance(data, list):
        raise RequestError(400, f"{where}: data is not a list (binary data is not offered): {_V2_FORMS}")
    for _ in range(len(shape) - 1):
        if data and all(isinstance(each, list) for each in data):
            data = list(chain.from_iterable(data))
    if len(data) != math.prod(shape):
        raise RequestError(
            400, f"{where}: shape {shape} takes {math.prod(shape)} values, there are {len(data)}"
        )
    return shape, data


def _reshaped(data: Sequence[Any], shape: Sequence[int]) -> list[Any]:
    """Cuts flat data into nested lists, one for each record."""
    for size in reversed(shape[1:]):
        data = [list(data[start : start + size]) for start in range(0, len(data), size)]
    return list(data)


def _refuse_unknown(problems: Any) -> None:
    told = [problem for problem, _ in zip(problems, range(TOLD_AT_MOST), strict=False)]
    raise refusal(told, len(told))


def refusal(problems: Sequence[Problem], total: int) -> RequestError:
    """Makes the answer to a request whose values do not fit."""
    more = f" (and {total - 1} more)" if total > 1 else ""
    return RequestError(422, f"{problems[0]}{more}", problems)


def _check_count(rows: int, limit: int) -> None:
    if rows > limit:
        raise RequestError(
            413,
            f"{rows} records are too many, {limit} are accepted: send several requests, "
            "or start the server with a larger --max-records",
        )


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list) and depth < 16:
        value, depth = value[0] if value else None, depth + 1
    return depth
