"""KServe's own Python client talks to the server: its contract is the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kserve import InferInput, InferRequest, InferResponse
from kserve.errors import UnsupportedProtocol
from kserve.inference_client import InferenceRESTClient, RESTConfig

from nbship.package import read_package
from tests.package.packages import classification, make_package, served

CAR = {"weight": 3000, "power": 99.5, "origin": "usa"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client") / "cars"
    make_package(folder, classification(), "sells")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder) as address:
        yield address


def ask(protocol: str, method: str, *arguments: Any, **more: Any) -> Any:
    async def call() -> Any:
        client = InferenceRESTClient(RESTConfig(protocol=protocol, timeout=30))
        try:
            return await getattr(client, method)(*arguments, **more)
        finally:
            await client.close()

    return asyncio.run(call())


def tensors_of(record: dict[str, Any]) -> list[InferInput]:
    kinds = {"weight": ("INT64", np.int64), "power": ("FP64", np.float64), "origin": ("BYTES", np.object_)}
    found = []
    for name, (datatype, kind) in kinds.items():
        tensor = InferInput(name, [1], datatype)
        tensor.set_data_from_numpy(np.array([record[name]], dtype=kind), binary_data=False)
        found.append(tensor)
    return found


def test_health(address: str) -> None:
    assert ask("v1", "is_server_live", address) is True
    assert ask("v2", "is_server_live", address) is True
    assert ask("v2", "is_server_ready", address) is True
    assert ask("v1", "is_model_ready", address, "cars") is True
    assert ask("v2", "is_model_ready", address, "cars") is True
    assert ask("v2", "is_model_ready", address, "vans") is False
    with pytest.raises(UnsupportedProtocol):
        ask("v1", "is_server_ready", address)


def test_v1(address: str, folder: Path) -> None:
    golden = [each for each in read_package(folder).golden if None not in each.record.values()]
    body = {"instances": [each.record for each in golden]}
    answer = ask("v1", "infer", address, body, model_name="cars")
    assert answer["predictions"] == [each.prediction for each in golden]


def test_v2(address: str) -> None:
    request = InferRequest(model_name="cars", infer_inputs=tensors_of(CAR), request_id="one")
    answer = ask("v2", "infer", address, request, model_name="cars")
    assert isinstance(answer, InferResponse)
    assert (answer.model_name, answer.id) == ("cars", "one")
    outputs = {output.name: output for output in answer.outputs}
    assert outputs["predict"].data[0] in ("yes", "no")
    assert sum(outputs["predict_proba"].data) == pytest.approx(1)
