"""Describes the server's addresses and the model's own fields as an OpenAPI document."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from nbship import __version__
from nbship.package import Package
from nbship.package.records import LONGEST_TEXT, accepted_values
from nbship.package.schema import Column, Output
from nbship.serving import content
from nbship.serving.protocol import class_name

# Made from the types themselves; a prediction's are the model's own, see below.
_, _SCHEMAS = msgspec.json.schema_components(
    [content.ErrorContent, content.InferenceRequest, content.InferenceResponse, content.ModelMetadata],
    ref_template="#/components/schemas/{name}",
)
_REFUSALS = {
    "400": "malformed: no JSON, or none of the forms",
    "408": "the body did not arrive in time",
    "413": "too many records, or too large a body",
    "415": "the content type is not JSON",
    "422": "values that do not fit: each with its field and what is accepted",
    "503": "busy with large requests; see Retry-After",
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
            f"/v1/models/{name}:predict": {
                "post": _prediction("KServe's V1 protocol", "V1Request", "V1Response")
            },
            f"/v2/models/{name}/infer": {
                "post": _prediction("Open Inference Protocol", "InferenceRequest", "InferenceResponse")
            },
            f"/v2/models/{name}": {"get": _reading("what the model takes and gives", "ModelMetadata")},
            "/v2/health/live": {"get": _reading("whether the server runs")},
            "/v2/health/ready": {"get": _reading("whether the model is loaded")},
            "/models.json": {"get": _reading("the models of this server")},
        },
        "components": {
            "schemas": {
                "Record": record_schema(columns, package.golden[0].record),
                "V1Request": _v1_request(),
                "V1Response": _v1_response(package.output),
                **_SCHEMAS,
            }
        },
        "x-generator": f"nbship {__version__}",
    }


def _prediction(summary: str, request: str, response: str) -> dict[str, Any]:
    return {
        "summary": f"Predict, {summary}",
        "requestBody": {"required": True, "content": _json(request)},
        "responses": {
            "200": {
                "description": "predictions, one for each record",
                "headers": {
                    "nbship-warnings": {
                        "description": "values unlike those in training, as JSON; absent if there are none",
                        "schema": {"type": "string"},
                    }
                },
                "content": _json(response),
            },
            **{s: {"description": text, "content": _json("ErrorContent")} for s, text in _REFUSALS.items()},
        },
    }


def _reading(summary: str, schema: str = "") -> dict[str, Any]:
    body = _json(schema) if schema else {"application/json": {"schema": {"type": "object"}}}
    return {"summary": summary, "responses": {"200": {"description": summary, "content": body}}}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def record_schema(columns: Sequence[Column], example: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of a named record."""
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
        schema: dict[str, Any] = {"type": column.kind.schema, **_limits(column)}
        for size in reversed(column.shape):
            schema = {"type": "array", "items": schema, "minItems": size, "maxItems": size}
        return {**schema, "description": words}
    kinds = [column.kind.schema, *([] if column.required else ["null"])]
    schema = {"type": kinds, "description": words}
    if column.kind.textual:
        schema["maxLength"] = LONGEST_TEXT
    if column.type == "category" and column.unseen == "refuse":
        schema["enum"] = [*column.categories, *([] if column.required else [None])]
    schema |= _limits(column)
    if column.aliases:  # as text, or as what the text says
        return {
            "description": words,
            "anyOf": [schema, {"enum": [*column.aliases, *_as_values(column.aliases)]}],
        }
    return schema


def _limits(column: Column) -> dict[str, float]:
    limits = {"minimum": column.lowest, "maximum": column.highest}
    return {name: limit for name, limit in limits.items() if limit is not None}


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
