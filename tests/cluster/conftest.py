"""A real API server for the tests that ask for one: one for each module, which stops with it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest

from tests.cluster import definitions
from tests.cluster.apiserver import Api, MissingError, find_server, running

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# What stands in a cluster that has KServe, Knative and Kubeflow, besides the definitions.
THERE = ("kserve", "knative-serving", "kubeflow", "flux-system")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API server that knows KServe and the others."""
    try:
        find_server()
    except MissingError as error:
        pytest.skip(str(error))
    with running(tmp_path_factory.mktemp("apiserver")) as api:
        for wanted in [*definitions.kserve(), *definitions.others()]:
            api.must("POST", f"{DEFINITIONS}?fieldValidation=Strict", wanted)
        for name in THERE:
            api.namespace(name)
        _wait_for_definitions(api)
        yield api


@pytest.fixture
def kubectl() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")


def _wait_for_definitions(api: Api) -> None:
    deadline = time.monotonic() + 60
    wanted = {each["metadata"]["name"] for each in [*definitions.kserve(), *definitions.others()]}
    while time.monotonic() < deadline:
        found = api.must("GET", DEFINITIONS)["items"]
        ready = {
            each["metadata"]["name"]
            for each in found
            for condition in (each.get("status") or {}).get("conditions") or ()
            if condition["type"] == "Established" and condition["status"] == "True"
        }
        if wanted <= ready:
            return
        time.sleep(0.1)
    raise RuntimeError("the definitions are not established")
