"""The routes of the model server: they come before KServe's own in its application, or beside them.

Before, because these answer a malformed request with what is wrong with it, and speak of the model's columns.
KServe's own serve the rest: health, lists of models, the server's metadata.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import kserve.model_server
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from nbship.errors import NbshipError
from nbship.serving import metrics, openapi
from nbship.serving.bodies import WARNINGS, Answering, Bodies, refusal
from nbship.serving.model import PackagedModel
from nbship.serving.predictor import RefusedError
from nbship.serving.settings import Settings

TOKEN = "NBSHIP_SERVER_TOKEN"  # noqa: S105 - the name of the variable that holds it
PAGE = Path(__file__).parent / "page"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_NOT_OFFERED = (
    "/v1/models/{name}:explain",
    "/v2/models/{name}/versions/{version:path}",
    "/v2/repository/models/{name}/unload",
)
_logger = logging.getLogger("nbship.serving")

Handler = Callable[[Request], Awaitable[Response]]


def open_model(settings: Settings) -> PackagedModel:
    """Makes a model, not loaded yet, and adds its routes to KServe's application in this process."""
    model = PackagedModel(settings)
    add_routes(kserve.model_server.app, model)
    return model


def add_routes(app: FastAPI, model: PackagedModel) -> None:
    """Adds the routes of a model, the list of models, metrics, and the page if there is one."""
    lock = asyncio.Lock()
    bodies = Bodies(model.settings)

    async def predict(request: Request, answer: Answering) -> Response:
        await _refresh(model, lock)
        return await bodies.answer(request, answer)

    async def metadata(_: Request) -> Response:
        await _refresh(model, lock)
        return JSONResponse(model.metadata())

    async def load(request: Request) -> Response:
        _authorize(request)
        return await _reload(model, lock)

    async def not_offered(_: Request) -> Response:
        raise RefusedError(501, "this server does not offer that")

    def add(path: str, handler: Handler, method: str, name: str = "") -> None:
        endpoint = _endpoint(model, handler, method, name)
        app.router.add_route(path, endpoint, methods=_METHODS, include_in_schema=False)

    add("/v1/models/{name}:predict", lambda r: predict(r, model.predict_v1), "POST", "v1")
    add("/v2/models/{name}/infer", lambda r: predict(r, model.predict_v2), "POST", "v2")
    add("/v2/models/{name}", metadata, "GET")
    add("/v2/repository/models/{name}/load", load, "POST")
    for path in _NOT_OFFERED:
        add(path, not_offered, "POST")
    _add_pages(app, model)
    app.router.lifespan_context = _loaded(model)
    app.openapi = lambda: openapi.document(model)  # type: ignore[method-assign]
    if model.settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(model.settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["content-type"],
            expose_headers=[WARNINGS],
        )


def _loaded(model: PackagedModel) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Has a worker process load its model before it takes requests, not while KServe waits for its start."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if not model.ready:
            await run_in_threadpool(model.load)
        yield

    return lifespan


def _add_pages(app: FastAPI, model: PackagedModel) -> None:
    async def models(_: Request) -> Response:
        return JSONResponse({"models": [model.summary()]})

    async def exposition(_: Request) -> Response:
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4")

    async def index(_: Request) -> Response:
        return FileResponse(PAGE / "index.html")

    app.router.add_route("/models.json", models, include_in_schema=False)
    app.router.add_route("/metrics", exposition, include_in_schema=False)
    if not PAGE.is_dir():
        return
    app.router.add_route("/", index, include_in_schema=False)
    # One by one: a folder mounted at / would hide KServe's routes, which are added later.
    for entry in PAGE.iterdir():
        if entry.is_dir():
            app.mount(f"/{entry.name}", StaticFiles(directory=entry, follow_symlink=True))
        elif entry.name != "models.json":
            app.router.add_route(f"/{entry.name}", _file(entry), include_in_schema=False)


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
                raise RefusedError(405, f"use {method}", headers={"Allow": method})
            if request.path_params["name"] != model.name:
                raise RefusedError(404, f"there is no such model here; there is '{model.name}'")
            response = await handler(request)
        except RefusedError as refused:
            response = refusal(refused)
        except ClientDisconnect:
            response = Response(status_code=400)
        if protocol:
            metrics.REQUESTS.labels(model.name, protocol, response.status_code).inc()
            metrics.SECONDS.labels(model.name, protocol).observe(time.perf_counter() - started)
        return response

    return endpoint


def _authorize(request: Request) -> None:
    expected = os.environ.get(TOKEN, "")
    if not expected:
        raise RefusedError(403, f"loading again is off: start the server with {TOKEN}")
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
        raise RefusedError(401, "a wrong token, or none", headers={"WWW-Authenticate": "Bearer"})


async def _reload(model: PackagedModel, lock: asyncio.Lock) -> Response:
    """Loads the model again while the old one goes on answering, and tells the other worker processes."""
    async with lock:
        error = await run_in_threadpool(_try_to_load, model)
        if error:
            metrics.LOADS.labels(model.name, "failed").inc()
            _logger.error("%s: not loaded again: %s", model.name, error)
            raise RefusedError(503, f"not loaded, the old model stays: {error.message}")
        generation = model.settings.generation
        with generation.get_lock():
            generation.value += 1
            model.generation = generation.value
    metrics.LOADS.labels(model.name, "loaded").inc()
    return JSONResponse({"name": model.name, "load": True, "run": model.predictor.package.origin.run})


async def _refresh(model: PackagedModel, lock: asyncio.Lock) -> None:
    """Loads the model again if another worker process was told to, before the next request is answered."""
    if model.settings.generation.value == model.generation:
        return
    async with lock:
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
