"""`nbship chatops serve` as a process: killed at each action, ended, started twice, left by the forge."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests import commenting
from tests.chatops.trigger_server import TRIGGER_TOKEN, TriggerServer
from tests.chatops.trigger_server import serve as serve_forge
from tests.chatops.webhooks import SECRET, by_token, gitlab_note
from tests.kubeflow_server import Fault

# The command line, killed by itself before or after one action: a stand-in for kill -9 at that moment.
KILLED = """
import os, signal, sys
from nbship.chatops import queue, receiver
at, when = sys.argv.pop(1).split()
def killing(action):
    def acted(*arguments):
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = action(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)
        return result
    return acted
owner = receiver if at == "start_job" else queue.Queue
setattr(owner, at, killing(getattr(owner, at)))
from nbship.cli.main import main
main()
"""
NBSHIP = [str(Path(sys.executable).parent / "nbship")]


class Server:
    """A receiver that runs."""

    def __init__(self, process: subprocess.Popen[str], address: str, log: Path) -> None:
        self.process, self.address, self.log = process, address, log

    def send(self, number: int) -> int:
        """Delivers a comment; returns the answer's status, 0 if there was none."""
        written = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        sent = by_token(gitlab_note(object_attributes={"id": number, "created_at": written}))
        try:
            return requests.post(self.address, sent.body, headers=sent.headers, timeout=60).status_code
        except requests.ConnectionError:
            return 0

    def get(self, path: str) -> requests.Response:
        return requests.get(self.address.replace("/hook", path), timeout=60)

    def is_there(self) -> bool:
        try:
            return bool(self.address and self.get("/healthz/live"))
        except requests.ConnectionError:
            return False

    def end(self, by: signal.Signals) -> int:
        self.process.send_signal(by)
        return self.process.wait(60)


@pytest.fixture
def forge() -> Iterator[TriggerServer]:
    with serve_forge(TriggerServer()) as running:
        yield running


@pytest.fixture
def start(tmp_path: Path, forge: TriggerServer) -> Iterator[Callable[..., Server]]:
    """Starts a receiver; all have the same queue."""
    begun: list[subprocess.Popen[str]] = []

    def started(*program: str, options: Sequence[str] = (), **variables: str) -> Server:
        log = tmp_path / f"log{len(begun)}.txt"
        command = [*(program or NBSHIP), "chatops", "serve", "--project", "group/cars", "--port", "0"]
        with log.open("w") as errors:
            process = subprocess.Popen(
                [*command, "--queue", str(tmp_path / "queue"), *options],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={
                    **{
                        key: value
                        for key, value in os.environ.items()
                        if not key.startswith(("NBSHIP_", "CI_"))
                    },
                    "NBSHIP_WEBHOOK_SECRET": SECRET,
                    "NBSHIP_TRIGGER_TOKEN": TRIGGER_TOKEN,
                    "NBSHIP_GITLAB_URL": forge.address,
                    **variables,
                },
            )
        begun.append(process)
        assert process.stdout
        line = process.stdout.readline()
        server = Server(process, line.split()[-1] if line else "", log)
        until(lambda: process.poll() is not None or server.is_there())
        return server

    yield started
    for process in begun:
        process.kill()
        process.communicate()


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Waits for what another process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_comment_becomes_a_job_that_is_given_no_word_of_it(
    start: Callable[..., Server], forge: TriggerServer
) -> None:
    server = start()
    assert server.send(1244) == 202
    until(lambda: len(forge.started) == 1)
    (variables,) = forge.started
    assert variables | {"NBSHIP_COMMENT_WRITTEN": ""} == {
        "NBSHIP_COMMENT_FORGE": "gitlab",
        "NBSHIP_COMMENT_PROJECT": "group/cars",
        "NBSHIP_COMMENT_NUMBER": "3",
        "NBSHIP_COMMENT_ID": "1244",
        "NBSHIP_COMMENT_AUTHOR": "ada",
        "NBSHIP_COMMENT_TEXT": "",
        "NBSHIP_COMMENT_WRITTEN": "",
    }
    assert server.get("/healthz/live").status_code == server.get("/healthz/ready").status_code == 200
    until(lambda: 'nbship_comments_kept{state="started"} 1.0' in server.get("/metrics").text)
    assert server.end(signal.SIGTERM) == 0
    log = server.log.read_text()
    assert "group/cars!3 comment 1244 by 'ada' taken" in log
    assert f"comment 1244 by 'ada' started {forge.address}/group/cars/-/pipelines/1" in log
    assert SECRET not in log and TRIGGER_TOKEN not in log and "/run" not in log


# Between starting a job and noting it, nobody can say whether it was started: it is started again, and the
# job knows the comment by its number.
@pytest.mark.parametrize(
    ("moment", "times"),
    [
        ("put before", 1),
        ("put after", 1),
        ("next before", 1),
        ("start_job before", 1),
        ("start_job after", 2),
        ("end after", 1),
    ],
)
def test_killed_at_an_action_it_loses_nothing(
    start: Callable[..., Server], forge: TriggerServer, moment: str, times: int
) -> None:
    server = start(sys.executable, "-c", KILLED, moment)
    answer = server.send(5) if server.address else 0
    assert server.process.wait(60) == -signal.SIGKILL
    again = start()
    if not answer:  # somebody has it delivered again
        assert again.send(5) in (200, 202)
    assert again.send(6) == 202
    until(lambda: "6" in forge.ids)
    assert forge.ids == ["5"] * times + ["6"]
    assert again.end(signal.SIGTERM) == 0


def test_ended_while_the_forge_is_down_it_goes_on_after_the_next_start(
    start: Callable[..., Server], forge: TriggerServer
) -> None:
    forge.faults = [Fault("POST", status=503, times=1)]
    server = start()
    assert [server.send(each) for each in (1, 2, 3)] == [202] * 3
    until(lambda: len(forge.ids) == 2)
    assert server.end(signal.SIGTERM) == 0
    assert "server error (503)" in server.log.read_text()
    after = start()
    until(lambda: len(forge.ids) == 3)
    assert sorted(forge.ids) == ["1", "2", "3"]
    assert [after.send(each) for each in (1, 2, 3)] == [200] * 3
    assert after.end(signal.SIGINT) == 0
    assert len(forge.ids) == 3


def test_ended_while_a_job_is_being_started_it_waits_for_the_answer(
    start: Callable[..., Server], forge: TriggerServer
) -> None:
    forge.faults = [Fault("POST", slow=1.5)]
    server = start()
    assert server.send(1) == 202
    until(lambda: len(forge.seen) == 1)
    assert server.end(signal.SIGTERM) == 0
    assert "started" in server.log.read_text() and forge.ids == ["1"]
    again = start()
    assert again.send(2) == 202
    until(lambda: "2" in forge.ids)
    assert forge.ids == ["1", "2"]


def test_a_second_server_with_the_same_queue_refuses_to_start(start: Callable[..., Server]) -> None:
    first = start()
    second = start()
    assert second.process.wait(60) == 1
    assert "another server has this queue" in second.log.read_text()
    assert first.get("/healthz/live").status_code == 200


def test_comments_that_come_all_at_once_are_each_worked_once(
    start: Callable[..., Server], forge: TriggerServer
) -> None:
    server = start()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(server.send, [number for number in range(1, 21) for _ in range(2)]))
    assert sorted(answers) == [200] * 20 + [202] * 20
    until(lambda: len(forge.ids) == 20)
    assert server.end(signal.SIGTERM) == 0
    assert sorted(map(int, forge.ids)) == list(range(1, 21))


def test_a_comment_that_no_webhook_brought_is_found_and_worked_once(start: Callable[..., Server]) -> None:
    with commenting.place("gitlab") as place:
        place.at(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        first = place.write("/run line")
        known = {key: value for key, value in place.server.environment.items() if key.startswith("NBSHIP_")}
        server = start(options=("--catch-up", "0.002"), **known)
        until(lambda: len(place.server.started) == 1)
        second = place.write("/run line")
        assert server.send(int(second.id)) in (200, 202)
        until(lambda: len(place.server.started) == 2)
        looks = len(place.server.lines("/notes"))
        until(lambda: len(place.server.lines("/notes")) > looks + 2)
        assert server.end(signal.SIGTERM) == 0
        told = [variables["NBSHIP_COMMENT_ID"] for _, variables in place.server.started.values()]
        assert told == [first.id, second.id]
        assert known["NBSHIP_GITLAB_TOKEN"] not in server.log.read_text()
