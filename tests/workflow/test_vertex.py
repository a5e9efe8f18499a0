"""Compiled pipelines on Vertex AI: Google's own client against a server on loopback."""

import json
import os
import re

import pytest
import typer
import yaml
from typer.testing import CliRunner

from nbship.cli import submit as submit_command
from nbship.errors import NbshipError, UsageError
from nbship.kubeflow.vertex import unsupported
from nbship.workflow import waiting
from nbship.workflow.compile import compile_pipeline
from tests.projects import PIPELINE, write_project
from tests.repositories import git
from tests.vertex_server import UNIVERSE, serve

IMAGE = "image: europe-docker.pkg.dev/cars/images/nbship:1\n"


@pytest.fixture(scope="module")
def server():
    with serve() as running:
        yield running


@pytest.fixture
def root(tmp_path, monkeypatch, server):
    server.jobs.clear()
    server.changes.clear()
    server.refuse = None
    for name in [name for name in os.environ if name.startswith(("NBSHIP_", "GOOGLE_", "CLOUDSDK_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(server.credentials(tmp_path)))
    monkeypatch.setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", UNIVERSE)
    monkeypatch.setenv("NBSHIP_VERTEX__ENDPOINT", server.address)
    monkeypatch.setenv("NBSHIP_VERTEX__PROJECT", "cars")
    monkeypatch.setattr(waiting, "_INTERVAL", 0.01)
    root = tmp_path / "project"
    root.mkdir()
    settings = "vertex: {region: europe-west1, bucket: 'gs://cars/runs', service_account: runs@cars}\n"
    monkeypatch.chdir(write_project(root, PIPELINE + IMAGE + settings))
    compile_pipeline(root, "line").write()
    return root


def invoke(*arguments):
    app = typer.Typer()
    app.callback()(lambda: None)  # so that the only command is called by its name
    submit_command.register(app)
    return CliRunner().invoke(
        app, ["submit", "line", "--target", "vertex", *arguments], standalone_mode=False
    )


def nbship(*arguments):
    """Returns what a command prints on standard output, and its exit code."""
    result = invoke(*arguments)
    if result.exception:
        raise result.exception
    assert "Bearer" not in result.output
    return result.stdout, result.return_value


def becomes(state, error="", **tasks):
    def change(job):
        details = [{"taskName": name, "state": word} for name, word in tasks.items()]
        job.update(state=f"PIPELINE_STATE_{state}", jobDetail={"taskDetails": details})
        if error:
            job["error"] = {"code": 9, "message": error}

    return change


def test_the_compiled_pipeline_is_handed_over_whole(server, root):
    output, code = nbship("--set", "prepare.most=2", "--set", "prepare.note=a=b")
    ((name, job),) = server.jobs.items()
    assert code == 0
    assert re.fullmatch(r"projects/cars/locations/europe-west1/pipelineJobs/line-[-0-9a-z]+", name)
    run = name.rpartition("/")[2]
    link = (
        f"https://console.cloud.google.com/vertex-ai/locations/europe-west1/pipelines/runs/{run}?project=cars"
    )
    assert f"run         {run}" in output.splitlines()
    assert f"page        {link}" in output.splitlines()
    compiled = next(yaml.safe_load_all((root / "pipelines/compiled/line.yaml").read_text()))
    assert job["pipelineSpec"] == compiled
    assert job["serviceAccount"] == "runs@cars"
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://cars/runs"
    assert job["runtimeConfig"]["parameterValues"] == {"prepare_most": 2, "prepare_note": "a=b"}
    assert "Vertex AI:" not in output


@pytest.mark.parametrize(("state", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELLED", 1)])
def test_waiting_ends_as_the_run_does(server, root, state, code):
    server.changes = [
        becomes("RUNNING", prepare="RUNNING"),
        becomes(state, "" if code == 0 else "it went wrong", prepare="SUCCEEDED", **{"train-line": state}),
    ]
    result = invoke("--wait")
    assert result.return_value == code
    assert "prepare" in result.stdout
    assert ("it went wrong" in result.stderr) == bool(code)
    server.changes = [becomes(state, prepare=state)]
    lines = [json.loads(line) for line in nbship("--wait", "--json")[0].splitlines()]
    assert (lines[0]["event"], lines[-1]["exit_code"]) == ("submitted", code)


def test_what_vertex_has_not_is_told_before_anything_is_sent(server, root):
    path = root / "pipelines/line.yaml"
    path.write_text(path.read_text().replace(IMAGE, ""))
    compile_pipeline(root, "line").write()
    server.refuse = 403, "not you"
    result = invoke()
    assert "Vertex AI: image nbship:" in result.output
    assert "names no registry" in result.output
    assert "not you" in result.exception.message
    assert not server.jobs


def test_steps_that_get_no_credentials_there_are_told_on_standard_error(server, root):
    result = invoke("--json")
    assert result.stderr == "Vertex AI: fetch-table, report, resolve: no secrets: these are for Kubernetes\n"
    assert json.loads(result.stdout)["event"] == "submitted"


def test_what_is_submitted_is_what_is_checked_out(server, root):
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Begin")
    nbship()
    (job,) = server.jobs.values()
    commit = git(root, "rev-parse", "HEAD").strip()
    assert job["runtimeConfig"]["parameterValues"] == {"revision": commit}


def test_the_verdict_is_on_the_page_alone(server, root):
    server.changes = [becomes("SUCCEEDED", gate="SUCCEEDED", rejected="SUCCEEDED")]
    result = invoke("--wait")
    assert result.return_value == 3
    assert "run         rejected by the gate; the champion stays\n" in result.stdout
    assert "the verdict's reasons and the metrics are on its page alone: https://console" in result.stderr


def test_every_thing_that_vertex_has_not():
    specification = {
        "deploymentSpec": {
            "executors": {
                "exec-train": {
                    "container": {
                        "image": "registry.example.org/gpu:1",
                        "resources": {"accelerator": {"resourceType": "nvidia.com/gpu"}},
                    }
                },
                "exec-ok": {
                    "container": {
                        "image": "localhost:5000/gpu@sha256:1",
                        "resources": {"accelerator": {"resourceType": "NVIDIA_L4"}},
                    }
                },
                "exec-file": {"importer": {}},
            }
        }
    }
    wishes = {"secretAsEnv": [{}], "secretAsVolume": [{}], "tolerations": [{}], "podMetadata": {}}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-train": wishes}}}}}
    assert unsupported([specification, platform]) == [
        "train: no secrets, tolerations, podMetadata: these are for Kubernetes",
        "train: no accelerator 'nvidia.com/gpu': Vertex AI has NVIDIA_TESLA_T4, NVIDIA_L4 and the like",
    ]


@pytest.mark.parametrize(
    ("status", "hint"),
    [(403, "Vertex AI User"), (404, "project 'cars'"), (400, "see the console"), (500, "see the console")],
)
def test_a_refusal_is_told_in_a_line(server, root, status, hint):
    server.refuse = status, "it is so"
    with pytest.raises(NbshipError, match=r"Vertex AI in europe-west1: .*it is so") as error:
        nbship()
    assert hint in error.value.hint
    assert "\n" not in error.value.message


def test_no_server_and_no_credentials(server, root, monkeypatch):
    monkeypatch.setenv("NBSHIP_VERTEX__ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(NbshipError, match="Vertex AI in europe-west1: "):
        nbship()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(root / "gone.json"))
    with pytest.raises(NbshipError, match="no credentials") as error:
        nbship()
    assert error.value.hint == "sign in: gcloud auth application-default login"


def test_what_is_missing_is_named(server, root, monkeypatch):
    monkeypatch.delenv("NBSHIP_VERTEX__PROJECT")
    with pytest.raises(UsageError, match="no project of Vertex AI is named") as error:
        nbship()
    assert error.value.hint == "set vertex.project, or NBSHIP_VERTEX__PROJECT"
    with pytest.raises(UsageError, match="in no experiment"):
        nbship("--experiment", "main")
    assert not server.jobs
