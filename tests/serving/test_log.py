"""A real server keeps what it is asked, by every protocol and worker, and loses little when it is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import requests

from nbship.monitoring.records import read_records
from nbship.serving import grpc_predict_v2_pb2 as inference
from nbship.serving.grpc_service import SERVICE
from nbship.serving.server import free_port
from tests.served import write_cars

CAR = {"weight": 3000, "hp": 100.0, "origin": 1}
SECONDS = 0.5


@dataclass(frozen=True)
class Server:
    """A server that keeps records, as it runs in a container."""

    process: subprocess.Popen[bytes]
    address: str
    grpc: str
    store: Path

    def ask(self, **headers: str) -> requests.Response:
        """Asks for one prediction in V1."""
        body = {"instances": [CAR]}
        return requests.post(f"{self.address}/v1/models/cars:predict", json=body, headers=headers, timeout=30)

    def records(self) -> list[str]:
        """What is kept, by identifier."""
        return read_records(str(self.store), "cars").inputs.index.tolist()


@contextlib.contextmanager
def server(package: Path, store: Path, *arguments: str, rules: str = "{}") -> Iterator[Server]:
    port, grpc_port = free_port("127.0.0.1"), free_port("127.0.0.1")
    command = [sys.executable, "-m", "nbship.workflow.incluster.server", "--model_name", "cars"]
    place = ["--model_dir", str(package), "--host", "127.0.0.1", "--http_port", str(port)]
    kept = {"NBSHIP_RECORDS_STORE": str(store), "NBSHIP_RECORDS_RULES": rules}
    process = subprocess.Popen(
        [*command, *place, "--grpc_port", str(grpc_port), *arguments], env={**os.environ, **kept}
    )
    found = Server(process, f"http://127.0.0.1:{port}", f"127.0.0.1:{grpc_port}", store)
    try:
        until(lambda: answers(f"{found.address}/v2/models/cars"))
        yield found
    finally:
        process.kill()
        process.wait()


def answers(address: str) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(address, timeout=10).ok
    return False


def until(true, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log") / "cars"
    write_cars(folder)
    return folder


def test_every_protocol_is_kept_by_every_worker_and_sigterm_loses_nothing(
    package: Path, tmp_path: Path
) -> None:
    with server(package, tmp_path, "--workers", "2", "--model_version", "v1.2.0", "--corrections") as running:
        told = [running.ask().headers["nbship-record"] for _ in range(40)]
        tensors = [{"name": n, "datatype": "FP64", "shape": [2], "data": [v, v]} for n, v in CAR.items()]
        v2 = requests.post(f"{running.address}/v2/models/cars/infer", json={"inputs": tensors}, timeout=30)
        told += [f"{v2.headers['nbship-record']}-{row}" for row in range(2)]
        told.append(by_grpc(running))
        refused = requests.post(
            f"{running.address}/v1/models/cars:predict", json={"instances": [{}]}, timeout=30
        )
        assert refused.status_code == 422 and "nbship-record" not in refused.headers
        checked = running.ask(**{"ce-id": "nbship-check-1"})
        assert checked.ok and "nbship-record" not in checked.headers
        by_grpc(running, (("ce-id", "nbship-check-2"),), kept=False)
        assert requests.get(f"{running.address}/v2/models/cars", timeout=30).json()["nbship"]["corrections"]
        for value in (20, 21.5):
            answer = correct(running, {"record": told[0], "value": value})
            assert answer.status_code == 200 and answer.json() == {"record": told[0], "value": value}
        for wrong in ({"record": told[0], "value": "fast"}, {"value": 1}, {"record": "../x", "value": 1}, {}):
            assert correct(running, wrong).status_code == 422
        assert correct(running, {"record": "x" * 3000, "value": 1}).status_code == 413
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(30)
    found = read_records(str(tmp_path), "cars")
    assert found.labels["value"].to_dict() == {told[0]: 21.5}
    assert sorted(found.inputs.index) == sorted(told)
    assert found.inputs.drop_duplicates().to_dict("records") == [CAR]
    assert set(found.answers["version"]) == {"v1.2.0"}
    assert found.answers["prediction"].between(10, 40).all()
    assert (found.answers["low"] < found.answers["high"]).all()
    assert list(found.answers) == ["time", "version", "prediction", "low", "high", "probabilities", "flags"]


def correct(running: Server, body: dict[str, object]) -> requests.Response:
    return requests.post(f"{running.address}/v1/models/cars:correct", json=body, timeout=30)


def by_grpc(running: Server, metadata: tuple[tuple[str, str], ...] = (), kept: bool = True) -> str:
    inputs = [
        inference.ModelInferRequest.InferInputTensor(
            name=name,
            datatype="FP64",
            shape=[1],
            contents=inference.InferTensorContents(fp64_contents=[value]),
        )
        for name, value in CAR.items()
    ]
    request = inference.ModelInferRequest(model_name="cars", inputs=inputs)
    with grpc.insecure_channel(running.grpc) as channel:
        infer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=inference.ModelInferRequest.SerializeToString,
            response_deserializer=inference.ModelInferResponse.FromString,
        )
        answer, call = infer.with_call(request, metadata=metadata, timeout=30)
    assert answer.outputs
    trailing = dict(call.trailing_metadata() or ())
    assert ("nbship-record" in trailing) is kept
    return str(trailing.get("nbship-record", ""))


def test_a_killed_server_loses_what_is_younger_than_the_seconds_between_files(
    package: Path, tmp_path: Path
) -> None:
    with server(package, tmp_path, rules=f'{{"seconds": {SECONDS}}}') as running:
        kept = {running.ask().headers["nbship-record"] for _ in range(5)}
        assert correct(running, {"record": next(iter(kept)), "value": 20}).status_code == 404  # they are off
        until(lambda: set(running.records()) == kept, seconds=20 * SECONDS)
        running.process.kill()
        running.process.wait()
    assert set(running.records()) == kept
    assert not [path for path in tmp_path.rglob("*.parquet") if path.stat().st_size == 0]


def test_a_server_says_what_it_cannot_keep(package: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "nbship.workflow.incluster.server",
        "--model_name",
        "cars",
        "--model_dir",
    ]
    kept = {"NBSHIP_RECORDS_STORE": str(tmp_path), "NBSHIP_RECORDS_RULES": '{"private": {"wait": "drop"}}'}
    ended = subprocess.run(
        [*command, str(package)], env={**os.environ, **kept}, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: monitor.private: the model has no column 'wait'")
