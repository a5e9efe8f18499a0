"""The collector's HTTP addresses: events in, refusals out, health and metrics.

Says who is told what; what becomes of an event is the business of `collecting`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nbship.errors import NbshipError
from nbship.monitoring.collecting import CollectedModel, Collector, FullError, UnknownModelError
from nbship.monitoring.events import EventError, read_event

EVENT_BYTES_AT_MOST = 24 * 2**20
_RETRY = {"Retry-After": "5"}
_TREATMENTS = ("drop", "hash", "keep")
_logger = logging.getLogger("nbship.monitoring")

Counter = Callable[[str, str, int], None]


def counter() -> Counter:
    """Makes the metric of events; a model's name is in it once its description was found."""
    from prometheus_client import Counter as Metric

    events = Metric("nbship_collected_events", "Events by what became of them", ["model", "outcome"])
    return lambda model, outcome, count: events.labels(model, outcome).inc(count)


def application(collector: Collector) -> Starlette:
    """Makes the ASGI application of a collector."""

    async def events(request: Request) -> Response:
        try:
            model = _model(request)
            event = read_event(dict(request.headers), await _body(request))
        except EventError as error:
            return JSONResponse({"error": str(error)}, 400)
        except ClientDisconnect:
            return Response(status_code=400)
        try:
            await run_in_threadpool(collector.take, model, event)
        except FullError:
            return JSONResponse({"error": "the store does not take what waits for it"}, 503, _RETRY)
        except UnknownModelError as error:
            return JSONResponse({"error": str(error)}, 404)
        except NbshipError as error:
            _logger.error("%s; %s", error.message, error.hint)
            return JSONResponse({"error": "a store does not answer"}, 503, _RETRY)
        return Response(status_code=200)  # KServe's logger takes any other for an error

    async def health(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def metrics(_: Request) -> Response:
        from prometheus_client import generate_latest

        return Response(generate_latest(), media_type="text/plain; version=0.0.4")

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        await run_in_threadpool(collector.restore)
        try:
            yield
        finally:
            await run_in_threadpool(collector.close)

    routes = [
        Route("/models/{name}/versions/{version}", events, methods=["POST"]),
        Route("/health", health),
        Route("/metrics", metrics),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > EVENT_BYTES_AT_MOST:
            raise EventError(f"an event of more than {EVENT_BYTES_AT_MOST:,} bytes")
    return bytes(body)


def _model(request: Request) -> CollectedModel:
    given = request.query_params
    try:
        private = json.loads(given.get("private", "{}"))
        sample = float(given.get("sample", "1"))
        valid = isinstance(private, dict) and all(how in _TREATMENTS for how in private.values())
    except ValueError:
        valid = False
    if not valid or not 0 <= sample <= 1:
        raise EventError("the address has rules that are not understood; deploy the model again")
    names = request.path_params
    return CollectedModel(names["name"], names["version"], tuple(sorted(private.items())), sample)
