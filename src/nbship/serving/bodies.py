"""Takes the bodies of requests in, within limits of size, time and memory, and answers them.

What is in a body is the business of whoever answers it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from nbship.errors import NbshipError
from nbship.serving.errors import PipelineNotLoadedError, RequestError, error_content
from nbship.serving.memory import Budget, weigh
from nbship.serving.model import Answer
from nbship.serving.settings import ServerSettings

# A body up to here is answered at once; a larger one by a thread, so that others do not wait for it.
AT_ONCE = 32 * 2**10
# Bytes a second that a body has to arrive with, beyond the time that every request has: a modem's.
_SLOWEST = 4 * 2**10
# Bodies of the largest size that are held at a time, and by how much one may grow when it is read.
_BODIES, _GROWTH = 4, 20
# Checking and predicting what was read takes about as much again, and so does the answer.
_OVERALL = 3
_SEND_LESS = "send several requests, or start the server with a larger --max-bytes"
_logger = logging.getLogger("nbship.serving")

# Answers a body; told whether there is time to load the pipeline.
Answering = Callable[[bytes | bytearray, bool], Answer]


class Bodies:
    """Answers the bodies of a server's requests; large ones share the memory that there is for them."""

    def __init__(self, settings: ServerSettings) -> None:
        self._at_most, self._patience = settings.bytes_at_most, settings.patience
        self._held = Budget(_BODIES * self._at_most)
        self._read = Budget(_GROWTH * self._at_most)

    async def answer(self, request: Request, answer: Answering) -> Response:
        """Takes in the body of a request and answers it.

        Raises:
            RequestError: It is too large, too slow, or no JSON.
            ClientDisconnect: It does not come.
        """
        size = _announced(request, self._at_most)
        body = bytearray()
        complete = await _receive(request, body, AT_ONCE, self._patience)
        if complete and len(body) <= min(AT_ONCE, self._at_most):
            try:
                return _respond(answer, body, wait=False)
            except PipelineNotLoadedError:
                return await run_in_threadpool(_respond, answer, body)
        async with self.hold(size):
            complete = complete or await _receive(request, body, self._at_most, self._patience)
            if not complete or len(body) > self._at_most:
                raise _too_large(request, self._at_most)
            async with self.work(await run_in_threadpool(weigh, body)):
                return await run_in_threadpool(_respond, answer, body)

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Holds the memory for a large body while the context lasts.

        Raises:
            RequestError: Others have it for too long.
        """
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._held.hold(size, self._patience))
            except TimeoutError:
                busy = "the server is busy with large requests"
                raise RequestError(503, busy, headers={"Retry-After": "5"}) from None
            yield

    @asynccontextmanager
    async def work(self, weight: int) -> AsyncIterator[None]:
        """Holds the memory for what is in a large body, as soon as others have given it back.

        Args:
            weight: Bytes that its values take once they are read.

        Raises:
            RequestError: They are more than any request may have.
        """
        if weight > _GROWTH * self._at_most:
            raise _too_heavy(weight, _GROWTH * self._at_most)
        async with self._read.hold(_OVERALL * weight):
            yield


def refusal(error: RequestError) -> Response:
    """Makes the answer to a request that cannot be answered."""
    return JSONResponse(error_content(error), error.status, error.headers)


def _announced(request: Request, at_most: int) -> int:
    """Returns how many bytes a request's body may have, after a look at its headers.

    Raises:
        RequestError: It is too large, or no JSON.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise RequestError(415, "the content type is not JSON: send Content-Type: application/json")
    length = request.headers.get("content-length", "")
    size = int(length) if length.isdecimal() else at_most
    if size > at_most:
        raise _too_large(request, at_most)
    return size


async def _receive(request: Request, body: bytearray, at_most: int, patience: int) -> bool:
    """Adds to a body what arrives of it, until it is complete or larger than it may be.

    Returns:
        Whether it is complete.

    Raises:
        RequestError: It takes longer than `patience` and what a slow line needs.
        ClientDisconnect: It will not come.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    try:
        async with asyncio.timeout_at(end) as limit:
            while len(body) <= at_most:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    return True
                limit.reschedule(end + len(body) / _SLOWEST)
    except TimeoutError:
        passed = f"{patience + len(body) / _SLOWEST:.0f} s"
        raise RequestError(
            408, f"the request did not arrive within {passed}", headers={"Connection": "close"}
        ) from None
    return False


def _respond(answer: Answering, body: bytearray, wait: bool = True) -> Response:
    """Answers a body, whatever comes of it.

    No exception leaves: that of a thread and the future that hands it on would hold each other, the body, and
    all that was made of it, until the garbage collector comes by.
    """
    try:
        made = answer(body, wait)
    except RequestError as error:
        return refusal(error)
    except PipelineNotLoadedError:
        raise
    except NbshipError as error:
        _logger.error("%s; %s", error.message, error.hint)
        return JSONResponse({"error": "the server failed; its log says how"}, 500)
    except Exception:
        _logger.exception("a request failed")
        return JSONResponse({"error": "the server failed; its log says how"}, 500)
    return Response(made.body, media_type="application/json", headers=made.headers)


def _too_large(request: Request, at_most: int) -> RequestError:
    # The rest is read and thrown away, so that the client comes to read the answer; unless it waits to send.
    headers = {"Connection": "close"} if "expect" in request.headers else None
    return RequestError(413, f"the body is larger than {at_most:,} bytes: {_SEND_LESS}", headers=headers)


def _too_heavy(weight: int, at_most: int) -> RequestError:
    taken = f"{weight / 2**20:,.0f} MiB once it is read, {at_most / 2**20:,.0f} are accepted"
    return RequestError(413, f"the body has so many values that it takes about {taken}: {_SEND_LESS}")
