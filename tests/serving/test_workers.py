"""The processes of the model server: they end in order, are started again, and outlive nobody."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests

from tests.package.packages import make_package, regression, started

CAR = {"weight": 3000, "power": 99.5, "origin": "usa"}
BODY = json.dumps({"instances": [CAR]}).encode()
HEAD = b"POST /v1/models/cars:predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers") / "cars"
    make_package(folder, regression())
    return folder


def until(true: Callable[[], object]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it never came to be so")


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes, without what multiprocessing starts beside them."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children()
        return [child for child in children if any("spawn_main" in part for part in child.cmdline())]
    return []


def answers(address: str) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        path = f"{address}/v1/models/cars:predict"
        return requests.post(path, json={"instances": [CAR]}, timeout=30).status_code == 200
    return False


@pytest.mark.parametrize("workers", [1, 2])
def test_requests_that_have_begun_are_answered_before_it_ends(folder: Path, workers: int) -> None:
    with started(folder, "--workers", str(workers)) as (address, process):
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:10])
            time.sleep(0.3)  # it is being read
            process.send_signal(signal.SIGTERM)
            until(lambda: not answers(address))
            connection.sendall(BODY[10:])
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, list(json.loads(answer.read()))) == (200, ["predictions", "intervals"])
        process.wait(30)


def test_a_worker_that_is_killed_is_started_again(folder: Path) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), started(folder, "--workers", "2") as (address, process):
        until(lambda: len(workers_of(process)) == 2)
        (victim, other) = workers_of(process)
        victim.kill()
        until(lambda: len(workers_of(process)) == 2 and victim not in workers_of(process))
        assert other in workers_of(process)
        assert answers(address)
    told = f"worker process {victim.pid} was killed: for its memory, as a rule; another is started"
    assert told in said.getvalue()


def test_workers_do_not_outlive_who_started_them(folder: Path) -> None:
    with started(folder, "--workers", "2") as (address, process):
        until(lambda: len(workers_of(process)) == 2)
        workers = workers_of(process)
        process.kill()
        process.wait(30)
        psutil.wait_procs(workers, timeout=60)
        assert not [worker for worker in workers if worker.is_running()]
        assert not answers(address)
