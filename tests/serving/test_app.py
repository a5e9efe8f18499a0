"""The web front between a person with a JSON file and a model server."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import requests

from nbship.serving.app import Service, create_app
from tests.served import serving, write_cars, write_churn
from tests.servers import http_server

CUSTOMER = {"tenure": 2, "contract": "month to month", "paperless": True}


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    folder = tmp_path_factory.mktemp("models")
    write_churn(folder / "churn")
    write_cars(folder / "cars")
    with serving(folder / "churn", folder / "cars") as ports:
        yield ports


@pytest.fixture
def churn(ports: dict[str, int]) -> Any:
    return front("churn", f"http://127.0.0.1:{ports['churn']}")


def front(model: str, server: str, host: str = "") -> Any:
    return create_app(Service(model, server, host)).test_client()


@contextlib.contextmanager
def answering(status: int, body: bytes, seen: list[str]) -> Iterator[str]:
    """A server that answers everything alike and notes by which host it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.headers["Host"])
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with http_server(Handler) as address:
        yield address


def test_one_customer_in_the_body(churn: Any) -> None:
    answer = churn.post("/predict", json=CUSTOMER)
    assert answer.status_code == 200
    assert answer.json["prediction"] == 1
    assert answer.json["probability"] == answer.json["probabilities"]["1"] > 0.5
    assert sum(answer.json["probabilities"].values()) == pytest.approx(1)


def test_many_customers_in_a_file(churn: Any) -> None:
    customers = [CUSTOMER, {**CUSTOMER, "tenure": 70, "contract": "two years"}]
    file = (io.BytesIO(json.dumps(customers).encode()), "customers.json")
    answer = churn.post("/predict", data={"file": file})
    assert [each["prediction"] for each in answer.json] == [1, 0]


def test_a_number_has_its_interval(ports: dict[str, int]) -> None:
    cars = front("cars", f"http://127.0.0.1:{ports['cars']}")
    answer = cars.post("/predict", json={"instances": [{"weight": 3000, "hp": 100, "origin": 1}]}).json[0]
    low, high = answer["interval"]
    assert low < answer["prediction"] < high
    assert "probability" not in answer


def test_what_the_server_refuses_is_passed_on(churn: Any) -> None:
    answer = churn.post("/predict", json=[CUSTOMER, {**CUSTOMER, "contract": "one yeer"}])
    assert answer.status_code == 422
    (field,) = answer.json["fields"]
    assert (field["instance"], field["field"], field["suggestion"]) == (1, "contract", "one year")


@pytest.mark.parametrize(
    "body", [b"", b"  ", b"{", b"[]", b"3", b"[3]", b"[[1]]", b'{"instances": []}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_file_of_records_is_refused(churn: Any, body: bytes) -> None:
    answer = churn.post("/predict", data=body)
    assert answer.status_code == 400
    assert answer.json["error"]


def test_a_file_that_is_too_large_is_refused(churn: Any) -> None:
    answer = churn.post("/predict", data=b" " * (16 * 2**20 + 1))
    assert answer.status_code == 413
    assert "larger" in answer.json["error"]


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        answer = front("churn", f"http://127.0.0.1:{closed.getsockname()[1]}").post("/predict", json=CUSTOMER)
    assert (answer.status_code, answer.json) == (502, {"error": "the model server cannot be reached"})


def test_a_server_that_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbship.serving.app._PATIENCE", (1, 0.05))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answer = front("churn", f"http://127.0.0.1:{silent.getsockname()[1]}").post("/predict", json=CUSTOMER)
    assert answer.status_code == 504


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"predictions": []}'),
        (500, b'{"error": "secret trace"}'),
        (404, b"no"),
    ],
)
def test_an_answer_that_is_none_is_a_bad_gateway(status: int, body: bytes) -> None:
    with answering(status, body, []) as server:
        answer = front("churn", server).post("/predict", json=CUSTOMER)
    assert answer.status_code == 502
    assert "secret" not in answer.text


def test_a_gateway_is_told_the_host() -> None:
    seen: list[str] = []
    with answering(200, b'{"predictions": ["Yes"]}', seen) as server:
        answer = front("churn", server, "churn.nbship.example.org").post("/predict", json=CUSTOMER)
    assert answer.json == {"prediction": "Yes"}
    assert seen == ["churn.nbship.example.org"]


@pytest.mark.parametrize("levels", [10, 500, 900, 940, 970, 990, 5_000, 200_000])
def test_what_is_nested_deeply_is_refused(churn: Any, levels: int) -> None:
    body = b'{"tenure": ' + b"[" * levels + b"]" * levels + b', "contract": "one year", "paperless": true}'
    answer = churn.post("/predict", data=body)
    assert answer.status_code in (400, 422)
    assert answer.json.get("fields") or answer.json["error"] == "the file is nested too deeply"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_finite_number_is_refused_by_field(churn: Any, number: str) -> None:
    body = json.dumps(CUSTOMER).replace("2", number)
    answer = churn.post("/predict", data=body)
    assert (answer.status_code, answer.json["fields"][0]["field"]) == (422, "tenure")


def test_the_form_is_shown_and_harmless() -> None:
    answer = front("<script>", "http://127.0.0.1:1").get("/")
    assert "&lt;script&gt;" in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from nbship.cli.main import main; main()", "app", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_command_serves_until_it_is_interrupted(ports: dict[str, int]) -> None:
    server = f"http://127.0.0.1:{ports['churn']}"
    with start("--model", "churn", "--server", server, "--port", "0") as process:
        assert process.stdout
        address = re.search(r"http://\S+", process.stdout.readline())
        assert address
        assert requests.post(f"{address[0]}/predict", json=CUSTOMER, timeout=30).json()["prediction"] == 1
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


def test_the_command_says_that_the_port_is_taken() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        start("--model", "churn", "--port", str(taken.getsockname()[1])) as process,
    ):
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "cannot listen" in errors
    assert "Traceback" not in errors


def test_an_address_that_is_none_is_wrong_usage() -> None:
    with start("--model", "churn", "--server", "localhost:8080") as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "--server" in errors
