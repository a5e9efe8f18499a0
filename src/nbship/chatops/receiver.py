"""`nbship chatops serve`: takes a project's webhooks, keeps its comments on disk, has a job started for each.

Starlette on uvicorn, as the model server. Whether a request is the forge's is the business of `hooks`, how
nothing gets lost that of `queue`, and how jobs come to start that of `worker`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nbship.chatops.events import Comment
from nbship.chatops.hooks import UNAUTHORIZED, Expected, HookError, read_hook
from nbship.chatops.queue import Queue, QueueError
from nbship.chatops.screening import named
from nbship.chatops.worker import CatchUp, Worker
from nbship.ci.starting import Start, start_job
from nbship.serving.listening import GRACE, LOG_LEVEL, bind, configure_log, run

# Bytes of a request. What is larger, GitLab allows texts of a million characters, is found by catching up.
LARGEST = 4 * 2**20
# Comments that are taken at once, and in a minute.
PER_MINUTE = 120
# Seconds for a body to arrive, and for a connection to be idle.
_BODY, _IDLE = 10.0, 30
# Requests whose bodies are taken in at a time.
TOGETHER = 64
_DELIVERIES, _LONGEST_DELIVERY = ("x-gitlab-event-uuid", "x-github-delivery"), 64
_TOO_SLOW, _TOO_LARGE, _TOO_MANY, _UNAVAILABLE, _FULL = 408, 413, 429, 503, 507
_logger = logging.getLogger("nbship.chatops")


class Metrics:
    """What is counted, for Prometheus; no label's value comes from a request."""

    def __init__(self, queue: Queue) -> None:
        self._queue, self.registry = queue, CollectorRegistry()
        self.hooks = Counter(
            "nbship_webhooks",
            "Requests of the webhook, by the answer's status",
            ["status"],
            registry=self.registry,
        )
        self.comments = Counter(
            "nbship_comments", "Comments by what became of them", ["outcome"], registry=self.registry
        )
        self.registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields what is in the queue."""
        states = GaugeMetricFamily("nbship_comments_kept", "Comments in the queue's file", labels=["state"])
        for state, count in self._queue.counts().items():
            states.add_metric([state], count)
        yield states


@dataclass
class Allowance:
    """So many in a minute, and as many at once.

    Attributes:
        per_minute: How many.
        left: Of them, at `since`.
        since: When that was, in seconds of any clock.
    """

    per_minute: float
    left: float
    since: float

    def take(self, now: float) -> float:
        """Takes one; returns 0, or after how many seconds there will be one."""
        pace = self.per_minute / 60
        self.left = min(self.left + (now - self.since) * pace, self.per_minute)
        self.since = now
        if self.left >= 1:
            self.left -= 1
            return 0.0
        return (1 - self.left) / pace


class Receiver:
    """Answers requests.

    Args:
        expected: Whose requests are taken.
        queue: Where comments are kept.
        worker: Is woken when there is one.
        metrics: What is counted.
        now: The clock, in seconds since 1970.
        per_minute: Comments that are taken in a minute.
    """

    def __init__(
        self,
        expected: Expected,
        queue: Queue,
        worker: Worker,
        metrics: Metrics,
        now: Callable[[], float] = time.time,
        per_minute: float = PER_MINUTE,
    ) -> None:
        self._expected, self._queue, self._worker, self._metrics = expected, queue, worker, metrics
        self._now, self._allowance = now, Allowance(per_minute, per_minute, now())
        self._together = 0

    def application(self) -> Starlette:
        """Makes the ASGI application."""
        return Starlette(
            routes=[
                Route("/hook", self._hook, methods=["POST"]),
                Route("/healthz/live", self._live),
                Route("/healthz/ready", self._ready),
                Route("/metrics", self._exposition),
            ]
        )

    async def _hook(self, request: Request) -> Response:
        if self._together >= TOGETHER:
            return self._answer(_UNAVAILABLE, {"error": "too many requests at a time"}, 1)
        self._together += 1
        try:
            return await self._take(request)
        finally:
            self._together -= 1

    async def _take(self, request: Request) -> Response:
        try:
            body = await _body(request)
            told = read_hook(request.headers, body, self._expected, datetime.fromtimestamp(self._now(), UTC))
        except HookError as error:
            if error.status == UNAUTHORIZED:
                _logger.warning("a request was refused: %s", error)
            return self._answer(error.status, {"error": str(error)})
        if told.comment is None:
            self._metrics.comments.labels("dropped").inc()
            return self._answer(200, {"dropped": told.reason})
        wait = self._allowance.take(self._now())
        if wait:
            return self._answer(_TOO_MANY, {"error": "too many comments"}, math.ceil(wait))
        # By which the forge's own list of deliveries names it.
        delivery = next(filter(None, map(request.headers.get, _DELIVERIES)), "")
        return await self._keep(told.comment, delivery[:_LONGEST_DELIVERY])

    async def _keep(self, comment: Comment, delivery: str) -> Response:
        try:
            new = await run_in_threadpool(self._queue.put, comment, self._now())
        except QueueError as error:
            _logger.error("%s; %s", error.message, error.hint)
            status = _FULL if error.full else _UNAVAILABLE
            return self._answer(status, {"error": "the comment cannot be kept; the log says why"}, 60)
        outcome = "taken" if new else "repeated"
        self._metrics.comments.labels(outcome).inc()
        _logger.info("%s %s, delivery %a", named(comment), outcome, delivery)
        self._worker.wake()
        return self._answer(202 if new else 200, {outcome: comment.id})

    def _answer(self, status: int, content: dict[str, str], later: int = 0) -> Response:
        self._metrics.hooks.labels(status).inc()
        return JSONResponse(content, status, {"Retry-After": str(later)} if later else None)

    async def _live(self, _: Request) -> Response:
        return Response(status_code=200 if self._worker.alive else _UNAVAILABLE)

    async def _ready(self, _: Request) -> Response:
        try:
            await run_in_threadpool(self._queue.check)
        except QueueError as error:
            return JSONResponse({"error": error.message}, _UNAVAILABLE)
        return Response(status_code=200 if self._worker.alive else _UNAVAILABLE)

    async def _exposition(self, _: Request) -> Response:
        text = await run_in_threadpool(generate_latest, self._metrics.registry)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def _body(request: Request) -> bytes:
    """Takes a body in.

    Raises:
        HookError: It is too large, or does not come.
    """
    too_large = HookError(_TOO_LARGE, f"the body is larger than {LARGEST:,} bytes")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > LARGEST:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST:
                    raise too_large
    except (TimeoutError, ClientDisconnect):
        raise HookError(_TOO_SLOW, "the body did not arrive") from None
    return bytes(body)


@dataclass(frozen=True)
class Receiving:
    """How a receiver runs.

    Attributes:
        expected: Whose requests are taken.
        start: How jobs are started.
        queue: The folder of the queue.
        host: The address to listen on.
        port: The port; 0 is any free one.
        catch_up: Where else comments are found, if anywhere.
    """

    expected: Expected
    start: Start
    queue: Path
    host: str
    port: int
    catch_up: CatchUp | None = None


def serve(settings: Receiving, ready: Callable[[str], None]) -> None:
    """Takes webhooks until a signal ends it.

    Args:
        settings: How.
        ready: Called with the address, just before it listens.

    Raises:
        NbshipError: The port is taken, another server has the queue, or the disk is no place for it.
    """
    configure_log()
    if LOG_LEVEL not in os.environ:  # a line for each comment
        _logger.setLevel(logging.INFO)
    with bind(settings.host, settings.port) as listener, _opened(settings.queue) as queue:
        metrics = Metrics(queue)

        def start(comment: Comment) -> str:
            return start_job(settings.start, comment.variables)

        worker = Worker(
            queue, start, lambda outcome: metrics.comments.labels(outcome).inc(), settings.catch_up
        )
        worker.begin()
        try:
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            ready(f"http://{host}:{listener.getsockname()[1]}/hook")
            receiver = Receiver(settings.expected, queue, worker, metrics)
            run(receiver.application(), listener, _IDLE)
        finally:
            worker.end(GRACE)


@contextmanager
def _opened(folder: Path) -> Iterator[Queue]:
    queue = Queue(folder)
    try:
        yield queue
    finally:
        queue.close()
