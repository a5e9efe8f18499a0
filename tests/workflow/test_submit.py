import re
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship import __version__
from nbship.errors import ExitCode, NbshipError, UsageError
from nbship.kubeflow import client
from nbship.kubeflow.api import Connection
from nbship.kubeflow.escaping import received
from nbship.kubeflow.server import Server
from nbship.record import State
from nbship.workflow import waiting
from nbship.workflow.compile import compile_pipeline
from nbship.workflow.parameters import run_parameters
from nbship.workflow.submit import SubmitRequest, connect_for, remote_runs, submit
from nbship.workflow.waiting import exit_code, failed_tasks, wait
from tests.kubeflow_runs import look, task_details
from tests.kubeflow_server import Fault, KubeflowServer, serve
from tests.projects import graph_of, write_project
from tests.repositories import git

COMPILED = "pipelines/compiled/line.yaml"


@pytest.fixture
def server():
    with serve(KubeflowServer()) as running:
        yield running


@pytest.fixture
def connection(server, monkeypatch):
    monkeypatch.setattr(waiting, "_INTERVAL", 0.01)
    return Connection(Server(server.address, backoff=0.01), dict)


@pytest.fixture
def root(tmp_path):
    """A project in a part of a repository, committed with its compiled pipeline."""
    folder = tmp_path / "repository/project"
    folder.mkdir(parents=True)
    write_project(folder)
    compile_pipeline(folder, "line").write()
    git(folder.parent, "init", "--quiet")
    commit(folder, "Begin")
    return folder


def commit(root, message):
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", message)
    return git(root, "rev-parse", "HEAD").strip()


def change(root):
    """Another default, and the pipeline compiled anew."""
    path = root / "pipelines/line.yaml"
    path.write_text(re.sub(r"most: \d+", f"most: {secrets.randbelow(10**6) + 10}", path.read_text()))
    compile_pipeline(root, "line").write()


def run_of(server):
    (run,) = server.runs.values()
    return run


def test_a_version_by_revision_and_a_run_in_the_branchs_experiment(server, connection, root):
    git(root, "switch", "--quiet", "--create", "feature/x")
    submission = submit(connection, root, SubmitRequest("line", settings=["prepare.most=2"]), {})
    head = git(root, "rev-parse", "HEAD").strip()
    run = run_of(server)
    # The committed file names the image without a tag; what runs has it, and so has the version's name.
    assert submission.version.name == f"{head}-{__version__}"
    assert submission.image == f"nbship:{__version__}"
    assert submission.link == f"{server.address}/#/runs/details/{run['run_id']}"
    assert submission.steps == ("prepare", "train-line")
    version = server.versions[run["pipeline_version_reference"]["pipeline_version_id"]]
    assert version["display_name"] == submission.version.name
    assert set(re.findall(r"'image': '([^']+)'", str(version["pipeline_spec"]))) == {submission.image}
    assert version["pipeline_spec"]["pipelineInfo"]["name"] == "line"
    assert server.experiments[run["experiment_id"]]["display_name"] == "feature/x"
    assert run["runtime_config"]["parameters"] == {"prepare_most": 2, "revision": head}
    assert run["display_name"].startswith(f"line {head[:7]} ")


def test_a_repetition_makes_another_run_of_the_same_version(server, connection, root):
    first, second = (submit(connection, root, SubmitRequest("line"), {}) for _ in range(2))
    assert first.version.version_id == second.version.version_id
    assert (first.version.new, second.version.new) == (True, False)
    assert len(server.runs) == 2
    assert len(server.experiments) == 1


def test_what_is_not_committed_is_another_version(connection, root):
    names = [submit(connection, root, SubmitRequest("line"), {}).version.name]
    for _ in range(2):
        change(root)
        names.append(submit(connection, root, SubmitRequest("line"), {}).version.name)
    assert len(set(names)) == 3
    assert all(name.startswith(names[0].partition("-")[0]) for name in names)


def test_other_code_in_the_image_is_another_version_of_the_same_compiled_pipeline(server, connection, root):
    (root / "Dockerfile").write_text("FROM scratch\n")
    (root / ".dockerignore").write_text("*\n!pipelines\n")
    before = submit(connection, root, SubmitRequest("line"), {})
    (root / "Dockerfile").write_text("FROM other\n")
    after = submit(connection, root, SubmitRequest("line"), {})
    assert (before.version.new, after.version.new) == (True, True)
    specs = [str(server.versions[each.version.version_id]["pipeline_spec"]) for each in (before, after)]
    assert [each.image in spec for each, spec in zip((before, after), specs, strict=True)] == [True, True]
    assert before.image not in specs[1]


def test_another_revision(server, connection, root):
    git(root, "tag", "v1")
    first = git(root, "rev-parse", "HEAD").strip()
    change(root)
    commit(root, "Change")
    change(root)
    submission = submit(connection, root, SubmitRequest("line", revision="v1"), {})
    assert submission.version.name == f"{first}-{__version__}"
    spec = server.versions[submission.version.version_id]["pipeline_spec"]
    assert spec["root"]["inputDefinitions"]["parameters"]["prepare_most"]["defaultValue"] == 4


@pytest.mark.parametrize("revision", ["nowhere", "--all", "0000000000"])
def test_a_revision_that_is_not_there(server, connection, root, revision):
    with pytest.raises(UsageError, match="Git knows no revision"):
        submit(connection, root, SubmitRequest("line", revision=revision), {})
    assert server.seen == []


def test_a_revision_without_the_compiled_pipeline(server, connection, root):
    git(root, "rm", "--quiet", COMPILED)
    git(root, "commit", "--quiet", "--message", "Without")
    with pytest.raises(NbshipError, match=f"HEAD has no {COMPILED}"):
        submit(connection, root, SubmitRequest("line", revision="HEAD"), {})


def test_a_stale_pipeline_is_refused(server, connection, root):
    path = root / "pipelines/line.yaml"
    path.write_text(path.read_text().replace("most: 4", "most: 5"))
    with pytest.raises(
        NbshipError, match=r"pipelines/compiled/line\.yaml is not current: .*4.* → 5"
    ) as failed:
        submit(connection, root, SubmitRequest("line"), {})
    assert failed.value.hint == "renew it: nbship compile line"
    assert server.seen == []


def test_the_experiment_where_no_branch_is_checked_out(server, connection, root):
    git(root, "switch", "--quiet", "--detach")
    with pytest.raises(UsageError, match="no branch is checked out"):
        submit(connection, root, SubmitRequest("line"), {})
    assert server.seen == []
    assert (
        submit(connection, root, SubmitRequest("line"), {"CI_COMMIT_REF_NAME": "topic"}).experiment == "topic"
    )
    assert submit(connection, root, SubmitRequest("line", experiment="mine"), {}).experiment == "mine"


def test_without_git_a_version_is_named_by_its_content(connection, tmp_path):
    root = write_project(tmp_path)
    compile_pipeline(root, "line").write()
    names = {
        submit(connection, root, SubmitRequest("line", experiment="mine"), {}).version.name for _ in range(2)
    }
    assert [name[8:] for name in names] == [f"-{__version__}"]


# Parameters.


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("prepare.most=2", {"prepare_most": 2}),
        ("prepare.C=1e-3", {"prepare_C": 0.001}),
        ("prepare.C=2", {"prepare_C": 2.0}),
        ("prepare.note=a=b=c", {"prepare_note": "a=b=c"}),
        ("prepare.note=", {"prepare_note": ""}),
        ("prepare.note=12", {"prepare_note": "12"}),
        ("prepare.strict=true", {"prepare_strict": True}),
        ("prepare.names=[1, 2]", {"prepare_names": [1, 2]}),
        ("prepare.options={a: {b: 1}}", {"prepare_options": {"a": {"b": 1}}}),
        ("revision=feature/a=1", {"revision": "feature/a=1"}),
    ],
)
def test_settings_become_typed_parameters(root, setting, expected):
    values = run_parameters(graph_of(root), [setting])
    assert values == expected
    assert [type(value) for value in values.values()] == [type(value) for value in expected.values()]


def test_the_last_setting_holds(root):
    assert run_parameters(graph_of(root), ["prepare.most=2", "prepare.most=3"]) == {"prepare_most": 3}


@pytest.mark.parametrize(
    ("setting", "message", "hint"),
    [
        ("prepare.mots=2", "a run has no parameter 'prepare.mots'", "did you mean 'prepare.most'?"),
        ("train-line.scale=2", "a run has no parameter 'train-line.scale'", "known are: "),
        ("steps.prepare.cpu=2", "a run has no parameter", ""),
        ("prepare.most", "not of the form", "for example"),
        ("=2", "not of the form", "for example"),
        ("prepare.most=many", "prepare.most is 'many' \\(str\\)", "it takes int"),
        ("prepare.most=2.5", "prepare.most is 2.5 \\(float\\)", "it takes int"),
        ("prepare.most=9007199254740993", "cannot carry it exactly", "2^53"),
        ("prepare.names=[9007199254740993]", "cannot carry it exactly", "2^53"),
    ],
)
def test_settings_that_are_wrong(root, setting, message, hint):
    with pytest.raises(UsageError, match=message) as failed:
        run_parameters(graph_of(root), [setting])
    assert hint in failed.value.hint


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return graph_of(write_project(tmp_path_factory.mktemp("project")))


@given(text=st.text(st.characters(exclude_categories=["Cs"])) | st.text("$({n)"))
def test_any_text_arrives_as_it_was_typed(graph, text):
    assert received(run_parameters(graph, [f"prepare.note={text}"])) == {"prepare_note": text}


# Waiting.


def followed(server, connection, root, *looks):
    server.advance = list(looks)
    events = []
    submission = submit(connection, root, SubmitRequest("line"), {})
    run = wait(connection, submission, events.append)
    return run, [(event.step, event.state) for event in events]


def test_waiting_tells_of_each_change_once(server, connection, root):
    run, events = followed(
        server,
        connection,
        root,
        look("PENDING"),
        look("RUNNING", prepare="PENDING"),
        look("RUNNING", prepare="RUNNING"),
        look("RUNNING", prepare="RUNNING"),
        look("RUNNING", prepare="SUCCEEDED", train_line="RUNNING"),
        look("SUCCEEDED", prepare="SUCCEEDED", train_line="SUCCEEDED"),
    )
    assert exit_code(run) is ExitCode.DONE
    assert events == [
        ("prepare", State.RUNNING),
        ("prepare", State.DONE),
        ("train-line", State.RUNNING),
        ("train-line", State.DONE),
    ]


@pytest.mark.parametrize("final", ["FAILED", "CANCELED", "SKIPPED"])
def test_a_run_that_does_not_succeed(server, connection, root, final):
    run, events = followed(server, connection, root, look(final, "out of memory", prepare="FAILED"))
    assert exit_code(run) is ExitCode.FAILED
    assert run.error == "out of memory"
    assert events == [("prepare", State.INTERRUPTED if final == "CANCELED" else State.FAILED)]


def test_of_a_step_that_was_tried_again_the_last_try_counts(server, connection, root):
    def tries(run):
        look("SUCCEEDED")(run)
        run["run_details"]["task_details"] = [
            {
                "display_name": "prepare",
                "state": "SUCCEEDED",
                "start_time": "2026-11-21T03:00:10Z",
                "end_time": "2026-11-21T03:00:12Z",
            },
            {"display_name": "prepare", "state": "FAILED", "start_time": "2026-11-21T03:00:00Z"},
            {"display_name": "prepare", "state": "PENDING", "start_time": "1970-01-01T00:00:00Z"},
        ]

    _, events = followed(server, connection, root, tries)
    assert events == [("prepare", State.DONE)]


def test_only_tasks_of_the_pipeline_are_said_to_have_failed(server, connection, root):
    submission = submit(connection, root, SubmitRequest("line"), {})
    assert set(submission.tasks) > {"prepare", "train-line", "report"}
    states = {"prepare": "FAILED", "report": "FAILED"}
    server.advance = [
        lambda run: run.update(run_details={"task_details": task_details(states, ("prepare",))})
    ]
    run = client.get_run(connection, submission.run.id)
    assert {"executor(0)", "exit-handler-1", "root"} <= {task.name for task in run.tasks}
    assert failed_tasks(run, submission.tasks) == ["prepare", "report"]


def test_a_task_whose_driver_fails_has_failed(server, connection, root):
    submission = submit(connection, root, SubmitRequest("line"), {})
    server.advance = [lambda run: run.update(run_details={"task_details": details})]
    details = [{"display_name": name, "state": "FAILED"} for name in ("root", "train-line-driver")]
    run = client.get_run(connection, submission.run.id)
    assert failed_tasks(run, submission.tasks) == ["train-line"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x" * 129, "the name has 129 characters, and Kubeflow takes 1 to 128"),
        ("fix-🚀", "Kubeflow's database cannot keep '🚀'"),
    ],
)
def test_an_experiment_that_kubeflow_cannot_keep_is_refused_before_anything_is_sent(
    server, connection, root, name, message
):
    with pytest.raises(UsageError, match=message) as failed:
        submit(connection, root, SubmitRequest("line", experiment=name), {})
    assert "--experiment" in failed.value.hint
    assert server.seen == []


def test_an_experiment_that_differs_in_case_alone_is_not_taken_for_another(server, connection, root):
    submit(connection, root, SubmitRequest("line", experiment="Größe"), {})
    for name in ("größe", "Große", "GROSE"):
        with pytest.raises(UsageError, match="Kubeflow has 'Größe'") as failed:
            submit(connection, root, SubmitRequest("line", experiment=name), {})
        assert "--experiment 'Größe'" in failed.value.hint
    assert len(server.runs) == len(server.experiments) == 1


def test_waiting_outlasts_a_server_that_is_renewed(server, connection, root):
    server.faults.append(Fault("GET /apis/v2beta1/runs/", status=503, times=12))
    run, _ = followed(server, connection, root, look("SUCCEEDED"))
    assert run.final


def test_waiting_ends_when_one_is_no_longer_let_in(server, connection, root):
    submission = submit(connection, root, SubmitRequest("line"), {})
    server.faults.append(Fault("GET", status=403, times=100))
    with pytest.raises(NbshipError, match="permission denied"):
        wait(connection, submission, print)


def test_waiting_ends_when_the_server_stays_away(server, connection, root, monkeypatch):
    monkeypatch.setattr(waiting, "_MOST_SILENCES", 2)
    submission = submit(connection, root, SubmitRequest("line"), {})
    server.faults.append(Fault("GET", status=500, times=100))
    with pytest.raises(NbshipError, match=r"server error \(500\)"):
        wait(connection, submission, print)


# Runs on the server.


def test_remote_runs_newest_first(connection, root):
    submissions = [submit(connection, root, SubmitRequest("line"), {}) for _ in range(3)]
    ids = [submission.run.id for submission in submissions][::-1]
    assert [run.id for run in remote_runs(connection, root, "line", 20)] == ids
    assert [run.id for run in remote_runs(connection, root, "", 2)] == ids[:2]


def test_remote_runs_of_an_unknown_pipeline(connection, root):
    with pytest.raises(UsageError, match="there is no pipeline 'lime'"):
        remote_runs(connection, root, "lime", 20)


def test_the_names_of_runs_differ(server, connection, root):
    for _ in range(3):
        submit(connection, root, SubmitRequest("line"), {})
    assert len({run["display_name"] for run in server.runs.values()}) == 3
    assert len(list(client.list_runs(connection, "line"))) == 3


# Overrides.


def override(root, text):
    file = root.parent / "override.yaml"
    file.write_text(text)
    return [file]


def test_files_variables_and_settings_set_parameters_of_the_run(server, connection, root):
    files = override(root, "steps: {prepare: {parameters: {most: 2, C: 4, note: a=b}}}")
    variables = {
        "NBSHIP_PREPARE__C": "5",
        "NBSHIP_PREPARE__STRICT": "true",
        "NBSHIP_STEPS__PREPARE__CPU": "8",
    }
    request = SubmitRequest("line", "", ["prepare.strict=false"], "main", files, variables)
    submit(connection, root, request, {})
    given = {"prepare_most": 2, "prepare_C": 5.0, "prepare_note": "a=b", "prepare_strict": False}
    parameters = run_of(server)["runtime_config"]["parameters"]
    assert parameters == {**given, "revision": git(root, "rev-parse", "HEAD").strip()}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("steps: {prepare: {cpu: 2}}", "steps.prepare.cpu"),
        ("image: a:1", "image"),
        ("kubeflow: {secret: mine}", "kubeflow.secret"),
        ("steps: {more: {notebook: notebooks/prepare.ipynb}}", "steps.more"),
    ],
)
def test_a_file_that_changes_what_is_compiled_is_refused(server, connection, root, text, key):
    with pytest.raises(UsageError, match=re.escape(f"'{key}' is in the compiled pipeline")) as error:
        submit(connection, root, SubmitRequest("line", "", (), "main", override(root, text)), {})
    assert error.value.hint == "compile it so: nbship compile line --config-override FILE"
    assert not server.runs


def test_a_value_of_another_type_is_refused_before_anything_is_sent(server, connection, root):
    with pytest.raises(UsageError, match=r"prepare.*most"):
        submit(
            connection, root, SubmitRequest("line", "", (), "main", (), {"NBSHIP_PREPARE__MOST": "many"}), {}
        )
    assert not server.pipelines


def test_the_server_may_be_named_in_the_pipeline_file(root):
    path = root / "pipelines/line.yaml"
    (root / "ca.pem").touch()
    written = (
        "kubeflow: {host: 'https://a.example.org/', namespace: ada, auth: service-account, ca: ca.pem}\n"
    )
    path.write_text(re.sub("kubeflow:.*\n", written, path.read_text()))
    server = connect_for(root, "line", {}).server
    assert server == Server("https://a.example.org", "ada", "service-account", str(root / "ca.pem"))
    environment = {"NBSHIP_KUBEFLOW_HOST": "https://b.example.org", "NBSHIP_KUBEFLOW__NAMESPACE": "grace"}
    server = connect_for(root, "line", environment, override(root, "kubeflow: {auth: none}")).server
    assert (server.host, server.namespace, server.auth) == ("https://b.example.org", "grace", "none")


def test_without_a_pipeline_the_environment_names_the_server(root):
    assert connect_for(root, "", {"NBSHIP_KUBEFLOW_HOST": "https://b.example.org"}).server.host
    with pytest.raises(UsageError, match="no Kubeflow server is named") as error:
        connect_for(root, "", {})
    assert "NBSHIP_KUBEFLOW_HOST" in error.value.hint
    assert "kubeflow.host" in error.value.hint


# What a run checks out, and whether the gate rejected its model.


@pytest.mark.parametrize(
    ("origin", "repository"),
    [
        ("git@gitlab.example.org:group/cars.git", "https://gitlab.example.org/group/cars.git"),
        ("ssh://git@gitlab.example.org:2222/group/cars.git", "https://gitlab.example.org/group/cars.git"),
        ("https://ci:secret@gitlab.example.org:8443/cars.git", "https://gitlab.example.org:8443/cars.git"),
    ],
)
def test_a_run_checks_out_the_origin_where_the_pipeline_file_names_no_repository(
    server, connection, root, origin, repository
):
    without_repository(root)
    git(root, "remote", "add", "origin", origin)
    submit(connection, root, SubmitRequest("line"), {})
    assert run_of(server)["runtime_config"]["parameters"]["repository"] == repository


@pytest.mark.parametrize("origin", ["", "../origin.git", "/srv/git/cars.git"])
def test_a_run_that_has_nothing_to_check_out_is_refused(server, connection, root, origin):
    without_repository(root)
    if origin:
        git(root, "remote", "add", "origin", origin)
    with pytest.raises(UsageError, match="there is no repository that a run could check out"):
        submit(connection, root, SubmitRequest("line"), {})
    assert server.seen == []
    submit(connection, root, SubmitRequest("line", settings=["repository=https://git.example.org/x"]), {})


def without_repository(root):
    path = root / "pipelines/line.yaml"
    path.write_text(re.sub("kubeflow:.*\n", "", path.read_text()))
    compile_pipeline(root, "line").write()


@pytest.mark.parametrize(
    ("state", "tasks", "code"),
    [
        ("SUCCEEDED", {"gate": "SUCCEEDED", "publish": "SUCCEEDED"}, ExitCode.DONE),
        ("SUCCEEDED", {"gate": "SUCCEEDED", "rejected": "SUCCEEDED"}, ExitCode.REJECTED),
        ("SUCCEEDED", {"gate": "SUCCEEDED", "rejected": "SKIPPED"}, ExitCode.DONE),
        ("FAILED", {"gate": "FAILED"}, ExitCode.FAILED),
        ("FAILED", {"gate": "SUCCEEDED", "rejected": "FAILED"}, ExitCode.FAILED),
    ],
)
def test_a_rejection_is_told_from_a_failure(server, connection, root, state, tasks, code):
    submission = submit(connection, root, SubmitRequest("line"), {})
    server.advance = [look(state, **tasks)]
    assert exit_code(wait(connection, submission, lambda _: None)) is code
