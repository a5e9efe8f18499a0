"""What the receiver answers, and what becomes of a comment that it has answered for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from nbship.chatops import receiver
from nbship.chatops.hooks import Expected
from nbship.chatops.queue import Queue, QueueError
from nbship.chatops.receiver import Metrics, Receiver
from nbship.chatops.worker import Worker
from tests.chatops.test_queue import comment
from tests.chatops.webhooks import NOW, SECRET, SIGNING, Sent, by_signature, by_token, gitlab_note


class Client:
    """Asks an application; what would be answered with 500 is raised."""

    def __init__(self, application: Starlette) -> None:
        self.application = application

    def ask(self, method: str, path: str, content: Any = b"", headers: Any = None) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.application)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, content=content, headers=headers)

        return asyncio.run(asked())

    def get(self, path: str) -> httpx.Response:
        return self.ask("GET", path)

    def post(self, path: str, content: Any = b"", headers: Any = None) -> httpx.Response:
        return self.ask("POST", path, content, headers)


class Clock:
    def __init__(self) -> None:
        self.now = NOW.timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(queue: Queue, clock: Clock) -> Client:
    """A receiver whose worker does not work."""
    worker = Worker(queue, lambda comment: "", lambda outcome: None)
    expected = Expected("gitlab", "group/cars", (SECRET, SIGNING))
    made = Receiver(expected, queue, worker, Metrics(queue), clock, per_minute=6)
    return Client(made.application())


def send(client: Client, sent: Sent) -> Any:
    return client.post("/hook", content=sent.body, headers=sent.headers)


def numbered(number: int) -> Sent:
    return by_token(gitlab_note(object_attributes={"id": number}))


def metrics(client: Client) -> dict[str, float]:
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_a_comment_is_taken_and_its_second_delivery_is_not(client: Client, queue: Queue) -> None:
    answers = [send(client, each) for each in (numbered(5), numbered(5), by_signature(gitlab_note()))]
    assert [each.status_code for each in answers] == [202, 200, 202]
    assert [each.json() for each in answers] == [{"taken": "5"}, {"repeated": "5"}, {"taken": "1244"}]
    assert queue.counts()["waiting"] == 2
    assert metrics(client)['nbship_comments_total{outcome="repeated"}'] == 1


def test_the_log_names_the_delivery_as_the_forge_lists_it(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "nbship.chatops")
    send(client, by_token(gitlab_note(), **{"x-gitlab-event-uuid": "0000-2'\t" + "x" * 100}))
    (line,) = [each.getMessage() for each in caplog.records if each.name.startswith("nbship")]
    assert line.startswith("group/cars!3 comment 1244 by 'ada' taken, delivery \"0000-2'\\txxx")
    assert len(line) < 150


def test_what_starts_nothing_is_acknowledged(client: Client, queue: Queue) -> None:
    answer = send(client, by_token(gitlab_note(object_attributes={"note": "nice"})))
    assert (answer.status_code, answer.json()) == (200, {"dropped": "without a command"})
    assert queue.counts()["waiting"] == 0


def test_a_stranger_learns_nothing_and_is_noted(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    answer = send(client, by_token(gitlab_note(), "wrong-hunter2"))
    assert answer.status_code == 401
    assert "a request was refused" in caplog.text
    for secret in (SECRET, SIGNING, "wrong-hunter2"):
        assert secret not in caplog.text + answer.text


def test_what_is_too_large_is_refused_whether_it_says_so_or_not(client: Client) -> None:
    body = b" " * (receiver.LARGEST + 1)
    sent = by_token(body)
    assert send(client, sent).status_code == 413

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 2**20):
            yield body[at : at + 2**20]

    assert client.post("/hook", content=chunks(), headers=sent.headers).status_code == 413
    headers = {**sent.headers, "content-length": "9" * 30}
    assert client.post("/hook", content=b"{}", headers=headers).status_code == 413


def test_so_many_comments_in_a_minute_and_others_are_told_when(
    client: Client, clock: Clock, queue: Queue
) -> None:
    assert [send(client, numbered(each)).status_code for each in range(1, 8)] == [202] * 6 + [429]
    assert send(client, numbered(8)).headers["retry-after"] == "10"
    # Strangers, and comments without a command, take nothing of it.
    clock.now += 10
    send(client, by_token(gitlab_note(), "wrong"))
    assert send(client, numbered(9)).status_code == 202
    assert send(client, numbered(10)).status_code == 429
    assert queue.counts()["waiting"] == 7


def test_a_full_disk_asks_for_patience(client: Client, queue: Queue) -> None:
    pages = queue._base.execute("PRAGMA page_count").fetchone()[0]
    queue._base.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(QueueError):
        for number in range(1000, 2000):
            queue.put(comment(number), 0.0)
    answer = send(client, numbered(5))
    assert answer.status_code == 507 and answer.headers["retry-after"] == "60"
    queue._base.execute("PRAGMA max_page_count = 100000")
    assert send(client, numbered(5)).status_code == 202


def test_a_disk_that_is_gone_is_not_ready(client: Client, queue: Queue) -> None:
    queue._base.execute("PRAGMA query_only = 1")
    assert send(client, numbered(5)).status_code == 503
    assert client.get("/healthz/ready").status_code == 503


def test_a_receiver_whose_worker_has_died_is_not_alive(client: Client) -> None:
    assert client.get("/healthz/live").status_code == 503
    assert client.get("/healthz/ready").status_code == 503


def test_so_many_requests_at_a_time_and_probes_beside_them(
    client: Client, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "TOGETHER", 2)
    sent = numbered(5)

    async def asked() -> tuple[list[int], int, int]:
        may_end = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield sent.body[:10]
            await may_end.wait()
            yield sent.body[10:]

        transport = httpx.ASGITransport(app=client.application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as asking:
            slow = [
                asyncio.create_task(asking.post("/hook", content=slowly(), headers=sent.headers))
                for _ in range(2)
            ]
            await asyncio.sleep(0)
            while (third := await asking.post("/hook", content=b"{}")).status_code != 503:
                await asyncio.sleep(0)
            probe = await asking.get("/metrics")
            may_end.set()
            return (
                [(await each).status_code for each in slow],
                int(third.headers["retry-after"]),
                probe.status_code,
            )

    assert asyncio.run(asked()) == ([202, 200], 1, 200)
    assert send(client, numbered(6)).status_code == 202


def test_nothing_else_is_here(client: Client) -> None:
    assert client.get("/hook").status_code == 405
    for path in ("/", "/docs", "/hook/", "/hook/x"):
        assert client.post(path).status_code in (404, 405, 307)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.binary(max_size=200),
    st.dictionaries(
        st.sampled_from(
            [
                "x-gitlab-event",
                "content-type",
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature",
                "x-gitlab-token",
            ]
        ),
        st.binary(max_size=60).map(lambda raw: bytes(b for b in raw if b > 31 and b != 127)),
    ),
)
def test_whatever_comes_is_answered_below_500(client: Client, body: bytes, headers: dict[str, bytes]) -> None:
    own = {key: value.encode() for key, value in by_token(body).headers.items()}
    for given_headers in (headers, {**own, **headers}, own):
        assert client.post("/hook", content=body, headers=given_headers).status_code < 500
