"""Describes the server's addresses and the model's own fields as an OpenAPI document."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nbship import __version__
from nbship.package import Package
from nbship.package.records import LONGEST_TEXT, accepted_values
from nbship.package.schema import Column, Output
from nbship.serving.protocol import class_name, input_tensors

_TYPES = {
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "category": "string",
    "text": "string",
}
_REFUSALS = {
    "400": "malformed: no JSON, or none of the forms",
    "413": "too many records, or too large a body",
    "415": "the content type is not JSON",
    "422": "values that do not fit: each with its field and what is accepted",
}
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string"},
        "fields": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["instance", "field", "given", "problem", "accepted", "suggestion"],
                "properties": {
                    "instance": {"type": "integer"},
                    "field": {"type": "string"},
                    "problem": {"type": "string"},
                    "accepted": {"type": "string"},
                    "suggestion": {"type": ["string", "null"]},
                },
            },
        },
    },
}


def document(name: str, version: str, package: Package, columns: Sequence[Column]) -> dict[str, Any]:
    """Returns the OpenAPI document of a server.

    Args:
        name: The model's, in addresses.
        version: That clients are told.
        package: The model's description.
        columns: What it takes, as values are checked by them.
    """
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "description": package.description, "version": version},
        "paths": {
            f"/v1/models/{name}:predict": {"post": _prediction("KServe's V1 protocol", "V1")},
            f"/v2/models/{name}/infer": {"post": _prediction("Open Inference Protocol", "V2")},
            f"/v2/models/{name}": {"get": _reading("what the model takes and gives")},
            "/v2/health/live": {"get": _reading("whether the server runs")},
            "/v2/health/ready": {"get": _reading("whether the model is loaded")},
            "/models.json": {"get": _reading("the models of this server")},
        },
        "components": {
            "schemas": {
                "Record": _record(columns, package.golden[0].record),
                "Error": _ERROR,
                "V1Request": _v1_request(),
                "V1Response": _v1_response(package.output),
                "V2Request": _v2_request(columns),
                "V2Response": _V2_RESPONSE,
            }
        },
        "x-generator": f"nbship {__version__}",
    }


def _prediction(summary: str, protocol: str) -> dict[str, Any]:
    return {
        "summary": f"Predict, {summary}",
        "requestBody": {"required": True, "content": _json(f"{protocol}Request")},
        "responses": {
            "200": {
                "description": "predictions, one for each record",
                "headers": {
                    "nbship-warnings": {
                        "description": "values unlike those in training, as JSON; absent if there are none",
                        "schema": {"type": "string"},
                    }
                },
                "content": _json(f"{protocol}Response"),
            },
            **{s: {"description": text, "content": _json("Error")} for s, text in _REFUSALS.items()},
        },
    }


def _reading(summary: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    return {"summary": summary, "responses": {"200": {"description": summary, "content": content}}}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _record(columns: Sequence[Column], example: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {column.name: _field(column) for column in columns},
        "required": [column.name for column in columns if column.required],
        "additionalProperties": False,
        "examples": [example],
    }


def _field(column: Column) -> dict[str, Any]:
    words = ", ".join(filter(None, [column.description, column.unit, accepted_values(column)]))
    if column.type == "array":
        schema: dict[str, Any] = {"type": "number"}
        for size in reversed(column.shape):
            schema = {"type": "array", "items": schema, "minItems": size, "maxItems": size}
        return {**schema, "description": words}
    kinds = [_TYPES[column.type], *([] if column.required else ["null"])]
    schema = {"type": kinds, "description": words}
    if column.type in ("category", "text"):
        schema["maxLength"] = LONGEST_TEXT
    if column.type == "category" and column.unseen == "refuse":
        schema["enum"] = [*column.categories, *([] if column.required else [None])]
    limits = {"minimum": column.lowest, "maximum": column.highest}
    schema |= {name: limit for name, limit in limits.items() if limit is not None}
    if column.aliases:  # as text, or as what the text says
        return {
            "description": words,
            "anyOf": [schema, {"enum": [*column.aliases, *_as_values(column.aliases)]}],
        }
    return schema


def _as_values(aliases: Iterable[str]) -> Iterator[Any]:
    for text in aliases:
        with contextlib.suppress(ValueError):
            value = json.loads(text)
            if isinstance(value, bool | int) and json.dumps(value) == text:
                yield value


def _v1_request() -> dict[str, Any]:
    record = {"$ref": "#/components/schemas/Record"}
    return {
        "type": "object",
        "required": ["instances"],
        "properties": {"instances": {"type": "array", "minItems": 1, "items": record}},
    }


def _v1_response(output: Output) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": "number"}
    if output.kind == "classification":
        kind = {"enum": output.classes}
    properties: dict[str, Any] = {"predictions": {"type": "array", "items": kind}}
    if output.probabilities:
        names = [class_name(each) for each in output.classes]
        shares = {"type": "object", "required": names, "properties": {n: {"type": "number"} for n in names}}
        properties["probabilities"] = {"type": "array", "items": shares}
    if output.scores:
        properties["scores"] = {"type": "array", "items": {"type": "number"}}
    if output.interval:
        ends = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
        properties["intervals"] = {"type": "array", "items": ends}
    return {"type": "object", "required": ["predictions"], "properties": properties}


def _v2_request(columns: Sequence[Column]) -> dict[str, Any]:
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string", "enum": [each["name"] for each in input_tensors(columns)]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            "datatype": {"enum": ["BOOL", "BYTES", "FP32", "FP64", "INT32", "INT64"]},
            "data": {"type": "array"},
        },
    }
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "minItems": 1, "items": tensor},
        },
    }


_V2_RESPONSE: dict[str, Any] = {
    "type": "object",
    "required": ["model_name", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": {
            "type": "array",
            "items": {"type": "object", "required": ["name", "shape", "datatype", "data"]},
        },
    },
}
