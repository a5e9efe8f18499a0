"""What a project lacks for what one may want to do next."""

import json

import pytest
from typer.testing import CliRunner

from nbship.cli.main import app
from nbship.errors import UsageError
from nbship.workflow.compile import compile_pipeline
from nbship.workflow.readiness import find_readiness
from tests.projects import PIPELINE, write_project
from tests.repositories import git, set_remote

SHARED = """\
image: registry.example.org/line
store: s3://models/line
kubeflow: {host: https://kubeflow.example.org, auth: token}
"""
KUBE_CONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "here",
    "contexts": [{"name": "here", "context": {"cluster": "here", "user": "ada"}}],
    "clusters": [{"name": "here", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "ada", "user": {}}],
}


@pytest.fixture
def root(project, monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    (project / "pipelines").rmdir()
    write_project(project, PIPELINE.replace("kubeflow: {repository: https://git.example.org/line.git}\n", ""))
    return project


def lacking(root, environment=None):
    return {
        each.purpose: [what for what, _ in each.lacking]
        for each in find_readiness(root, [], environment or {})
    }


def test_what_a_new_project_lacks(root):
    found = lacking(root)
    assert found["run"] == []
    assert found["publish --push"] == ["the pipeline file does not say what to publish", "Git has no remote"]
    assert found["submit"][:3] == [
        "no Kubeflow server is named",
        "image 'nbship' is in no registry that a cluster could pull it from",
        "there is no repository that a run could check out",
    ]
    assert found["submit"][3].startswith("pipelines/compiled/line.yaml is not current")
    assert [what.partition(":")[0] for what in found["deploy"]] == [
        *("no model store is named", "no version is published", "no cluster to deploy to")
    ]


def test_nothing_is_missing_once_it_is_set(root, tmp_path, monkeypatch):
    (root / "nbship.yaml").write_text(SHARED)
    with (root / "pipelines/line.yaml").open("a") as file:
        file.write("publish: {target: y, model: train-line.model, reference: prepare.rows}\n")
    compile_pipeline(root, "line").write()
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Begin")
    git(root, "remote", "add", "origin", "https://git.example.org/line.git")
    git(root, "tag", "--annotate", "--message", "First", "line@v1.0.0")
    set_remote(root, str(tmp_path))
    (tmp_path / "config").write_text(json.dumps(KUBE_CONFIG))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    found = lacking(root, {"NBSHIP_KUBEFLOW_TOKEN": "secret"})
    assert found == {"run": [], "publish --push": [], "submit": [], "deploy": []}
    assert len(lacking(root)["submit"]) == 1


def test_data_that_is_nowhere_and_modules_that_are_missing(root):
    (root / "data.csv").unlink()
    pipeline = root / "pipelines/line.yaml"
    pipeline.write_text(pipeline.read_text().replace(", source: {file: elsewhere.csv}", ""))
    train = root / "notebooks/train.ipynb"
    train.write_text(train.read_text().replace("import csv, json", "import csv, json, not_there"))
    assert lacking(root)["run"] == [
        "notebooks/train.ipynb, cell 3, line 1: imports not_there, which is not installed",
        "data.table: data.csv is not here, and DVC has no remote",
    ]


def test_a_folder_without_git(folder_without_git):
    (folder_without_git / "pipelines").rmdir()
    write_project(folder_without_git)
    assert lacking(folder_without_git)["run"] == ["no Git repository here"]


def test_a_pipeline_that_is_not_there(root):
    with pytest.raises(UsageError, match="there is no pipeline 'lime'"):
        find_readiness(root, ["lime"], {})


def test_the_command_says_it_and_shows_a_pipeline_as_before(root, monkeypatch):
    monkeypatch.chdir(root)
    checked = CliRunner().invoke(app, ["config", "check"]).stdout
    assert "  ✓ run\n" in checked
    assert "git remote add origin URL" in checked
    purposes = json.loads(CliRunner().invoke(app, ["config", "check", "--json"]).stdout)
    assert [each["purpose"] for each in purposes] == ["run", "publish --push", "submit", "deploy"]
    shown = [CliRunner().invoke(app, ["config", *words]).stdout for words in (["line"], ["show", "line"])]
    assert shown[0] == shown[1]
    assert shown[0].startswith("name: line")
    assert (
        json.loads(CliRunner().invoke(app, ["config", "--json", "line"]).stdout)["config"]["name"] == "line"
    )
