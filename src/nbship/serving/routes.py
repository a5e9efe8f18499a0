"""The HTTP addresses of the model server: KServe's V1, the Open Inference protocol, metrics, and the page.

Says what is where, and who may; what a request holds is the business of `model`.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from nbship import __version__
from nbship.errors import NbshipError
from nbship.serving import metrics, openapi
from nbship.serving.bodies import Bodies, refusal
from nbship.serving.errors import RequestError
from nbship.serving.model import RECORD, WARNINGS, Answer, PackagedModel

TOKEN = "NBSHIP_SERVER_TOKEN"  # noqa: S105 - the name of the variable that holds it
PAGE = Path(__file__).parent / "page"
# What KServe's logger calls a request by, and how those begin that nbship asks itself.
EVENT, CHECK = "ce-id", "nbship-check"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_NOT_OFFERED = (
    "/v1/models/{name}:explain",
    "/v2/models/{name}/versions/{version:path}",
    "/v2/repository/models/{name}/unload",
)
_logger = logging.getLogger("nbship.serving")

Handler = Callable[[Request], Awaitable[Response]]


def application(model: PackagedModel, bodies: Bodies, **more: Any) -> Starlette:
    """Makes the ASGI application of a loaded model.

    Args:
        model: What is served.
        bodies: Takes in what is asked.
        more: For Starlette, such as `lifespan`.
    """
    settings = model.settings
    cross_origin = Middleware(
        CORSMiddleware,
        allow_origins=list(settings.origins),
        allow_methods=["GET", "POST"],
        allow_headers=["content-type", EVENT],
        expose_headers=[WARNINGS, RECORD],
    )
    return Starlette(
        routes=[*_of_model(model, bodies), *_of_server(model), *_of_page()],
        middleware=[cross_origin] if settings.origins else [],
        exception_handlers={HTTPException: _wrong_address, Exception: _failed},
        **more,
    )


def _of_model(model: PackagedModel, bodies: Bodies) -> Iterator[Route]:
    """The addresses of the model, the most frequent first: a request is compared with one after the other."""

    async def predict(request: Request, answer: Callable[..., Answer]) -> Response:
        await refresh(model)
        if model.log is not None and is_check(request.headers.get(EVENT, "")):
            answer = partial(answer, kept=False)
        return await bodies.answer(request, answer)

    async def metadata(_: Request) -> Response:
        await refresh(model)
        return JSONResponse(model.metadata())

    async def readiness(_: Request) -> Response:
        return JSONResponse({"name": model.name, "ready": model.ready})

    async def load(request: Request) -> Response:
        authorize(request.headers.get("authorization", ""))
        return JSONResponse(await reload(model))

    async def not_offered(_: Request) -> Response:
        raise RequestError(501, "this server does not offer that")

    def route(path: str, handler: Handler, method: str, protocol: str = "") -> Route:
        return Route(path, _endpoint(model, handler, method, protocol), methods=_METHODS)

    yield route("/v1/models/{name}:predict", lambda r: predict(r, model.predict_v1), "POST", "v1")
    yield route("/v1/models/{name}:correct", lambda r: bodies.answer(r, model.correct), "POST")
    yield route("/v2/models/{name}/infer", lambda r: predict(r, model.predict_v2), "POST", "v2")
    yield route("/v2/repository/models/{name}/load", load, "POST")
    for path in _NOT_OFFERED:
        yield route(path, not_offered, "POST")
    yield route("/v2/models/{name}/ready", readiness, "GET")
    yield route("/v2/models/{name}", metadata, "GET")
    yield route("/v1/models/{name}", readiness, "GET")


def _of_server(model: PackagedModel) -> Iterator[Route]:
    facts: dict[str, Callable[[], Any]] = {
        "/v2/health/live": lambda: {"live": True},
        "/v2/health/ready": lambda: {"ready": model.ready},
        "/v1/models": lambda: {"models": [model.name]},
        "/v2/models": lambda: {"models": [model.name]},
        "/v2": lambda: {
            "name": "nbship",
            "version": __version__,
            "extensions": ["model_repository_extension"],
        },
        "/models.json": lambda: {"models": [model.summary()]},
        "/openapi.json": lambda: openapi.document(
            model.name, model.version(model.predictor), model.predictor.package, model.predictor.columns
        ),
    }
    for path, content in facts.items():
        yield Route(path, _telling(content))

    async def exposition(_: Request) -> Response:
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4")

    yield Route("/metrics", exposition)


def _telling(content: Callable[[], Any]) -> Handler:
    async def tell(_: Request) -> Response:
        return JSONResponse(content())

    return tell


def _of_page() -> Iterator[BaseRoute]:
    if not PAGE.is_dir():
        yield Route("/", _telling(lambda: {"status": "alive"}))
        return
    yield Route("/", _page_or_status)
    for entry in PAGE.iterdir():
        if entry.is_dir():
            yield Mount(f"/{entry.name}", StaticFiles(directory=entry, follow_symlink=True))
        elif entry.name != "models.json":
            yield Route(f"/{entry.name}", _file(entry))


async def _page_or_status(request: Request) -> Response:
    """Shows the page to a browser, and tells others what KServe's clients look for there."""
    vary = {"Vary": "Accept"}
    if "text/html" in request.headers.get("accept", ""):
        return FileResponse(PAGE / "index.html", headers=vary)
    return JSONResponse({"status": "alive"}, headers=vary)


def _file(path: Path) -> Handler:
    async def send(_: Request) -> Response:
        return FileResponse(path)

    return send


def _endpoint(model: PackagedModel, handler: Handler, method: str, protocol: str) -> Handler:
    """Wraps what all routes of a model share: its name, the method, refusals, and metrics of predictions."""

    async def endpoint(request: Request) -> Response:
        started = time.perf_counter()
        try:
            if request.method != method:
                raise RequestError(405, f"use {method}", headers={"Allow": method})
            require_name(model, request.path_params["name"])
            response = await handler(request)
        except RequestError as error:
            response = refusal(error)
        except ClientDisconnect:
            response = Response(status_code=400)
        if protocol:
            metrics.count_request(model.name, protocol, response.status_code, time.perf_counter() - started)
        return response

    return endpoint


async def _wrong_address(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - by what it is registered for
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _failed(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "the server failed; its log says how"}, 500)


def is_check(event: str) -> bool:
    """Tells by its header `ce-id` whether a request is a check, of which no record is kept."""
    return event.startswith(CHECK)


def require_name(model: PackagedModel, name: str) -> None:
    """Raises RequestError where a request is for another model than the one that is served."""
    if name != model.name:
        raise RequestError(404, f"there is no such model here; there is '{model.name}'")


def authorize(given: str) -> None:
    """Checks who asks to have the model loaded again.

    Args:
        given: What the request's header `authorization` says.

    Raises:
        RequestError: It is not who may.
    """
    expected = os.environ.get(TOKEN, "")
    if not expected:
        raise RequestError(403, f"loading again is off: start the server with {TOKEN}")
    token = given.removeprefix("Bearer ")
    if not hmac.compare_digest(token.encode("utf-8", "replace"), expected.encode()):
        raise RequestError(401, "a wrong token, or none", headers={"WWW-Authenticate": "Bearer"})


async def reload(model: PackagedModel) -> dict[str, Any]:
    """Loads the model again while the old one goes on answering, and tells the other worker processes.

    Raises:
        RequestError: It cannot be loaded; the old one stays.
    """
    async with model.loading:
        error = await run_in_threadpool(_try_to_load, model)
        if error:
            metrics.LOADS.labels(model.name, "failed").inc()
            _logger.error("%s: not loaded again: %s", model.name, error)
            raise RequestError(503, f"not loaded, the old model stays: {error.message}")
        generation = model.settings.generation
        with generation.get_lock():
            generation.value += 1
            model.generation = generation.value
    metrics.LOADS.labels(model.name, "loaded").inc()
    return {"name": model.name, "load": True, "run": model.predictor.package.origin.run}


async def refresh(model: PackagedModel) -> None:
    """Loads the model again if another worker process was told to, before the next request is answered."""
    if model.settings.generation.value == model.generation:
        return
    async with model.loading:
        if model.settings.generation.value == model.generation:
            return
        error = await run_in_threadpool(_try_to_load, model)
        if error:
            model.generation = model.settings.generation.value
            _logger.error("%s: not loaded again: %s", model.name, json.dumps(error.message))


def _try_to_load(model: PackagedModel) -> NbshipError | None:
    """Loads a model; returns why it could not, without the traceback; see `bodies`."""
    try:
        model.load()
    except NbshipError as error:
        return error.with_traceback(None)
    return None
