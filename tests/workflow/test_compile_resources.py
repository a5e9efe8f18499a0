"""Pipelines as Kubernetes resources: what is written, who takes it, and that it runs."""

import shutil

import jsonschema
import pytest
import yaml

from nbship.kubeflow.api import Connection
from nbship.kubeflow.server import Server
from nbship.workflow import schedule
from nbship.workflow.compile import compile_pipeline, generate_resources
from nbship.workflow.submit import SubmitRequest, remote_runs, submit
from tests.kubeflow_definitions import check
from tests.kubeflow_server import KubeflowServer, RefusedError, serve
from tests.projects import PIPELINE, write_project
from tests.repositories import git

SETTINGS = "kubeflow: {repository: https://git.example.org/line.git, namespace: cars, secret: keys}"
OTHER = PIPELINE.replace("name: line", "name: other").replace("steps:", "image: nbship:1\nsteps:")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two pipelines, whose compiled files and resources are committed."""
    root = write_project(tmp_path_factory.mktemp("project"))
    (root / "pipelines/other.yaml").write_text(OTHER)
    git(root, "init", "--quiet", "--initial-branch", "main")
    for name in ("line", "other"):
        for file in (compile_pipeline(root, name), *generate_resources(root, name)):
            file.write()
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Begin")
    return root


@pytest.fixture
def root(project, tmp_path):
    return shutil.copytree(project, tmp_path / "copy")


@pytest.fixture
def server():
    with serve(KubeflowServer(kubernetes=True)) as running:
        yield running


@pytest.fixture
def connection(server):
    return Connection(Server(server.address, timeout=5, backoff=0.01), dict)


def manifests(root, name="line"):
    return [yaml.safe_load(file.text) for file in generate_resources(root, name)]


def apply(server, root, *names):
    for name in names or ("line",):
        for manifest in manifests(root, name):
            server.apply(manifest)


def change(root):
    path = root / "pipelines/line.yaml"
    path.write_text(path.read_text().replace("most: 4", "most: 5"))
    compile_pipeline(root, "line").write()


def test_what_is_written(root):
    pipeline, version = manifests(root)
    assert (pipeline["kind"], pipeline["metadata"]) == ("Pipeline", {"name": "line"})
    assert pipeline["spec"] == {"displayName": "line", "description": "Fits a line"}
    spec = version["spec"]
    assert (version["kind"], spec["pipelineName"]) == ("PipelineVersion", "line")
    assert spec["displayName"] == version["metadata"]["name"]
    assert version["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/prune"] == "disabled"
    (compiled, platform) = yaml.safe_load_all(compile_pipeline(root, "line").text)
    assert spec["platformSpec"] == platform
    executors = spec["pipelineSpec"]["deploymentSpec"]["executors"].values()
    images = {executor["container"]["image"] for executor in executors}
    assert {image.partition(":")[0] for image in images} == {"nbship"}
    assert all(image.partition(":")[2] for image in images)
    for executor in executors:
        executor["container"]["image"] = "nbship"
    assert spec["pipelineSpec"] == compiled


def test_kubernetes_takes_it_to_the_last_key(root):
    for manifest in (*manifests(root), *manifests(root, "other")):
        check(manifest)
    manifest["spec"]["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        check(manifest)


def test_the_namespace_is_the_pipelines(root):
    path = root / "pipelines/line.yaml"
    path.write_text(path.read_text().replace(PIPELINE.splitlines()[2], SETTINGS))
    assert {manifest["metadata"]["namespace"] for manifest in manifests(root)} == {"cars"}


def test_the_same_pipeline_is_the_same_version_and_another_is_another(root):
    assert not any(file.stale for file in generate_resources(root, "line"))
    (_, before), (_, other) = manifests(root), manifests(root, "other")
    change(root)
    pipeline, version = generate_resources(root, "line")
    assert (pipeline.stale, version.stale) == ((), ("it is of another version",))
    names = {each["metadata"]["name"] for each in (before, other, yaml.safe_load(version.text))}
    assert len(names) == 3


def test_a_version_before_its_pipeline_is_refused(server, root):
    _, version = manifests(root)
    with pytest.raises(RefusedError, match="doesn't map to an existing Pipeline"):
        server.apply(version)


def test_what_was_applied_runs_and_nothing_is_uploaded(server, connection, root):
    apply(server, root, "line", "other")
    submission = submit(connection, root, SubmitRequest("line", settings=["prepare.most=2"]), {})
    assert (submission.version.name, submission.version.new) == (
        manifests(root)[1]["metadata"]["name"],
        False,
    )
    assert not server.lines("/upload")
    (run,) = server.runs.values()
    assert run["runtime_config"]["parameters"]["prepare_most"] == 2
    assert run["runtime_config"]["parameters"]["revision"] == git(root, "rev-parse", "HEAD").strip()
    assert [found.id for found in remote_runs(connection, root, "line", 5)] == [submission.run.id]
    made = schedule.schedule(connection, root, SubmitRequest("line"), "0 3 * * 1", {})
    assert made.schedule.version_id == submission.version.version_id
    apply(server, root, "line", "other")
    assert len(server.versions) == 2


def test_what_is_not_applied_yet_is_uploaded_beside_it(server, connection, root):
    apply(server, root)
    change(root)
    submission = submit(connection, root, SubmitRequest("line"), {})
    assert submission.version.new
    assert len(server.pipelines) == 1
    assert (
        submit(connection, root, SubmitRequest("line"), {}).version.version_id
        == submission.version.version_id
    )


def test_without_manifests_pipelines_of_one_commit_get_versions_of_their_own(server, connection, root):
    submissions = [submit(connection, root, SubmitRequest(name), {}) for name in ("line", "other", "other")]
    assert len({submission.version.version_id for submission in submissions}) == 2
    assert [submission.version.new for submission in submissions] == [True, True, False]
