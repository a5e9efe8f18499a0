"""The client against a server: one on loopback, or a real one, whose address NBSHIP_TEST_KUBEFLOW_HOST gives.

Every name is new, so that a server may have been used before. What makes a server fail runs on loopback only.
"""

import itertools
import os
import secrets
import ssl
import time
from dataclasses import replace

import kfp
import pytest

from nbship.errors import NbshipError
from nbship.kubeflow import client
from nbship.kubeflow.api import Connection, KubeflowError
from nbship.kubeflow.credentials import login
from nbship.kubeflow.records import PipelineVersion
from nbship.kubeflow.server import Server, read_server
from tests.certificates import authority_and_certificate
from tests.kubeflow_server import API, Fault, KubeflowServer, serve
from tests.projects import compiled_text, write_project

REAL = os.environ.get("NBSHIP_TEST_KUBEFLOW_HOST", "")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    path = folder / "line.yaml"
    path.write_text(compiled_text(write_project(folder)))
    return path


@pytest.fixture
def server():
    with serve(KubeflowServer()) as running:
        yield running


def connect(address, **settings):
    server = Server(host=address, **{"timeout": 5, "backoff": 0.01} | settings)
    return Connection(server, login(server, {}))


@pytest.fixture
def connection(request):
    if REAL:
        environment = {
            name.replace("NBSHIP_TEST_", "NBSHIP_"): value
            for name, value in os.environ.items()
            if name.startswith("NBSHIP_TEST_KUBEFLOW_")
        }
        found = read_server(environment)
        return Connection(found, login(found, environment))
    return connect(request.getfixturevalue("server").address)


@pytest.fixture
def name():
    return f"nbship-test-{secrets.token_hex(4)}"


@pytest.fixture
def version(connection, name, compiled):
    return client.ensure_version(connection, name, "0123abcd", compiled)


def started(connection, version, name, **parameters):
    experiment = client.ensure_experiment(connection, "nbship-test")
    return client.start_run(connection, f"{name} {secrets.token_hex(4)}", experiment, version, parameters)


# What any server does.


def test_a_version_is_uploaded_once(connection, name, compiled, version):
    assert version.new
    again = client.ensure_version(connection, name, "0123abcd", compiled)
    assert again == PipelineVersion(version.pipeline_id, version.version_id, "0123abcd", new=False)
    other = client.ensure_version(connection, name, "4567ef01", compiled)
    assert other.pipeline_id == version.pipeline_id
    assert other.version_id != version.version_id


def test_an_experiment_is_created_once(connection, name):
    first = client.ensure_experiment(connection, f"{name}/with a slash")
    assert client.ensure_experiment(connection, f"{name}/with a slash") == first


def test_a_run_is_found_again(connection, version, name):
    runs = [started(connection, version, name, prepare_most=2) for _ in range(2)]
    assert client.get_run(connection, runs[0].id).name == runs[0].name
    assert {run.id for run in client.list_runs(connection, name)} == {run.id for run in runs}
    assert runs[0].id in {run.id for run in itertools.islice(client.list_runs(connection), 200)}
    assert list(client.list_runs(connection, name[:-1])) == []


def test_a_run_that_is_not_there(connection):
    with pytest.raises(KubeflowError) as failed:
        client.get_run(connection, "00000000-0000-0000-0000-000000000000")
    assert failed.value.missing


def test_a_schedule_lives(connection, version, name):
    experiment = client.ensure_experiment(connection, "nbship-test")
    made = client.create_schedule(connection, name, "0 0 3 * * 1", experiment, version, {"prepare_most": 2})
    try:
        (found,) = client.list_schedules(connection, name)
        assert found == made
        assert (found.cron, found.enabled, found.version_id) == ("0 0 3 * * 1", True, version.version_id)
        assert found.parameters == {"prepare_most": 2}
        client.enable_schedule(connection, made.id, False)
        assert not client.list_schedules(connection, name)[0].enabled
        client.enable_schedule(connection, made.id, True)
        assert client.list_schedules(connection, name)[0].enabled
    finally:
        client.delete_schedule(connection, made.id)
        client.delete_schedule(connection, made.id)
    assert client.list_schedules(connection, name) == []


# What the server on loopback can be made to do.


def test_the_test_server_speaks_with_kfps_own_client(server, compiled, monkeypatch, tmp_path):
    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    theirs = kfp.Client(host=server.address)
    pipeline = theirs.upload_pipeline(str(compiled), "line")
    version = theirs.upload_pipeline_version(str(compiled), "v2", pipeline_name="line")
    experiment = theirs.create_experiment("main")
    assert theirs.create_experiment("main").experiment_id == experiment.experiment_id
    run = theirs.run_pipeline(
        experiment.experiment_id,
        "line 1",
        params={"prepare_most": 3},
        pipeline_id=pipeline.pipeline_id,
        version_id=version.pipeline_version_id,
    )
    assert theirs.get_run(run.run_id).display_name == "line 1"
    assert [r.run_id for r in theirs.list_runs().runs] == [run.run_id]
    assert client.get_run(connect(server.address), run.run_id).name == "line 1"


def test_lists_are_read_to_the_end_newest_first(server, compiled, monkeypatch):
    monkeypatch.setattr(client, "_PAGE", 2)
    connection = connect(server.address)
    version = client.ensure_version(connection, "line", "1", compiled)
    ids = [started(connection, version, "line").id for _ in range(5)]
    assert [run.id for run in client.list_runs(connection, "line")] == ids[::-1]


def test_long_lists_by_name_are_read_to_the_end(server, compiled, monkeypatch):
    monkeypatch.setattr(client, "_PAGE", 2)
    connection = connect(server.address)
    version = client.ensure_version(connection, "line", "1", compiled)
    experiment = client.ensure_experiment(connection, "main")
    made = [
        client.create_schedule(connection, "line", "0 0 3 * * 1", experiment, version, {}) for _ in range(5)
    ]
    client.create_schedule(connection, "other", "0 0 3 * * 1", experiment, version, {})
    assert {schedule.id for schedule in client.list_schedules(connection, "line")} == {s.id for s in made}


@pytest.mark.parametrize("branch", ["fix+more", "100%", "50%25", "a b", "größer", 'a "b"'])
def test_names_that_a_server_decodes_twice(server, branch):
    connection = connect(server.address)
    first = client.ensure_experiment(connection, branch)
    assert client.ensure_experiment(connection, branch) == first
    assert len(server.experiments) == 1


def test_runs_that_a_schedule_started_are_among_a_pipelines(server, compiled):
    """The controller makes their names up from the schedule's, without what Kubernetes does not take."""
    connection = connect(server.address)
    version = client.ensure_version(connection, "a-line", "1", compiled)
    experiment = client.ensure_experiment(connection, "main")
    made = client.create_schedule(connection, "a-line", "0 0 3 * * 1", experiment, version, {})
    runs = [server.fire(made.id), server.fire(made.id)]
    assert [run["display_name"] for run in runs] == [f"alinexyz12-{number}-3984843116" for number in (1, 2)]
    other = started(connection, client.ensure_version(connection, "line", "1", compiled), "line")
    assert [found.id for found in client.list_runs(connection, "a-line")] == [
        run["run_id"] for run in reversed(runs)
    ]
    assert [found.id for found in client.list_runs(connection, "line")] == [other.id]


def test_runs_and_schedules_have_the_service_account_that_is_asked_for(server, compiled):
    connection = connect(server.address)
    version = client.ensure_version(connection, "line", "1", compiled)
    experiment = client.ensure_experiment(connection, "main")
    run = client.start_run(connection, "line 1", experiment, version, {}, "nbship-runs")
    assert server.runs[run.id]["service_account"] == "nbship-runs"
    assert server.runs[started(connection, version, "line").id]["service_account"] == "pipeline-runner"
    made = client.create_schedule(
        connection, "line", "0 0 3 * * 1", experiment, version, {}, service_account="nbship-runs"
    )
    assert server.schedules[made.id]["service_account"] == "nbship-runs"
    assert client.list_schedules(connection, "line") == [made]
    assert made.service_account == "nbship-runs"


def test_the_states_of_a_runs_tasks(server, compiled):
    connection = connect(server.address)
    run = started(connection, client.ensure_version(connection, "line", "1", compiled), "line")
    task = {"display_name": "prepare", "state": "FAILED", "start_time": "2026-11-21T03:00:00Z"}
    error = {"code": 2, "message": "exit\n code 1"}
    server.runs[run.id] |= {
        "state": "FAILED",
        "finished_at": "2026-11-21T03:00:09Z",
        "run_details": {
            "task_details": [{**task, "end_time": "1970-01-01T00:00:00Z", "error": error}, {"task_id": "1"}]
        },
    }
    found = client.get_run(connection, run.id)
    assert found.final
    assert not run.final
    assert (found.tasks[0].name, found.tasks[0].state, found.tasks[0].error) == (
        "prepare",
        "FAILED",
        "exit code 1",
    )
    assert found.tasks[0].started
    assert found.tasks[0].finished is None
    assert found.tasks[1].state == "PENDING"


def test_the_namespace_is_sent_where_it_is_set(server, compiled):
    server.multi_user = True
    connection = connect(server.address, namespace="ada")
    version = client.ensure_version(connection, "line", "1", compiled)
    run = started(connection, version, "line")
    assert [r.id for r in client.list_runs(connection)] == [run.id]
    records = [*server.pipelines.values(), *server.experiments.values(), *server.runs.values()]
    assert {record["namespace"] for record in records} == {"ada"}
    assert list(client.list_runs(connect(server.address, namespace="grace"))) == []
    with pytest.raises(KubeflowError, match="namespace") as failed:
        list(client.list_runs(connect(server.address)))
    assert failed.value.hint == "check NBSHIP_KUBEFLOW_NAMESPACE"


@pytest.mark.parametrize(
    ("status", "message", "hint"),
    [
        (400, "request refused \\(400\\): it broke", "correct"),
        (401, "authentication failed \\(401, auth: none\\): it broke", "NBSHIP_KUBEFLOW_AUTH"),
        (403, "permission denied \\(403\\): it broke", "NBSHIP_KUBEFLOW_NAMESPACE"),
        (404, "not found \\(404\\): it broke", "ends in /pipeline"),
        (409, "request refused \\(409\\): it broke", "correct"),
        (429, "too many requests \\(429\\): it broke", "later"),
        (500, "server error \\(500\\): it broke", "ml-pipeline"),
    ],
)
def test_a_refusal_says_what_and_what_to_do(server, status, message, hint):
    server.faults.append(Fault("GET", status=status, times=100))
    with pytest.raises(KubeflowError, match=message) as failed:
        client.get_run(connect(server.address), "1")
    assert hint in failed.value.hint
    assert failed.value.status == status


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("body", ["<html>Log in</html>", "", "[]", '"text"', "\xff", "12", "{"])
def test_an_answer_that_is_none(server, status, body):
    server.faults.append(Fault("GET", status=status, body=body, times=100))
    with pytest.raises(NbshipError) as failed:
        list(client.list_runs(connect(server.address, backoff=0)))
    assert "Log in" not in failed.value.message


def test_a_redirect_to_a_login_page_is_not_followed(server):
    location = f"{server.address}/dex/auth?state=secret"
    server.faults.append(Fault("GET", status=302, headers={"Location": location}, times=100))
    with pytest.raises(KubeflowError, match=r"redirects to .*/dex/auth, most likely a login page") as failed:
        client.get_run(connect(server.address), "1")
    assert "secret" not in failed.value.message
    assert not server.lines("/dex")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", status=429),
        Fault("GET", status=503),
        Fault("GET", cut="before"),
        Fault("GET", cut="half"),
    ],
)
def test_a_request_that_changes_nothing_is_repeated(server, fault):
    fault.times = 3
    server.faults.append(fault)
    assert list(client.list_runs(connect(server.address))) == []
    assert len(server.seen) == 4


def test_what_the_server_says_about_when_to_come_back_is_respected(server):
    server.faults.append(Fault("GET", status=429, headers={"Retry-After": "1"}))
    before = time.monotonic()
    list(client.list_runs(connect(server.address)))
    assert time.monotonic() - before >= 1


def test_repeating_ends(server):
    server.faults.append(Fault("GET", cut="before", times=100))
    with pytest.raises(KubeflowError, match="connection was closed"):
        list(client.list_runs(connect(server.address)))
    assert len(server.seen) == 5


DOUBTFUL = [
    Fault("POST", status=429),
    Fault("POST", status=500),
    Fault("POST", status=503, headers={"Retry-After": "0"}),
    Fault("POST", cut="before"),
    Fault("POST", cut="after"),
    Fault("POST", cut="half"),
]


@pytest.mark.parametrize("fault", DOUBTFUL, ids=str)
def test_nothing_is_made_twice(server, compiled, fault):
    """Each thing that is created meets the fault twice."""
    connection = connect(server.address)
    for path in ("pipelines/upload", "pipelines/upload_version", "experiments", "runs", "recurringruns"):
        server.faults.append(replace(fault, on=f"POST {API}/{path}", times=2))
    version = client.ensure_version(connection, "line", "1", compiled)
    run = started(connection, version, "line")
    schedule = client.create_schedule(connection, "line", "0 0 3 * * *", run.experiment_id, version, {})
    assert [list(s) for s in (server.runs, server.schedules, server.pipelines, server.experiments)] == [
        [run.id],
        [schedule.id],
        [version.pipeline_id],
        [run.experiment_id],
    ]
    assert [v["display_name"] for v in server.versions.values()] == ["line", "1"]


def test_a_slow_start_that_arrives_is_found(server, compiled):
    connection = connect(server.address, timeout=0.3, backoff=0.2)
    version = client.ensure_version(connection, "line", "1", compiled)
    server.faults.append(Fault("POST /apis/v2beta1/runs", slow=0.6))
    run = started(connection, version, "line")
    assert list(server.runs) == [run.id]
    assert len(server.lines("POST /apis/v2beta1/runs")) == 1


def test_a_start_that_may_be_under_way_is_not_repeated(server, compiled):
    connection = connect(server.address, timeout=0.1)
    version = client.ensure_version(connection, "line", "1", compiled)
    server.faults.append(Fault("POST /apis/v2beta1/runs", slow=1.5))
    with pytest.raises(KubeflowError, match=r"no answer within 0\.1 s") as failed:
        started(connection, version, "line")
    assert "nbship runs --remote" in failed.value.hint
    assert len(server.lines("POST /apis/v2beta1/runs")) == 1


def test_two_that_upload_the_same_at_once(server, compiled):
    """The other is quicker: the server says that the version already exists."""
    connection = connect(server.address)
    client.ensure_version(connection, "line", "1", compiled)
    server.faults.append(Fault("GET /apis/v2beta1/pipelines/pipeline_id-0/versions", status=200, body="{}"))
    version = client.ensure_version(connection, "line", "1", compiled)
    assert version.version_id == list(server.versions)[1]


def test_a_refused_start_is_not_repeated(server, compiled):
    connection = connect(server.address)
    version = client.ensure_version(connection, "line", "1", compiled)
    with pytest.raises(KubeflowError, match=r"parameter\(s\) provided are not required by pipeline: no_such"):
        started(connection, version, "line", no_such=1)
    assert len(server.lines("POST /apis/v2beta1/runs")) == 1


def test_a_server_that_is_not_there():
    with pytest.raises(KubeflowError, match="no connection"):
        client.get_run(connect("http://127.0.0.1:9", backoff=0), "1")
    with pytest.raises(KubeflowError, match="the host name cannot be resolved"):
        client.get_run(connect("http://kubeflow.invalid", backoff=0), "1")


def test_a_proxy_is_used_as_the_environment_says(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.address)
    monkeypatch.setenv("no_proxy", "localhost")
    assert list(client.list_runs(connect("http://kubeflow.invalid"))) == []
    assert server.seen[0][1]["Host"] == "kubeflow.invalid"
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert list(client.list_runs(connect(server.address))) == []


def test_tls_with_an_authority_of_ones_own(tmp_path):
    authority, certificate = authority_and_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serve(KubeflowServer(), context) as server:
        assert list(client.list_runs(connect(server.address, ca=str(authority)))) == []
        with pytest.raises(KubeflowError, match="TLS failed: certificate verify failed") as failed:
            list(client.list_runs(connect(server.address)))
    assert "NBSHIP_KUBEFLOW_CA" in failed.value.hint


def test_signing_in_again_when_the_server_forgets(server):
    tokens = iter(["old-token-1", "new-token-2", "unused"])
    server.allow = lambda headers: headers.get("Authorization") == "Bearer new-token-2"
    settings = Server(server.address, backoff=0)
    connection = Connection(settings, lambda: {"Authorization": f"Bearer {next(tokens)}"})
    assert list(client.list_runs(connection)) == []
    assert next(tokens) == "unused"


def test_a_token_that_the_server_repeats_is_not_shown(server):
    token = "abc.DEF-0123456789"  # noqa: S105
    body = f'{{"message": "bad token: Bearer {token}, or {token}"}}'
    server.faults.append(Fault("GET", status=401, body=body, times=9))
    connection = Connection(Server(server.address), lambda: {"Authorization": f"Bearer {token}"})
    with pytest.raises(KubeflowError, match="bad token") as failed:
        client.get_run(connection, "1")
    assert token not in f"{failed.value.message}{failed.value.hint}{failed.value!r}"
