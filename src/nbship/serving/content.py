"""What requests and answers hold, as types: the OpenAPI document is made from them.

How they are read is the business of `protocol` and `reader`; a model's own fields are described by `openapi`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict, get_args

from msgspec import Meta

Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BYTES",
]
DATATYPES: tuple[str, ...] = get_args(Datatype)
_Shape = Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1, max_length=8)]


def numpy_name(datatype: str) -> str:
    """Returns what NumPy calls a datatype of numbers or booleans."""
    return datatype.lower().replace("fp", "float")


class FieldProblem(TypedDict):
    """What is wrong, or worth a flag, about one value."""

    instance: int
    field: str
    given: bool | int | float | str | None
    problem: str
    accepted: str
    suggestion: str | None


class ErrorContent(TypedDict):
    """Why a request cannot be answered."""

    error: str
    fields: NotRequired[list[FieldProblem]]


class RequestTensor(TypedDict):
    """A tensor for a field, or one with a row for each record."""

    name: str
    shape: _Shape
    datatype: Datatype
    data: list[Any]


class RequestedOutput(TypedDict):
    """An output that is asked for."""

    name: str


class InferenceRequest(TypedDict):
    """A request of the Open Inference protocol."""

    id: NotRequired[str]
    inputs: Annotated[list[RequestTensor], Meta(min_length=1)]
    outputs: NotRequired[list[RequestedOutput]]


class ResponseTensor(TypedDict):
    """An output; its first length is the number of records."""

    name: str
    shape: _Shape
    datatype: Datatype
    data: list[Any]


class InferenceResponse(TypedDict):
    """An answer of the Open Inference protocol."""

    model_name: str
    model_version: str
    id: NotRequired[str]
    outputs: list[ResponseTensor]


class TensorMetadata(TypedDict):
    """A tensor that a model takes or gives; -1 is the number of records."""

    name: str
    datatype: Datatype
    shape: list[int]


class ModelMetadata(TypedDict):
    """What a model takes and gives; under `nbship`, what a page or a client needs to know beyond that."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    nbship: dict[str, Any]
