"""CloudEvents as KServe's logger sends them over HTTP: one for each request, one for its answer.

What KServe sends, by its source: binary mode, `ce-type` one of two (`pkg/logger/worker.go`); the two have the
same `ce-id`, which is the client's header of that name or a UUID, and as content type that of the request
(`pkg/logger/handler.go`). Structured mode is read too. What an event holds is the business of `collecting`.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
STRUCTURED = "application/cloudevents+json"
_REQUIRED = ("id", "source", "type", "specversion")


class EventError(ValueError):
    """What was sent is no CloudEvent."""


@dataclass(frozen=True)
class CloudEvent:
    """A request or an answer.

    Attributes:
        id: Of the request; its answer has the same.
        source: Which pod sends it.
        type: `REQUEST` or `RESPONSE`, or another, which is nobody's business here.
        time: Seconds since 1970 when it was sent.
        data: The body.
        content_type: Of the request's body.
    """

    id: str
    source: str
    type: str
    time: float
    data: bytes
    content_type: str = "application/json"


def read_event(headers: Mapping[str, str], body: bytes) -> CloudEvent:
    """Reads an event.

    Args:
        headers: Of the HTTP request, their names in small letters.
        body: Of it.

    Raises:
        EventError: It is none.
    """
    kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind == STRUCTURED:
        attributes = _object(body)
        data = _structured(attributes)
        kind = str(attributes.get("datacontenttype") or "application/json")
    else:
        attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
        data = body
    absent = [name for name in _REQUIRED if not isinstance(attributes.get(name), str) or not attributes[name]]
    if absent:
        raise EventError(f"not a CloudEvent: it has no {', '.join(absent)}")
    when = _seconds(attributes.get("time"))
    return CloudEvent(attributes["id"], attributes["source"], attributes["type"], when, data, kind)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise EventError("not JSON") from None
    if not isinstance(found, dict):
        raise EventError("not a JSON object")
    return found


def _structured(attributes: Mapping[str, Any]) -> bytes:
    if "data_base64" in attributes:
        try:
            return base64.b64decode(attributes["data_base64"], validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise EventError("data_base64 is not base64") from None
    return json.dumps(attributes.get("data")).encode()


def _seconds(text: Any) -> float:
    """Returns a time; now, where there is none that can be read."""
    try:
        return datetime.fromisoformat(_to_microseconds(str(text))).timestamp()
    except ValueError:
        return time.time()


def _to_microseconds(text: str) -> str:
    """Returns a time as Go writes it, with up to nine digits of a second, as Python reads it."""
    head, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return f"{head}.{digits[:6]}{rest[len(digits) :]}" if dot else text
