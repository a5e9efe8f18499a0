"""The application without a network: what goes on while the pipeline is loaded, and what goes wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from nbship.errors import NbshipError
from nbship.package import PackagedPipeline
from nbship.serving.bodies import Bodies
from nbship.serving.model import PackagedModel
from nbship.serving.routes import application
from nbship.serving.settings import ServerSettings
from tests.package.packages import make_package, regression

UNSEEN = {"instances": [{"weight": 3000, "power": 99.5, "origin": "mars"}]}
PREDICT = "/v1/models/cars:predict"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("routes") / "cars"
    make_package(folder, regression())
    return folder


@pytest.fixture
def model(folder: Path) -> PackagedModel:
    model = PackagedModel(ServerSettings("cars", folder))
    model.load()
    return model


def ask(model: PackagedModel, work: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        app = application(model, Bodies(model.settings))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await work(client)

    return asyncio.run(run())


def test_others_are_answered_while_the_pipeline_is_loaded(
    model: PackagedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end, load = threading.Event(), threading.Event(), PackagedPipeline.estimator

    def slowly(pipeline: PackagedPipeline) -> Any:
        begun.set()
        assert may_end.wait(30)
        return load(pipeline)

    async def work(client: httpx.AsyncClient) -> None:
        first = asyncio.create_task(client.post(PREDICT, json=UNSEEN))
        assert await asyncio.to_thread(begun.wait, 30)
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}
        usual = {"instances": [model.predictor.package.golden[0].record]}
        assert (await client.post(PREDICT, json=usual)).status_code == 200
        assert not first.done()
        may_end.set()
        assert (await first).status_code == 200

    monkeypatch.setattr(PackagedPipeline, "estimator", slowly)
    ask(model, work)


def test_a_pipeline_that_cannot_be_loaded_is_told_in_the_log(
    model: PackagedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: PackagedPipeline) -> Any:
        raise NbshipError("the model cannot be loaded outside its notebook", "define it in a module")

    monkeypatch.setattr(PackagedPipeline, "estimator", fail)
    answer = ask(model, lambda client: client.post(PREDICT, json=UNSEEN))
    assert (answer.status_code, answer.json()) == (500, {"error": "the server failed; its log says how"})
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("nbship")]
    assert ours == ["the model cannot be loaded outside its notebook; define it in a module"]


def test_what_goes_wrong_elsewhere_is_no_secret_and_no_page(
    model: PackagedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Any:
        raise ValueError("a secret")

    monkeypatch.setattr(model, "summary", fail)
    answer = ask(model, lambda client: client.get("/models.json"))
    assert (answer.status_code, answer.json()) == (500, {"error": "the server failed; its log says how"})
    nothing = ask(model, lambda client: client.get("/nothing"))
    assert (nothing.status_code, nothing.json()) == (404, {"error": "Not Found"})


def test_only_a_browser_gets_the_page(model: PackagedModel) -> None:
    html = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = ask(model, lambda client: client.get("/", headers=html))
    assert page.headers["content-type"].startswith("text/html")
    status = ask(model, lambda client: client.get("/"))
    assert (status.json(), status.headers["vary"]) == ({"status": "alive"}, "Accept")
