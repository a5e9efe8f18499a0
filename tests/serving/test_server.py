"""The model server, as a container runs it: its addresses, what it refuses, loading again, and load."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from prometheus_client.parser import text_string_to_metric_families
from schemathesis.checks import CHECKS

from nbship import threads
from nbship.config import ColumnSettings
from nbship.errors import NbshipError
from nbship.package import DESCRIPTION, MODEL, read_package
from nbship.serving import model, server
from nbship.serving.settings import ServerSettings
from tests.package.packages import classification, make_cars, make_package, regression, served

TOKEN = "let-me-load"  # noqa: S105
CAR = {"weight": 3000, "power": 99.5, "origin": "usa"}
COLUMNS = {"weight": ColumnSettings(description="with a full tank", unit="lb")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "cars"
    make_package(folder, regression(), columns=COLUMNS)
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    limits = ("--max_records", "1000", "--max_bytes", "200000")
    origin = ("--allowed_origins", "https://cars.example.org", "--model_version", "v1.2.0")
    with served(folder, *limits, *origin, NBSHIP_SERVER_TOKEN=TOKEN) as address:
        yield address


@pytest.fixture(scope="module")
def buyers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("buyers") / "cars"
    make_package(folder, classification(), "sells")
    with served(folder) as address:
        yield address


def predict(address: str, content: Any, protocol: str = "v1", **options: Any) -> requests.Response:
    path = {"v1": "/v1/models/cars:predict", "v2": "/v2/models/cars/infer"}[protocol]
    return requests.post(address + path, json=content, timeout=30, **options)


def metric(address: str, name: str, **labels: str) -> float:
    text = requests.get(f"{address}/metrics", timeout=30).text
    samples = (each for family in text_string_to_metric_families(text) for each in family.samples)
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def test_a_prediction_in_both_protocols(address: str, folder: Path) -> None:
    golden = read_package(folder).golden[0]
    named = predict(address, {"instances": [golden.record]})
    assert named.status_code == 200
    assert named.json()["predictions"] == [pytest.approx(golden.prediction, rel=1e-4)]
    ((low, high),) = named.json()["intervals"]
    assert low < golden.prediction < high
    assert "nbship-warnings" not in named.headers
    bare = predict(address, {"instances": [list(golden.record.values())]}).json()
    assert bare == {"predictions": named.json()["predictions"]}
    inputs = [{"name": n, "shape": [1], "datatype": "FP64", "data": [v]} for n, v in golden.record.items()]
    second = predict(address, {"id": "a", "inputs": inputs}, "v2").json()
    assert (second["model_name"], second["model_version"], second["id"]) == ("cars", "v1.2.0", "a")
    tensors = {each["name"]: each for each in second["outputs"]}
    assert tensors["predict"]["data"] == named.json()["predictions"]
    assert tensors["interval"]["shape"] == [1, 2]


def test_a_classification(buyers: str) -> None:
    answer = predict(buyers, {"instances": [CAR, CAR]}).json()
    assert set(answer["probabilities"][0]) == {"no", "yes"}
    assert sum(answer["probabilities"][0].values()) == pytest.approx(1)
    assert answer["predictions"][0] == max(answer["probabilities"][0], key=answer["probabilities"][0].get)
    inputs = [{"name": n, "shape": [1], "datatype": "BYTES", "data": [v]} for n, v in CAR.items()]
    tensors = predict(buyers, {"inputs": inputs}, "v2").json()["outputs"]
    assert [(t["name"], t["datatype"], t["shape"]) for t in tensors] == [
        ("predict", "BYTES", [1]),
        ("predict_proba", "FP64", [1, 2]),
    ]


def test_the_model_describes_itself(address: str) -> None:
    found = requests.get(f"{address}/v2/models/cars", timeout=30).json()
    assert (found["name"], found["versions"]) == ("cars", ["v1.2.0"])
    assert [each["name"] for each in found["inputs"]] == ["weight", "power", "origin"]
    more = found["nbship"]
    assert (more["title"], more["description"]) == ("Cars", "Cars and what they burn.")
    assert (more["columns"][0]["unit"], more["columns"][0]["description"]) == ("lb", "with a full tank")
    assert (more["run"], more["rows"], more["output"]["kind"]) == ("20250101-000000-abcd", 200, "regression")
    assert predict(address, {"instances": [more["example"]]}).ok
    listed = {"name": "cars", "title": "Cars", "description": "Cars and what they burn."}
    assert requests.get(f"{address}/models.json", timeout=30).json() == {"models": [listed]}


@pytest.mark.parametrize(
    "path", ["/", "/v2/health/live", "/v2/health/ready", "/v1/models", "/v1/models/cars", "/v2", "/metrics"]
)
def test_what_kserve_and_the_page_serve(address: str, path: str) -> None:
    assert requests.get(address + path, timeout=30).status_code == 200


def test_flagged_values_are_predicted_and_told(address: str) -> None:
    before = metric(address, "nbship_flagged_values_total", field="weight", reason="range")
    answer = predict(address, {"instances": [CAR | {"weight": 9000, "origin": "mars"}]})
    assert answer.status_code == 200
    assert {flag["field"] for flag in json.loads(answer.headers["nbship-warnings"])} == {"weight", "origin"}
    assert metric(address, "nbship_flagged_values_total", field="weight", reason="range") == before + 1


def test_a_record_that_does_not_fit_is_refused_by_field(address: str) -> None:
    before = metric(address, "nbship_rejected_values_total", field="power", reason="type")
    answer = predict(address, {"instances": [CAR, CAR | {"power": "much"}]})
    assert answer.status_code == 422
    assert answer.json()["fields"] == [
        {
            "instance": 1,
            "field": "power",
            "given": "much",
            "problem": "is text",
            "accepted": answer.json()["fields"][0]["accepted"],
            "suggestion": None,
        }
    ]
    assert metric(address, "nbship_rejected_values_total", field="power", reason="type") == before + 1
    assert metric(address, "nbship_requests_total", protocol="v1", status="422") >= 1


def test_unknown_fields_do_not_make_new_metrics(address: str) -> None:
    for number in range(5):
        assert predict(address, {"instances": [CAR | {f"field{number}": 1}]}).status_code == 422
    assert "field3" not in requests.get(f"{address}/metrics", timeout=30).text


def test_limits(address: str) -> None:
    assert predict(address, {"instances": [[3000, 99.5, "usa"]] * 1001}).status_code == 413
    large = predict(address, {"instances": [CAR], "padding": "x" * 200_000})
    assert (large.status_code, large.json()["error"][:28]) == (413, "the body is larger than 200,")

    def chunks() -> Iterator[bytes]:
        yield from [b"x" * 50_000] * 5

    path = f"{address}/v1/models/cars:predict"
    headers = {"content-type": "application/json"}
    assert requests.post(path, data=chunks(), headers=headers, timeout=30).status_code == 413


def test_who_sends_too_much_is_told_how_to_go_on(address: str) -> None:
    far_too_large = predict(address, {"instances": [CAR], "padding": "x" * 60_000_000})
    assert far_too_large.status_code == 413
    assert far_too_large.json()["error"] == (
        "the body is larger than 200,000 bytes: send several requests, "
        "or start the server with a larger --max-bytes"
    )
    too_many = predict(address, {"instances": [[3000, 99.5, "usa"]] * 1001})
    assert too_many.json()["error"].endswith("or start the server with a larger --max-records")
    with requests.Session() as session:  # one that waits to be asked for its body
        headers = {"content-type": "application/json", "expect": "100-continue", "content-length": "300000"}
        request = requests.Request("POST", f"{address}/v1/models/cars:predict", headers=headers).prepare()
        request.headers["content-length"] = "300000"
        assert session.send(request, timeout=30).status_code == 413


@pytest.mark.parametrize("size", [100, 32_700, 32_800, 40_000, 65_000, 150_000])
def test_a_body_of_any_size_is_answered(address: str, size: int) -> None:
    body = json.dumps({"instances": [CAR]}).encode().ljust(size)
    path = f"{address}/v1/models/cars:predict"
    for data in (body, iter([body[:50], body[50:]])):
        answer = requests.post(path, data=data, headers={"content-type": "application/json"}, timeout=30)
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/cars:predict", 405),
        ("DELETE", "/v2/models/cars/infer", 405),
        ("POST", "/v1/models/vans:predict", 404),
        ("GET", "/v2/models/vans", 404),
        ("POST", "/v1/models/cars:explain", 501),
        ("POST", "/v2/models/cars/versions/1/infer", 501),
        ("POST", "/v2/repository/models/cars/unload", 501),
        ("GET", "/nothing", 404),
    ],
)
def test_wrong_addresses(address: str, method: str, path: str, status: int) -> None:
    assert requests.request(method, address + path, json={}, timeout=30).status_code == status


def test_the_wrong_content_type(address: str) -> None:
    path = f"{address}/v1/models/cars:predict"
    body = json.dumps({"instances": [CAR]})
    for kind, status in (("text/csv", 415), ("application/json; charset=utf-8", 200), ("", 415)):
        answer = requests.post(path, data=body, headers={"content-type": kind}, timeout=30)
        assert answer.status_code == status
    strange = {"content-type": "application/json", "ce-id": "1", "ce-type": "x", "content-encoding": "zip"}
    assert requests.post(path, data=body, headers=strange, timeout=30).status_code == 200


def test_a_browser_on_the_allowed_host_may_call(address: str) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    path = f"{address}/v1/models/cars:predict"
    for origin, allowed in (("https://cars.example.org", True), ("https://evil.example.org", False)):
        answer = requests.options(path, headers=asked | {"origin": origin}, timeout=30)
        assert ("access-control-allow-origin" in answer.headers) is allowed


def test_a_client_that_goes_away_harms_nobody(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    head = b"POST /v1/models/cars:predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for rest in (b"Content-Length: 1000\r\n\r\n{", b"Content-Length: x\r\n\r\n", b"\0\xff\r\n\r\n", b""):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head + rest)
    assert predict(address, {"instances": [CAR]}).ok


@pytest.mark.parametrize("name", ["address", "buyers"])
def test_the_document_holds_for_whatever_is_sent(name: str, request: pytest.FixtureRequest) -> None:
    address = request.getfixturevalue(name)
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    names = ["not_a_server_error", "status_code_conformance", "content_type_conformance"]
    checks = CHECKS.get_by_names([*names, "response_schema_conformance"])
    for operation in schema.get_all_operations():

        @given(case=operation.ok().as_strategy())
        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def send(case: Any) -> None:
            case.call_and_validate(base_url=address, checks=checks, timeout=30)

        send()


def load(address: str, token: str = TOKEN) -> requests.Response:
    headers = {"authorization": f"Bearer {token}"}
    return requests.post(f"{address}/v2/repository/models/cars/load", headers=headers, timeout=60)


def replace(folder: Path, other: Path) -> None:
    """Puts another package in the place of one, as a publish does."""
    for name in (DESCRIPTION, MODEL):
        (folder / f".{name}").write_bytes((other / name).read_bytes())
        (folder / f".{name}").replace(folder / name)


def test_loading_again_needs_the_token(address: str, buyers: str) -> None:
    assert load(address, "wrong").status_code == 401
    assert load(address, "").status_code == 401
    assert load(address, "\N{SNOWMAN}".encode().decode("latin-1")).status_code == 401
    assert load(buyers).status_code == 403, "there is none"
    assert load(address).json()["load"] is True


def test_a_damaged_package_leaves_the_old_model_in_place(tmp_path: Path) -> None:
    make_package(tmp_path / "cars", regression())
    with served(tmp_path / "cars", NBSHIP_SERVER_TOKEN=TOKEN) as address:
        before = predict(address, {"instances": [CAR]}).json()
        (tmp_path / "cars" / MODEL).write_bytes(b"")
        failed = load(address)
        assert failed.status_code == 503
        assert failed.json()["error"].startswith("not loaded, the old model stays: ")
        assert predict(address, {"instances": [CAR]}).json() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_new_model_is_loaded_without_losing_a_request(tmp_path: Path, workers: int) -> None:
    old, new = tmp_path / "cars", tmp_path / "new"
    make_package(old, regression())
    make_package(new, regression(), cars=make_cars().assign(mpg=lambda cars: cars["mpg"] * 3))
    answers: list[tuple[int, float]] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():  # each on a new connection, so that every process is asked
            answer = predict(address, {"instances": [CAR]}, headers={"connection": "close"})
            answers.append((answer.status_code, answer.json()["predictions"][0]))
            time.sleep(0.02)

    with served(old, "--workers", str(workers), NBSHIP_SERVER_TOKEN=TOKEN) as address:
        expected = predict(address, {"instances": [CAR]}).json()["predictions"][0]
        askers = [threading.Thread(target=ask) for _ in range(4)]
        for asker in askers:
            asker.start()
        time.sleep(0.3)
        replace(old, new)
        assert load(address).status_code == 200
        # By then each asker has begun anew, however busy the machine is.
        count = len(answers) + 2 * len(askers)
        while len(answers) < count + 20 and any(asker.is_alive() for asker in askers):
            time.sleep(0.05)
        done.set()
        for asker in askers:
            asker.join()
        assert metric(address, "nbship_records_total", model="cars") >= len(answers)
    assert {status for status, _ in answers} == {200}
    assert answers[0][1] == expected
    later = [value for _, value in answers[count:]]
    assert later
    assert later == pytest.approx([3 * expected] * len(later), rel=0.05), "every process has the new model"


def test_memory_does_not_grow_under_load(folder: Path) -> None:
    with served(folder) as address, requests.Session() as session:
        path = f"{address}/v1/models/cars:predict"

        def ask(times: int) -> None:
            for number in range(times):
                strange = {"weight": 9000} if number % 10 == 0 else {}
                wrong = {f"field{number}": number} if number % 10 == 1 else {}
                session.post(path, json={"instances": [CAR | strange | wrong]}, timeout=30)

        def resident() -> float:
            return metric(address, "process_resident_memory_bytes") / 2**20

        ask(300)
        before = resident()
        ask(2000)
        assert resident() - before < 8, "MiB"


def test_refused_requests_leave_nothing_in_memory(folder: Path) -> None:
    with served(folder) as address, requests.Session() as session:

        def send(body: bytes) -> requests.Response:
            path, headers = f"{address}/v1/models/cars:predict", {"content-type": "application/json"}
            return session.post(path, data=body, headers=headers, timeout=60)

        def resident() -> float:
            return metric(address, "process_resident_memory_bytes") / 2**20

        unknown = json.dumps({"instances": [CAR | {"colour": "red"}] * 15_000}).encode()
        assert len(unknown) > 10**6
        assert {send(unknown).status_code for _ in range(3)} == {422}
        before = resident()
        assert {send(unknown).status_code for _ in range(25)} == {422}
        assert resident() - before < 15, "MiB"
        of_nothing = send(b'{"instances": [' + b"{}," * 5_000_000 + b"{}]}")
        assert of_nothing.status_code == 413
        assert "MiB once it is read" in of_nothing.json()["error"]
        assert resident() - before < 40, "MiB"


@pytest.fixture(scope="module")
def impatient(folder: Path) -> Iterator[tuple[str, int]]:
    with served(folder, "--patience", "1") as address:
        host, port = address.removeprefix("http://").split(":")
        yield host, int(port)


HEAD = b"POST /v1/models/cars:predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
RIGHT = json.dumps({"instances": [CAR]}).encode()


def answer_on(connection: socket.socket) -> tuple[int, bytes]:
    """Reads an answer: its status and its body."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, answer.read()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_never_ends_is_refused(impatient: tuple[str, int], chunked: bool) -> None:
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 1000"
    with socket.create_connection(impatient, timeout=30) as connection:
        connection.sendall(HEAD + length + b"\r\n\r\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while not select.select([connection], [], [], 0.2)[0]:
                connection.sendall(b"1\r\n{\r\n" if chunked else b"{")
        assert answer_on(connection) == (408, b'{"error":"the request did not arrive within 1 s"}')


def test_a_slow_client_of_a_large_body_is_not_cut_off(impatient: tuple[str, int]) -> None:
    body = RIGHT.ljust(20_000)
    with socket.create_connection(impatient, timeout=30) as connection:
        connection.sendall(HEAD + b"Content-Length: 20000\r\n\r\n")
        for start in range(0, len(body), 2_000):
            connection.sendall(body[start : start + 2_000])
            time.sleep(0.25)  # longer than the server's patience in all
        assert answer_on(connection)[0] == 200


@pytest.mark.parametrize("begun", [b"", HEAD, b"\r\n"], ids=["nothing", "headers", "empty lines"])
@pytest.mark.parametrize("asked", [False, True], ids=["at first", "after an answer"])
def test_a_connection_without_a_request_is_closed(
    impatient: tuple[str, int], begun: bytes, asked: bool
) -> None:
    with socket.create_connection(impatient, timeout=30) as connection:
        if asked:
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(RIGHT) + RIGHT)
            assert answer_on(connection)[0] == 200
        connection.sendall(begun)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while not select.select([connection], [], [], 0.2)[0]:
                connection.sendall(b"\r\n" if begun == b"\r\n" else b"X-Slow: 1\r\n" if begun else b"")
        assert connection.recv(4096) == b""


def test_a_worker_that_takes_long_to_start_is_waited_for(folder: Path, tmp_path: Path) -> None:
    slow = "import sys, time\nif '--multiprocessing-fork' in sys.argv: time.sleep(6)\n"
    (tmp_path / "sitecustomize.py").write_text(slow, encoding="utf-8")
    with served(folder, "--workers", "2", PYTHONPATH=str(tmp_path)) as address:
        assert predict(address, {"instances": [CAR]}).ok


def test_workers_that_cannot_start_are_told(folder: Path, tmp_path: Path) -> None:
    """One that is killed each time, as by a container's memory limit."""
    killed = "import os, sys\nif '--multiprocessing-fork' in sys.argv: os.kill(os.getpid(), 9)\n"
    (tmp_path / "sitecustomize.py").write_text(killed, encoding="utf-8")
    done = run_server(folder, "--workers", "2", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "was killed: for its memory" in done.stdout + done.stderr
    assert "error: worker processes cannot start: the last one was killed" in done.stderr


def test_a_model_that_workers_cannot_load_is_told(folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "cars"
    damaged.mkdir()
    (damaged / DESCRIPTION).write_bytes((folder / DESCRIPTION).read_bytes())
    (damaged / MODEL).write_bytes(b"")
    done = run_server(damaged, "--workers", "2")
    assert done.returncode == 1
    assert MODEL in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout


def run_server(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a server that ends by itself."""
    command = [sys.executable, "-m", "nbship.serving.server", "--model_name", "cars", "--model_dir"]
    place = [str(folder), "--host", "127.0.0.1", "--http_port", str(server.free_port("127.0.0.1"))]
    environ = os.environ | environment
    return subprocess.run(
        [*command, *place, *arguments], capture_output=True, text=True, env=environ, check=False, timeout=120
    )


def test_a_taken_port_is_told(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "nbship.serving.server", "--model_name", "cars", "--model_dir"]
        arguments = [str(folder), "--host", "127.0.0.1", "--http_port", port]
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, env=os.environ, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot listen on 127.0.0.1:{port}: ")
    assert "Traceback" not in done.stderr


def test_requests_are_answered_by_one_thread_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod of half a CPU sees all CPUs of its machine, and libraries would start a thread for each."""
    monkeypatch.setattr(threads, "_affinity", lambda: 64.0)
    monkeypatch.setenv("OMP_NUM_THREADS", "")  # put back afterwards
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "3")
    seen: list[str] = []

    def stop(_: model.PackagedModel) -> None:
        seen.extend(os.environ[name] for name in ("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"))
        raise NbshipError("seen")

    monkeypatch.setattr(model.PackagedModel, "load", stop)
    with pytest.raises(NbshipError, match="seen"):
        server.serve(
            ServerSettings("cars", tmp_path), "127.0.0.1", server.free_port("127.0.0.1"), 1, lambda: None
        )
    assert seen == ["1", "3"]
