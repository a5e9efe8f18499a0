"""The Open Inference protocol over gRPC: by KServe's own client, and by hand for what that would not send."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient
from kserve.protocol.grpc import grpc_predict_v2_pb2 as published
from prometheus_client.parser import text_string_to_metric_families

from nbship.serving import server, tensors
from nbship.serving.content import DATATYPES
from nbship.serving.errors import RequestError
from nbship.serving.grpc_service import SERVICE
from tests.package.packages import classification, make_package, served

CAR = {"weight": 3000, "power": 99.5, "origin": "usa"}
KINDS = {"weight": ("INT64", np.int64), "power": ("FP64", np.float64), "origin": ("BYTES", np.object_)}
TOKEN = "let-me-load"  # noqa: S105


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grpc") / "cars"
    make_package(folder, classification(), "sells")
    return folder


@pytest.fixture(scope="module", params=["1", "2"], ids=["one process", "two workers"])
def addresses(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[str, str]]:
    port = server.free_port("127.0.0.1")
    limits = ("--max_bytes", "200000", "--max_records", "1000", "--workers", request.param)
    with served(folder, "--grpc_port", str(port), *limits, NBSHIP_SERVER_TOKEN=TOKEN) as address:
        yield address, f"127.0.0.1:{port}"


def by_client(address: str, call: Callable[[InferenceGRPCClient], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with InferenceGRPCClient(address, timeout=30) as client:
            return await call(client)

    return asyncio.run(run())


def call(address: str, method: str, request: Any, answer: Any, **options: Any) -> Any:
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=lambda r: r if isinstance(r, bytes) else r.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return ask(request, timeout=30, **options)


def refused(address: str, request: Any, method: str = "ModelInfer", **options: Any) -> tuple[Any, str]:
    with pytest.raises(grpc.RpcError) as error:
        call(address, method, request, published.ModelInferResponse, **options)
    return error.value.code(), error.value.details()  # type: ignore[attr-defined]


def tensors_of(record: dict[str, Any], binary: bool) -> list[InferInput]:
    found = []
    for name, value in record.items():
        datatype, kind = KINDS[name]
        tensor = InferInput(name, [1], datatype)
        tensor.set_data_from_numpy(np.array([value], dtype=kind), binary_data=binary)
        found.append(tensor)
    return found


def request_of(record: dict[str, Any], binary: bool = False, **more: Any) -> InferRequest:
    return InferRequest(model_name="cars", infer_inputs=tensors_of(record, binary), **more)


def test_the_protocol_is_the_published_one() -> None:
    """In a process of its own, for the two would share what they register."""
    code = "import sys; from nbship.serving import grpc_predict_v2_pb2 as made; "
    code += "sys.stdout.buffer.write(made.DESCRIPTOR.serialized_pb)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == published.DESCRIPTOR.serialized_pb


def test_health_and_metadata(addresses: tuple[str, str]) -> None:
    _, address = addresses
    assert by_client(address, lambda client: client.is_server_live()) is True
    assert by_client(address, lambda client: client.is_server_ready()) is True
    assert by_client(address, lambda client: client.is_model_ready("cars")) is True
    with pytest.raises(grpc.RpcError) as error:
        by_client(address, lambda client: client.is_model_ready("vans"))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]
    request = published.ModelMetadataRequest(name="cars")
    found = call(address, "ModelMetadata", request, published.ModelMetadataResponse)
    assert [(each.name, each.datatype) for each in found.inputs] == [(n, k[0]) for n, k in KINDS.items()]
    server_request = published.ServerMetadataRequest()
    assert call(address, "ServerMetadata", server_request, published.ServerMetadataResponse).name == "nbship"


@pytest.mark.parametrize("binary", [False, True])
def test_the_same_answer_as_over_http(addresses: tuple[str, str], binary: bool) -> None:
    http, address = addresses
    expected = requests.post(f"{http}/v1/models/cars:predict", json={"instances": [CAR]}, timeout=30).json()
    request = request_of(CAR, binary, request_id="one")
    answer = by_client(address, lambda client: client.infer(request))
    outputs = {output.name: output.as_numpy().tolist() for output in answer.outputs}
    assert (answer.model_name, answer.id) == ("cars", "one")
    assert outputs["predict"] in (expected["predictions"], [expected["predictions"][0].encode()])
    assert outputs["predict_proba"] == [list(expected["probabilities"][0].values())]


def test_what_is_flagged_is_told_beside_the_answer(addresses: tuple[str, str]) -> None:
    request = request_of(CAR | {"origin": "mars"}).to_grpc()
    with grpc.insecure_channel(addresses[1]) as channel:
        ask = channel.unary_unary(f"/{SERVICE}/ModelInfer", lambda r: r.SerializeToString())
        _, done = ask.with_call(request, timeout=30)
    (warnings,) = [value for key, value in done.trailing_metadata() if key == "nbship-warnings"]
    assert '"field": "origin"' in warnings


def test_codes_of_refusals(addresses: tuple[str, str]) -> None:
    http, address = addresses
    code, details = refused(address, request_of(CAR | {"power": np.nan}).to_grpc())
    assert (code, details[:17]) == (grpc.StatusCode.INVALID_ARGUMENT, "record 0, power: ")
    assert "is not a finite number" in details
    vans = InferRequest(model_name="vans", infer_inputs=tensors_of(CAR, False)).to_grpc()
    assert refused(address, vans)[0] is grpc.StatusCode.NOT_FOUND
    version = request_of(CAR).to_grpc()
    version.model_version = "v9"
    assert refused(address, version)[0] is grpc.StatusCode.NOT_FOUND
    assert refused(address, b"\xff\xff")[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert refused(address, b"\x0a\x01x" + b"\x2a\x00" * 60_000)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused(address, request_of({"origin": "x" * 300_000}).to_grpc())[0] is (
        grpc.StatusCode.RESOURCE_EXHAUSTED
    )
    many = InferInput("power", [1001], "FP64")
    many.set_data_from_numpy(np.zeros(1001), binary_data=True)
    request = InferRequest(model_name="cars", infer_inputs=[many]).to_grpc()
    assert refused(address, request)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    unload = published.RepositoryModelUnloadRequest(model_name="cars")
    assert refused(address, unload, "RepositoryModelUnload")[0] is grpc.StatusCode.UNIMPLEMENTED
    text = requests.get(f"{http}/metrics", timeout=30).text
    samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
    counted = [s.labels for s in samples if s.labels.get("protocol") == "grpc" and s.labels.get("status")]
    assert {labels["status"] for labels in counted} >= {"400", "404", "413", "422"}


def test_loading_again_needs_the_token(addresses: tuple[str, str]) -> None:
    request = published.RepositoryModelLoadRequest(model_name="cars")
    assert refused(addresses[1], request, "RepositoryModelLoad")[0] is grpc.StatusCode.UNAUTHENTICATED
    metadata = (("authorization", f"Bearer {TOKEN}"),)
    loaded = call(
        addresses[1],
        "RepositoryModelLoad",
        request,
        published.RepositoryModelLoadResponse,
        metadata=metadata,
    )
    assert loaded.isLoaded


def test_a_request_without_a_message_is_refused_in_time(folder: Path) -> None:
    port = server.free_port("127.0.0.1")
    with (
        served(folder, "--grpc_port", str(port), "--patience", "1"),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        silent = channel.stream_unary(f"/{SERVICE}/ModelInfer")
        wait = iter(lambda: asyncio.run(asyncio.sleep(60)), 1)
        with pytest.raises(grpc.RpcError) as error:
            silent(wait, timeout=30)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]
        assert "did not arrive within 1 s" in error.value.details()  # type: ignore[attr-defined]


def test_a_taken_port_is_told(folder: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "nbship.serving.server", "--model_name", "cars", "--model_dir"]
        place = [str(folder), "--host", "127.0.0.1", "--http_port", str(server.free_port("127.0.0.1"))]
        done = subprocess.run(
            [*command, *place, "--grpc_port", str(port)], capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot listen on 127.0.0.1:{port}: ")
    assert "--grpc-port" in done.stderr


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_is_read_alike_from_both_contents(datatype: str) -> None:
    values = [True, False] if datatype == "BOOL" else ["a", "é"] if datatype == "BYTES" else [1, 2]
    made = [tensors.inference.ModelInferRequest() for _ in range(2)]
    for request in made:
        request.inputs.add(name="x", datatype=datatype, shape=[2])
    if datatype == "BYTES":
        texts = [text.encode() for text in values]
        made[0].raw_input_contents.append(b"".join(len(t).to_bytes(4, "little") + t for t in texts))
        made[1].inputs[0].contents.bytes_contents.extend(texts)
    else:
        made[0].raw_input_contents.append(np.array(values, tensors.numpy_name(datatype)).tobytes())
        if datatype != "FP16":
            field = tensors._field(datatype)
            getattr(made[1].inputs[0].contents, field).extend(values)
    for request in made[: 1 if datatype == "FP16" else 2]:
        read = tensors.read_request(request.SerializeToString())
        assert tensors.request_content(read)["inputs"][0]["data"] == values
        assert 2 <= tensors.values_in(read) <= 10
    if datatype == "FP16":
        with pytest.raises(RequestError, match="raw contents only"):
            tensors.request_content(made[1])


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(message: bytes) -> None:
    try:
        request = tensors.read_request(message)
        tensors.values_in(request)
        tensors.request_content(request)
    except RequestError as error:
        assert error.status in (400, 413)


@given(st.lists(st.tuples(st.sampled_from(DATATYPES), st.binary(max_size=20)), min_size=1, max_size=3))
def test_any_raw_contents_are_read_or_refused(parts: list[tuple[str, bytes]]) -> None:
    request = tensors.inference.ModelInferRequest()
    for datatype, raw in parts:
        request.inputs.add(name="x", datatype=datatype, shape=[2])
        request.raw_input_contents.append(raw)
    try:
        tensors.request_content(request)
    except RequestError as error:
        assert error.status == 400
