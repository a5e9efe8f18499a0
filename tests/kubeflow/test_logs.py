import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.kubeflow import logs
from nbship.kubeflow.api import Connection
from nbship.kubeflow.logs import marked_line, pod_names
from nbship.kubeflow.server import Server
from tests.kubeflow_server import Fault, KubeflowServer, serve

POD = "line-x7k2p-system-container-impl-4711"
LOG = "I1121 main.go\nresult 1\nresult 2\nlast words\n"


@pytest.fixture
def server():
    with serve(KubeflowServer(multi_user=True, logs={POD: LOG}, runs={"run-1": {}})) as running:
        yield running


def look(server, pods=(POD,), **settings):
    settings = {"namespace": "cars", "timeout": 2, "backoff": 0.01} | settings
    connection = Connection(Server(server.address, **settings), dict)
    return marked_line(connection, "run-1", pods, "result ")


def test_the_pod_of_argos_node():
    assert pod_names(None, ["line-x7k2p-4711"]) == (POD, "line-x7k2p-4711")
    assert pod_names("told", ["line-x7k2p-4711"])[:2] == ("told", POD)
    assert pod_names("", [None, ""]) == ()


@given(told=st.text(), children=st.lists(st.text()))
def test_names_of_pods_are_told_once(told, children):
    names = pod_names(told, children)
    assert len(set(names)) == len(names)
    assert "" not in names


def test_the_last_line_with_the_mark(server):
    assert look(server) == "2"
    assert server.lines("GET") == [f"GET /apis/v1alpha1/runs/run-1/nodes/{POD}/log"]


def test_a_server_of_pages_has_the_log_at_another_place(server):
    server.pages = True
    assert look(server) == "2"


def test_of_a_pod_that_is_gone_the_log_is_kept_under_its_node(server):
    """The server answers the question for the pod by 200, and with an error in the body."""
    server.logs, server.archived = {}, {"line-x7k2p-4711": LOG}
    assert look(server, pod_names(None, ["line-x7k2p-4711"])) == "2"


def test_where_the_pages_are_elsewhere_they_are_asked_there(server):
    """A server of one user reads no logs of pods through its API; its pages do."""
    server.multi_user = False
    logs = {POD: LOG}
    with serve(KubeflowServer(pages=True, logs=logs, runs={"run-1": {}})) as pages:
        assert look(server, namespace="", ui=pages.address) == "2"
        assert pages.lines("GET /k8s/pod/logs")


def test_a_server_of_one_user_has_archived_logs_alone(server):
    server.multi_user = False
    assert look(server, namespace="") == ""
    server.archived = {"line-x7k2p-4711": LOG}
    assert look(server, pod_names(None, ["line-x7k2p-4711"]), namespace="") == "2"


@pytest.mark.parametrize("log", ["", "no such line", "the result 1\n", "\0\x1b"])
def test_a_log_without_the_mark(server, log):
    server.logs[POD] = log
    assert look(server) == ""


def test_another_name_is_tried_once_each(server):
    assert look(server, ("wrong", POD)) == "2"
    assert len(server.lines("nodes/wrong")) == 1


def test_no_pod_is_no_request(server):
    assert look(server, ()) == ""
    assert server.seen == []


def test_a_log_is_not_read_without_end(server, monkeypatch):
    monkeypatch.setattr(logs, "_MOST_BYTES", 1000)
    server.logs[POD] = "x" * 2**22 + "\nresult 1\n"
    assert look(server) == ""


@pytest.mark.parametrize(
    "fault",
    [
        Fault("/log", cut="before"),
        Fault("/log", slow=3),
        Fault("/log", status=403, times=9),
        Fault("/log", status=500, times=9),
        Fault("/log", status=302, headers={"Location": "/login"}, times=9),
    ],
)
def test_a_log_that_cannot_be_had(server, fault):
    server.faults.append(fault)
    started = time.monotonic()
    assert look(server) == ""
    assert time.monotonic() - started < 3


def test_a_session_that_has_ended_is_renewed(server):
    server.faults.append(Fault("/log", status=401))
    assert look(server) == "2"
