"""Alerts as they really fire: Prometheus scrapes model servers under load, the Alertmanager hears of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests
from demos.watching import Watching, eventually, watching

from nbship.monitoring.prometheus import worse_than_others
from tests.prometheus import needs_prometheus
from tests.served import serving, write_cars, write_churn

pytestmark = needs_prometheus
# Hours are seconds: what is said of an hour is said of 12 s, of a quarter of one of 3.
FACTOR = 300
USUAL = {"weight": 3000, "hp": 100.0, "origin": 1}
MISWRITTEN = {"tenure": "three", "contract": "one year", "paperless": True}
HEAVY = {**USUAL, "weight": 20_000}


class Clients:
    """Who asks the two versions that serve; the newer one takes other columns than clients send."""

    def __init__(self, ports: tuple[int, int]) -> None:
        self.stable, self.canary = (f"http://127.0.0.1:{port}/v1/models/cars:predict" for port in ports)

    def ask(self) -> None:
        for _ in range(5):
            assert requests.post(self.stable, json={"instances": [USUAL]}, timeout=10).ok

    def ask_for_heavy_cars(self) -> None:
        self.ask()
        assert requests.post(self.stable, json={"instances": [HEAVY] * 5}, timeout=10).ok

    def meet_the_canary(self) -> None:
        self.ask()
        for car in [USUAL, MISWRITTEN] * 3:
            assert requests.post(self.canary, json={"instances": [car]}, timeout=10).status_code == 422


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The ports of two versions of one model."""
    folder = tmp_path_factory.mktemp("models")
    write_cars(folder / "stable" / "cars")
    write_churn(folder / "canary" / "cars")
    with serving(folder / "stable" / "cars") as stable, serving(folder / "canary" / "cars") as canary:
        yield stable["cars"], canary["cars"]


@pytest.fixture(scope="module")
def watch(servers: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watching]:
    targets = [
        (f"127.0.0.1:{port}", {"namespace": "production", "version": version})
        for port, version in zip(servers, ("v1.0.0", "v1.1.0"), strict=True)
    ]
    with watching(tmp_path_factory.mktemp("prometheus"), targets, FACTOR) as watch:
        yield watch


def test_records_unlike_those_in_training_alert_until_they_end(
    servers: tuple[int, int], watch: Watching
) -> None:
    clients = Clients(servers)
    eventually(lambda: watch.value("nbship:requests:rate5m{model='cars'} > 0"), "it scrapes", clients.ask)
    assert not watch.alerts()
    (alert,) = eventually(lambda: watch.firing("NbshipFlagged"), "it fires", clients.ask_for_heavy_cars)
    assert (
        alert.items()
        >= {"model": "cars", "namespace": "production", "field": "weight", "reason": "range"}.items()
    )
    eventually(lambda: not watch.firing("NbshipFlagged"), "it ends", clients.ask)


def test_a_canary_that_refuses_clients_alerts_and_names_the_field(
    servers: tuple[int, int], watch: Watching
) -> None:
    clients = Clients(servers)
    (worse,) = eventually(
        lambda: watch.firing("NbshipCanaryWorse", measure="refused"),
        "it fires",
        clients.meet_the_canary,
    )
    assert worse["version"] == "v1.1.0"
    fields = eventually(
        lambda: {each["field"] for each in watch.firing("NbshipRefusedValues")},
        "it fires",
        clients.meet_the_canary,
    )
    assert fields == {"tenure"}
    said = worse_than_others(watch.prometheus, "production", "cars", "v1.1.0", 20)
    assert re.match(r"v1\.1\.0 refuses (9\d\.\d|100\.0)% of .* the version beside it 0\.0%$", said)
    assert not worse_than_others(watch.prometheus, "production", "cars", "v1.0.0", 20)
    assert not worse_than_others(watch.prometheus, "staging", "cars", "v1.1.0", 20)
