"""Tensors as the Open Inference protocol has them in gRPC: requests read, and answers written.

Turns protobuf into the plain data that `protocol` reads, and back. What it means is `protocol`'s business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from nbship.package.records import shortened
from nbship.serving import grpc_predict_v2_pb2 as inference
from nbship.serving.content import DATATYPES, numpy_name
from nbship.serving.errors import RequestError

if TYPE_CHECKING:
    import numpy as np

# By the beginning of a datatype's name: where its values are, if they are not raw.
_FIELDS = {
    "BOOL": "bool_contents",
    "UINT64": "uint64_contents",
    "UINT": "uint_contents",
    "INT64": "int64_contents",
    "INT": "int_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
# Parts of a message at its top: tensors, outputs that are asked for, parameters. Empty ones of two bytes each
# would take a hundred times as much memory.
_PARTS_AT_MOST = 50_000
_LENGTH = 4  # bytes before a raw text


def read_request(message: bytes) -> inference.ModelInferRequest:
    """Reads a request.

    Raises:
        RequestError: It is malformed, or has more parts than a request may have.
    """
    try:
        if _parts(message) > _PARTS_AT_MOST:
            raise RequestError(413, f"the request has more than {_PARTS_AT_MOST:,} parts")
        request = inference.ModelInferRequest()
        request.ParseFromString(message)
    except (DecodeError, IndexError, ValueError) as error:
        raise RequestError(400, f"the message is not a ModelInferRequest: {error}") from None
    return request


def values_in(request: inference.ModelInferRequest) -> int:
    """Returns how many values a request has at most, whatever it says of its shapes."""
    listed = sum(
        len(getattr(tensor.contents, field)) for tensor in request.inputs for field in _FIELDS.values()
    )
    kinds = (tensor.datatype for tensor in request.inputs)
    raw = zip(request.raw_input_contents, kinds, strict=False)
    return listed + sum(len(content) // _item_size(kind) for content, kind in raw)


def _item_size(datatype: str) -> int:
    """Returns how many raw bytes a value has at least."""
    if datatype == "BYTES":
        return _LENGTH
    digits = "".join(filter(str.isdigit, datatype))
    return int(digits) // 8 if digits in ("16", "32", "64") else 1


def request_content(request: inference.ModelInferRequest) -> dict[str, Any]:
    """Returns a request as it would be in JSON.

    Raises:
        RequestError: A tensor's values are not as many, or not of the type, that it says.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise RequestError(400, f"there are {len(request.inputs)} inputs and {len(raw)} raw contents")
    inputs = [_tensor(tensor, raw[at] if raw else None) for at, tensor in enumerate(request.inputs)]
    content: dict[str, Any] = {"inputs": inputs}
    if request.id:
        content["id"] = request.id
    if request.outputs:
        content["outputs"] = [{"name": output.name} for output in request.outputs]
    return content


def response_message(answer: Mapping[str, Any]) -> inference.ModelInferResponse:
    """Writes an answer; see `protocol.answer_v2`."""
    response = inference.ModelInferResponse(
        model_name=answer["model_name"], model_version=answer["model_version"], id=answer.get("id", "")
    )
    for output in answer["outputs"]:
        tensor = response.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
        texts = output["datatype"] == "BYTES"
        data = [str(each).encode("utf-8", "replace") for each in output["data"]] if texts else output["data"]
        getattr(tensor.contents, _field(output["datatype"])).extend(data)
    return response


def _tensor(tensor: inference.ModelInferRequest.InferInputTensor, raw: bytes | None) -> dict[str, Any]:
    where = f"input '{shortened(tensor.name)}'"
    if tensor.datatype not in DATATYPES:
        raise RequestError(400, f"{where}: datatype is not one of {', '.join(DATATYPES)}")
    count = math.prod(max(0, size) for size in tensor.shape)
    if raw is None:
        field = _field(tensor.datatype)
        if not field:
            raise RequestError(400, f"{where}: {tensor.datatype} is for raw contents only")
        data: Sequence[Any] = getattr(tensor.contents, field)
        data = [_text(each, where) for each in data] if tensor.datatype == "BYTES" else list(data)
    elif tensor.HasField("contents"):
        raise RequestError(400, f"{where}: has contents and raw contents")
    else:
        data = (
            _raw_texts(raw, count, where)
            if tensor.datatype == "BYTES"
            else _raw_numbers(raw, tensor.datatype, where)
        )
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "data": data}


def _raw_numbers(raw: bytes, datatype: str, where: str) -> list[Any]:
    import numpy as np

    kind = np.dtype(numpy_name(datatype)).newbyteorder("<")
    if len(raw) % kind.itemsize:
        raise RequestError(400, f"{where}: {len(raw)} bytes are not values of {kind.itemsize} bytes each")
    numbers: np.ndarray[Any, Any] = np.frombuffer(raw, kind)
    values: list[Any] = numbers.tolist()
    return values


def _raw_texts(raw: bytes, count: int, where: str) -> list[str]:
    """Reads texts, each after its length."""
    texts: list[str] = []
    at = 0
    while at < len(raw) and len(texts) < count:
        end = at + _LENGTH + int.from_bytes(raw[at : at + _LENGTH], "little")
        if end > len(raw):
            break
        texts.append(_text(raw[at + _LENGTH : end], where))
        at = end
    if at != len(raw):
        raise RequestError(400, f"{where}: its raw contents are not {count} texts, each after its length")
    return texts


def _text(content: bytes, where: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise RequestError(400, f"{where}: a text is not UTF-8") from None


def _field(datatype: str) -> str:
    return next((field for name, field in _FIELDS.items() if datatype.startswith(name)), "")


def _parts(message: bytes) -> int:
    """Counts the fields at the top of a message, up to one beyond the most, without reading them."""
    at = count = 0
    while at < len(message) and count <= _PARTS_AT_MOST:
        tag, at = _varint(message, at)
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                length, at = _varint(message, at)
                at += length
            case 5:
                at += 4
            case other:
                raise ValueError(f"unknown wire type {other}")
        count += 1
    return count


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number of too many digits")
