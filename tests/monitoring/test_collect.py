"""The collector keeps each request with its answer, once, whatever else is sent."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbship.monitoring import collecting, log
from nbship.monitoring.answered import AnsweredRows, one_row, to_table
from nbship.monitoring.collect import application
from nbship.monitoring.collecting import CollectedModel, Collector, address
from nbship.monitoring.events import REQUEST, RESPONSE, EventError, read_event
from nbship.monitoring.keeping import Keeping
from nbship.monitoring.records import read_records
from nbship.serving.model import PackagedModel
from nbship.serving.server import free_port
from nbship.serving.settings import ServerSettings
from nbship.workflow.collect import read_pair
from tests.served import write_churn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of httpx, which Starlette takes less gladly than httpx2
    from starlette.testclient import TestClient

CUSTOMER = {"tenure": 3, "contract": "one year", "paperless": True}
STRANGE = {"tenure": 300, "contract": "two years", "paperless": False}
VERSION = CollectedModel("churn", "v1.0.0")
# As KServe's agent sends them: pkg/logger/worker.go and the CloudEvents SDK for Go in binary mode.
HEADERS = {
    "ce-specversion": "1.0",
    "ce-source": "churn-v1-0-0-predictor-7d9f",
    "ce-time": "2026-11-21T12:00:00.123456789Z",
    "ce-inferenceservicename": "churn",
    "ce-namespace": "production",
    "ce-component": "predictor",
    "ce-endpoint": "",
    "ce-metadata": "{}",
    "content-type": "application/json",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_churn(folder / "churn/v1.0.0")
    return folder


@pytest.fixture(scope="module")
def model(store):
    served = PackagedModel(ServerSettings("churn", store / "churn/v1.0.0", "v1.0.0"))
    served.load()
    return served


class Counts(dict):
    """What became of events."""

    def __call__(self, name, outcome, count):
        self[outcome] = self.get(outcome, 0) + count


class Running:
    """A collector behind its addresses, with what it counted."""

    def __init__(self, folder, models, seconds=3600.0):
        self.counts, self.folder = Counts(), folder
        self.collector = Collector(str(folder), str(models), read_pair, self.counts, seconds)
        self.client = TestClient(application(self.collector))

    def __enter__(self):
        self.client.__enter__()
        self.runs = True
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        if self.runs:
            self.client.__exit__(None, None, None)
        self.runs = False

    def post(self, kind, name, body, model=VERSION, **headers):
        given = {**HEADERS, "ce-type": kind, "ce-id": name, **headers}
        return self.client.post(address("", model), content=body, headers=given)

    def pair(self, name, asked, answer, **more):
        assert self.post(REQUEST, name, asked, **more).status_code == 200
        assert self.post(RESPONSE, name, answer, **more).status_code == 200


@pytest.fixture
def running(tmp_path, store):
    with Running(tmp_path, store) as found:
        yield found


def v1(model, *records):
    asked = json.dumps({"instances": list(records)}).encode()
    return asked, model.predict_v1(asked).body


def test_a_request_and_its_answer_are_a_record_in_either_order(running, model, tmp_path):
    running.pair("one", *v1(model, CUSTOMER))
    asked, answer = v1(model, CUSTOMER, STRANGE)
    assert running.post(RESPONSE, "two", answer).status_code == 200
    assert running.post(REQUEST, "two", asked).status_code == 200
    running.end()
    found = read_records(str(tmp_path), "churn")
    assert found.inputs.index.tolist() == ["one", "two-0", "two-1"]
    assert found.inputs.to_dict("records") == [CUSTOMER, CUSTOMER, STRANGE]
    assert [list(flags) for flags in found.answers["flags"]] == [[], [], ["tenure: range"]]
    assert set(found.answers["version"]) == {"v1.0.0"}
    assert found.answers["time"].iloc[0].isoformat() == "2026-11-21T12:00:00.123456+00:00"
    said = json.loads(answer)
    assert found.answers["prediction"].tolist()[1:] == said["predictions"]
    assert list(found.answers["probabilities"].iloc[2]) == list(said["probabilities"][1].values())
    assert running.counts == {"kept": 2}


def test_what_a_server_says_in_either_protocol_is_read_alike(running, model, tmp_path):
    rows = [list(CUSTOMER.values())]
    running.pair("rows", *v1(model, *rows))
    kinds = {"tenure": "INT64", "contract": "BYTES", "paperless": "BOOL"}
    tensors = [
        {"name": n, "shape": [2], "datatype": kinds[n], "data": [CUSTOMER[n], STRANGE[n]]} for n in CUSTOMER
    ]
    asked = json.dumps({"inputs": tensors}).encode()
    running.pair("tensors", asked, model.predict_v2(asked).body)
    running.end()
    found = read_records(str(tmp_path), "churn")
    assert found.inputs.loc["tensors-1"].to_dict() == STRANGE
    assert found.inputs.loc["rows"].to_dict() == CUSTOMER
    assert found.answers["prediction"].loc["rows"] == found.answers["prediction"].loc["tensors-0"]
    said = json.loads(v1(model, CUSTOMER)[1])["probabilities"][0]
    assert list(found.answers["probabilities"].loc["tensors-0"]) == pytest.approx(
        list(said.values()), abs=1e-6
    )


@pytest.mark.parametrize("form", ["data", "data_base64"])
def test_structured_mode_is_read_too(running, model, tmp_path, form):
    for kind, body in zip((REQUEST, RESPONSE), v1(model, CUSTOMER), strict=True):
        data = json.loads(body) if form == "data" else base64.b64encode(body).decode()
        event = {"specversion": "1.0", "id": "x", "source": "pod", "type": kind, form: data}
        headers = {"content-type": "application/cloudevents+json; charset=utf-8"}
        answer = running.client.post(address("", VERSION), content=json.dumps(event), headers=headers)
        assert answer.status_code == 200
    running.end()
    assert read_records(str(tmp_path), "churn").inputs.index.tolist() == ["x"]


def test_an_event_that_came_before_changes_nothing_even_before_a_restart(tmp_path, store, model):
    now = {"ce-time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    for again in range(3):
        with Running(tmp_path, store) as running:
            for _ in range(2):
                for kind, body in zip((REQUEST, RESPONSE), v1(model, CUSTOMER), strict=True):
                    assert running.post(kind, "one", body, **now).status_code == 200
        assert running.counts.get("kept", 0) == (1 if again == 0 else 0)
        assert running.counts["known"] == (2 if again == 0 else 4)
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


def test_a_half_that_waits_at_the_end_is_paired_after_a_restart(tmp_path, store, model):
    asked, answer = v1(model, CUSTOMER)
    with Running(tmp_path, store) as running:
        running.post(REQUEST, "one", asked)
    assert (tmp_path / "halves.json").exists()
    with Running(tmp_path, store) as running:
        running.post(RESPONSE, "one", answer)
    assert read_records(str(tmp_path), "churn").inputs.index.tolist() == ["one"]
    assert not (tmp_path / "halves.json").exists()


def test_the_rules_travel_with_the_events(tmp_path, store, model, monkeypatch):
    monkeypatch.setenv("NBSHIP_RECORDS_KEY", "a key that nobody guesses")
    rules = CollectedModel("churn", "v1.0.0", (("contract", "hash"), ("paperless", "drop")), 1.0)
    with Running(tmp_path, store) as running:
        running.pair("one", *v1(model, CUSTOMER), model=rules)
        running.pair("two", *v1(model, CUSTOMER), model=CollectedModel("churn", "v1.0.0", (), 0.0))
    found = read_records(str(tmp_path), "churn").inputs
    assert found.index.tolist() == ["one"] and list(found) == ["tenure", "contract"]
    assert found["contract"].iloc[0] != "one year"


def test_checks_other_events_and_what_is_no_prediction_are_left_out(running, model, tmp_path):
    asked, answer = v1(model, CUSTOMER)
    running.pair("nbship-check-1", asked, answer)
    assert running.post("org.example.other", "a", b"{}").status_code == 200
    for number, (question, said) in enumerate(
        [
            (b"", b'{"name": "churn", "ready": true}'),
            (asked, b'{"predictions": [1, 0]}'),
            (asked, b'{"predictions": ["drop table"]}'),
            (b'{"instances": [{"tenure": "x"}]}', answer),
            (b"\x00\x00\x00\x00\x05grpc!", b"\x00"),
            (asked, b'{"predictions": [1], "probabilities": [1]}'),
            (asked, b'{"outputs": [{"name": "predict"}]}'),
        ]
    ):
        running.pair(f"n{number}", question, said)
    running.end()
    assert running.counts == {"left out": 3, "no prediction": 7}
    assert read_records(str(tmp_path), "churn").inputs.empty


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"ce-id": ""}, 400),
        ({"ce-specversion": ""}, 400),
        ({"content-type": "application/cloudevents+json"}, 400),
    ],
)
def test_what_is_no_event_is_refused(running, change, status):
    answer = running.post(REQUEST, "x", b"[]", **change)
    assert answer.status_code == status and answer.json()["error"]


def test_a_version_that_the_model_store_does_not_have_is_not_found(running, model, tmp_path):
    asked, _ = v1(model, CUSTOMER)
    assert running.post(REQUEST, "x", asked, model=CollectedModel("churn", "v9.0.0")).status_code == 404
    private = CollectedModel("churn", "v1.0.0", (("contrakt", "drop"),))
    refused = running.post(REQUEST, "x", asked, model=private)
    assert refused.status_code == 404 and "contrakt" in refused.json()["error"]
    odd = running.client.post("/models/churn/versions/v1.0.0?sample=7", content=asked, headers=HEADERS)
    assert odd.status_code == 400


def test_when_the_store_is_away_it_says_so_and_goes_on_when_it_is_back(tmp_path, store, model, monkeypatch):
    back, write = threading.Event(), log.write_by_day

    def away(*arguments):
        if not back.is_set():
            raise log.NbshipError("the store is away", "wait")
        write(*arguments)

    monkeypatch.setattr(log, "write_by_day", away)
    monkeypatch.setattr(log, "VALUES_AT_MOST", 30)
    pair, number = v1(model, CUSTOMER), 0
    with Running(tmp_path, store, seconds=0.02) as running:
        while running.post(REQUEST, f"r{number}", pair[0]).status_code == 200:
            last = running.post(RESPONSE, f"r{number}", pair[1])
            if last.status_code != 200:
                break
            number += 1
        assert last.status_code == 503 and last.headers["retry-after"] == "5"
        back.set()
        end = time.monotonic() + 20
        while running.post(RESPONSE, f"r{number}", pair[1]).status_code == 503:
            assert time.monotonic() < end
    assert len(read_records(str(tmp_path), "churn").inputs) == number + 1


def test_halves_share_what_memory_there_is_and_are_forgotten(tmp_path, store, model, monkeypatch):
    asked, _ = v1(model, CUSTOMER)
    monkeypatch.setattr(collecting, "BYTES_AT_MOST", 2 * len(asked))
    with Running(tmp_path, store) as running:
        assert [running.post(REQUEST, n, asked).status_code for n in "abc"] == [200, 200, 503]
    (tmp_path / "halves.json").unlink()
    monkeypatch.setattr(collecting, "PATIENCE", 0.0)
    with Running(tmp_path, store) as running:
        assert [running.post(REQUEST, n, asked).status_code for n in "abcdef"] == [200] * 6
        assert running.counts["unpaired"] == 5


def test_times_of_go_and_none_are_read():
    event = {"ce-id": "a", "ce-source": "s", "ce-type": REQUEST, "ce-specversion": "1.0"}
    assert read_event({**event, "ce-time": "2026-11-21T12:00:00.1Z"}, b"").time == 1795262400.1
    assert (
        read_event({**event, "ce-time": "2026-11-21T13:00:00.123456789+01:00"}, b"").time == 1795262400.123456
    )
    assert read_event(event, b"").time > 1.7e9
    with pytest.raises(EventError, match="no id"):
        read_event({**event, "ce-id": ""}, b"")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["predictions", "outputs", "probabilities", "intervals", "instances", "inputs"])
DATA = st.fixed_dictionaries(
    {"name": st.sampled_from(["predict", "predict_proba", "interval"]), "data": JSON}
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    question=st.dictionaries(KEYS, JSON, max_size=3) | st.just({"instances": [CUSTOMER]}),
    said=st.dictionaries(KEYS, JSON | st.lists(DATA, max_size=3), max_size=4)
    | st.fixed_dictionaries({"predictions": st.just([1]), "probabilities": JSON, "intervals": JSON}),
)
def test_whatever_is_sent_is_a_pair_or_none(model, question, said):
    pair = read_pair(model.predictor.package, json.dumps(question).encode(), json.dumps(said).encode())
    if pair is not None:
        checked, prediction = pair
        table = answered_table(model, checked, prediction)
        assert table.num_rows == checked.rows


def answered_table(model, checked, prediction):
    columns, output = model.predictor.package.inputs, model.predictor.package.output
    values = tuple(checked.values[column.name] for column in columns)
    make = one_row if checked.rows == 1 else AnsweredRows
    return to_table([make("a", 0.0, "v", values, prediction, [])], columns, output, Keeping("x"))


@given(
    headers=st.dictionaries(
        st.sampled_from(["content-type", "ce-id", "ce-type", "ce-source", "ce-specversion", "ce-time"]),
        st.sampled_from(["application/cloudevents+json", "1.0", "", REQUEST, "2026-13-01"])
        | st.text(max_size=5),
    ),
    body=st.binary(max_size=20) | JSON.map(lambda each: json.dumps(each).encode()),
)
def test_whatever_is_sent_is_an_event_or_refused(headers, body):
    try:
        event = read_event(headers, body)
    except EventError as error:
        assert str(error)
    else:
        assert event.id and event.source and event.type


def test_sigterm_loses_nothing(tmp_path: Path, store: Path, model: PackagedModel) -> None:
    port = free_port("127.0.0.1")
    command = [
        str(Path(sys.executable).with_name("nbship")),
        "collect",
        "--store",
        str(tmp_path),
        "--models",
        str(store),
    ]
    process = subprocess.Popen([*command, "--port", str(port), "--seconds", "3600"], env=dict(os.environ))
    try:
        asked, answer = v1(model, CUSTOMER)
        end = time.monotonic() + 60
        while True:
            try:
                requests.get(f"http://127.0.0.1:{port}/health", timeout=5).raise_for_status()
                break
            except requests.ConnectionError:
                assert time.monotonic() < end
                time.sleep(0.1)
        at = address(f"http://127.0.0.1:{port}", VERSION)
        for number in range(20):
            for kind, body in ((REQUEST, asked), (RESPONSE, answer)):
                headers = {**HEADERS, "ce-id": f"r{number}", "ce-type": kind}
                requests.post(at, data=body, headers=headers, timeout=30).raise_for_status()
        said = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
        assert 'nbship_collected_events_total{model="churn",outcome="kept"} 20.0' in said
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
    assert len(read_records(str(tmp_path), "churn").inputs) == 20
