"""The Open Inference protocol over gRPC: the same model as over HTTP, on a port of its own.

Error codes are those that KServe, MLServer and Triton give for the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
from starlette.concurrency import run_in_threadpool

from nbship import __version__
from nbship.errors import NbshipError
from nbship.serving import grpc_predict_v2_pb2 as inference
from nbship.serving import metrics, protocol
from nbship.serving.bodies import AT_ONCE, Bodies
from nbship.serving.errors import PipelineNotLoadedError, RequestError
from nbship.serving.memory import weigh_values
from nbship.serving.model import PackagedModel
from nbship.serving.routes import EVENT, authorize, is_check, refresh, reload, require_name
from nbship.serving.tensors import read_request, request_content, response_message, values_in

SERVICE = "inference.GRPCInferenceService"
# Messages that arrive at a time: each may become as large as the largest.
_ARRIVING = 16
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_logger = logging.getLogger("nbship.serving")

Context = Any  # of grpc.aio, which has no types
Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def lifespan(model: PackagedModel, bodies: Bodies, grace: float) -> Lifespan:
    """Has a gRPC server run as long as an ASGI application does.

    Args:
        model: What is served, at the address that its settings say.
        bodies: What large requests share with those over HTTP.
        grace: Seconds that requests have to end in.
    """

    @asynccontextmanager
    async def run(_: Any) -> AsyncIterator[None]:
        settings = model.settings
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.bytes_at_most),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 1),  # by all worker processes
                ("grpc.max_connection_idle_ms", settings.patience * 1000),
            ]
        )
        server.add_generic_rpc_handlers((_handlers(InferenceService(model, bodies)),))
        server.add_insecure_port(settings.grpc_address)
        await server.start()
        try:
            yield
        finally:
            await server.stop(grace)

    return run


def _handlers(service: InferenceService) -> Any:
    types: dict[str, tuple[Any, Callable[..., Awaitable[Any]]]] = {
        "ServerLive": (inference.ServerLiveRequest, service.server_live),
        "ServerReady": (inference.ServerReadyRequest, service.server_ready),
        "ServerMetadata": (inference.ServerMetadataRequest, service.server_metadata),
        "ModelReady": (inference.ModelReadyRequest, service.model_ready),
        "ModelMetadata": (inference.ModelMetadataRequest, service.model_metadata),
        "RepositoryModelLoad": (inference.RepositoryModelLoadRequest, service.load),
        "RepositoryModelUnload": (inference.RepositoryModelUnloadRequest, service.unload),
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _with_errors_as_status(method),
            request_deserializer=kind.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )
        for name, (kind, method) in types.items()
    }
    # On the wire the same as one message; here, it is read when there is memory for it.
    handlers["ModelInfer"] = grpc.stream_unary_rpc_method_handler(
        _with_errors_as_status(service.infer),
        response_serializer=lambda response: response.SerializeToString(),
    )
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def _with_errors_as_status(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Tells the sender of a request that cannot be answered why."""

    async def answer(request: Any, context: Context) -> Any:
        try:
            return await method(request, context)
        except RequestError as error:
            code, message = _CODES.get(error.status, grpc.StatusCode.UNKNOWN), error.message
        except NbshipError as error:
            _logger.error("%s; %s", error.message, error.hint)
            code, message = grpc.StatusCode.INTERNAL, "the server failed; its log says how"
        except Exception:
            _logger.exception("a request failed")
            code, message = grpc.StatusCode.INTERNAL, "the server failed; its log says how"
        return await context.abort(code, message)

    return answer


class InferenceService:
    """Answers the calls of the protocol.

    Args:
        model: What is served.
        bodies: What large requests share with those over HTTP.
    """

    def __init__(self, model: PackagedModel, bodies: Bodies) -> None:
        self._model, self._bodies = model, bodies
        self._arriving = asyncio.Semaphore(_ARRIVING)

    async def server_live(self, _: Any, __: Context) -> inference.ServerLiveResponse:
        """Tells whether the server runs."""
        return inference.ServerLiveResponse(live=True)

    async def server_ready(self, _: Any, __: Context) -> inference.ServerReadyResponse:
        """Tells whether the model is loaded."""
        return inference.ServerReadyResponse(ready=self._model.ready)

    async def server_metadata(self, _: Any, __: Context) -> inference.ServerMetadataResponse:
        """Tells what serves."""
        return inference.ServerMetadataResponse(
            name="nbship", version=__version__, extensions=["model_repository_extension"]
        )

    async def model_ready(
        self, request: inference.ModelReadyRequest, _: Context
    ) -> inference.ModelReadyResponse:
        """Tells whether the model is loaded."""
        self._require(request.name, request.version)
        return inference.ModelReadyResponse(ready=self._model.ready)

    async def model_metadata(
        self, request: inference.ModelMetadataRequest, _: Context
    ) -> inference.ModelMetadataResponse:
        """Tells what the model takes and gives."""
        await refresh(self._model)
        self._require(request.name, request.version)
        metadata = self._model.metadata()
        metadata.pop("nbship")
        return inference.ModelMetadataResponse(**metadata)

    async def load(
        self, request: inference.RepositoryModelLoadRequest, context: Context
    ) -> inference.RepositoryModelLoadResponse:
        """Loads the model again."""
        authorize(dict(context.invocation_metadata()).get("authorization", ""))
        self._require(request.model_name)
        await reload(self._model)
        return inference.RepositoryModelLoadResponse(model_name=request.model_name, isLoaded=True)

    async def unload(self, _: Any, __: Context) -> None:
        """Is not offered."""
        raise RequestError(501, "this server does not offer that")

    async def infer(self, _: Any, context: Context) -> inference.ModelInferResponse:
        """Predicts."""
        started, status = time.perf_counter(), 500
        try:
            await refresh(self._model)
            answer, headers = await self._answer(context)
            status = 200
        except RequestError as error:
            status = error.status
            raise
        finally:
            taken = time.perf_counter() - started
            metrics.count_request(self._model.name, "grpc", status, taken)
        if headers:
            context.set_trailing_metadata(tuple(headers.items()))
        return answer

    async def _answer(self, context: Context) -> tuple[inference.ModelInferResponse, Mapping[str, str]]:
        patience = self._model.settings.patience
        async with self._arriving:
            try:
                async with asyncio.timeout(patience):
                    message = await context.read()
            except TimeoutError:
                raise RequestError(408, f"the request did not arrive within {patience} s") from None
        if not isinstance(message, bytes):
            raise RequestError(400, "the request has no message")
        kept = self._model.log is None or not is_check(_event(context))
        if len(message) <= AT_ONCE:
            try:
                return self._predict(read_request(message), kept, wait=False)
            except PipelineNotLoadedError:
                return await run_in_threadpool(self._predict, read_request(message), kept)
        async with self._bodies.hold(len(message)):
            request = await run_in_threadpool(read_request, message)
            async with self._bodies.work(len(message) + weigh_values(values_in(request))):
                return await run_in_threadpool(self._predict, request, kept)

    def _predict(
        self, request: inference.ModelInferRequest, kept: bool, wait: bool = True
    ) -> tuple[inference.ModelInferResponse, Mapping[str, str]]:
        self._require(request.model_name, request.model_version)
        model, predictor = self._model, self._model.predictor
        content = request_content(request)
        values = protocol.parse_v2(predictor.columns, content, model.settings.records_at_most)
        predicted = model.predict(predictor, values, wait, kept)
        output, version = predictor.package.output, model.version(predictor)
        answer = protocol.answer_v2(model.name, version, output, content, predicted.prediction)
        return response_message(answer), predicted.headers

    def _require(self, name: str, version: str = "") -> None:
        require_name(self._model, name)
        if version not in ("", served := self._model.version(self._model.predictor)):
            raise RequestError(404, f"there is no such version here; there is '{served}'")


def _event(context: Context) -> str:
    return str(dict(context.invocation_metadata() or ()).get(EVENT, ""))
