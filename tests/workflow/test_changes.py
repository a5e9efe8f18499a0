"""Which pipelines commits concern, and which trigger that is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nbship.errors import NbshipError, UsageError
from nbship.workflow.changes import find_changes
from tests.projects import write_project
from tests.repositories import git, track

OTHER = """\
name: other
data: {table: {path: data/other.csv}}
steps:
  prepare: {notebook: notebooks/prepare.ipynb}
"""
COMMAND = [sys.executable, "-c", "from nbship.cli.main import main; main()", "changes"]


@pytest.fixture
def root(tmp_path):
    """A project in a part of a repository, with two pipelines that share a notebook."""
    folder = tmp_path / "repository/project"
    folder.mkdir(parents=True)
    write_project(folder)
    (folder / "pipelines/other.yaml").write_text(OTHER)
    track(folder, "data/other.csv", b"x,y\n")
    git(folder.parent, "init", "--quiet")
    commit(folder)
    return folder


def commit(root):
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "Change")
    return git(root, "rev-parse", "HEAD").strip()


def append(root, name, text="\n"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)


def found(root, base="HEAD~1", **environment):
    return {change.pipeline: change.trigger for change in find_changes(root, environment, base)}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], {}),
        (["README.md", "../README.md", "notebooks/experiment.ipynb", "notebooks/unused.py"], {}),
        (["models/line/model.joblib.dvc", "models/line/model.json", "pipelines/compiled/line.yaml"], {}),
        (["notebooks/train.ipynb"], {"line": "feature"}),
        (["notebooks/prepare.ipynb"], {"line": "feature", "other": "feature"}),
        (["pipelines/other.yaml"], {"other": "feature"}),
        (["data.csv.dvc"], {"line": "data"}),
        (["data/other.csv.dvc", "notebooks/train.ipynb"], {"line": "feature", "other": "data"}),
        (["data.csv.dvc", "notebooks/train.ipynb", "Dockerfile"], {"line": "data", "other": "maintenance"}),
        (["requirements.lock"], {"line": "maintenance", "other": "maintenance"}),
        (["src/nbship/gate.py"], {"line": "maintenance", "other": "maintenance"}),
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_what_changed_names_the_trigger(root, files, expected):
    for name in files:
        append(root, name)
    commit(root)
    assert found(root) == expected


def test_code_that_a_notebook_uses_belongs_to_it(root):
    path = root / "notebooks/train.ipynb"
    path.write_text(path.read_text().replace("import csv, json", "import csv, json, slopes"))
    append(root, "notebooks/slopes.py", "import deeper")
    commit(root)
    append(root, "notebooks/deeper.py")
    commit(root)
    assert found(root) == {"line": "feature"}


def test_the_files_are_named(root):
    for name in ("data.csv.dvc", "notebooks/train.ipynb", "src/x.py"):
        append(root, name)
    commit(root)
    change = next(change for change in find_changes(root, {}, "HEAD~1") if change.pipeline == "line")
    assert change.files == ("data.csv.dvc", "notebooks/train.ipynb", "src/x.py")


def test_what_the_target_branch_got_meanwhile_does_not_count(root):
    git(root, "switch", "--quiet", "--create", "topic")
    append(root, "notebooks/train.ipynb")
    commit(root)
    git(root, "switch", "--quiet", "main")
    append(root, "data/other.csv.dvc")
    commit(root)
    git(root, "switch", "--quiet", "topic")
    assert found(root, "main") == {"line": "feature"}


def test_only_the_pipelines_that_are_named(root):
    append(root, "notebooks/prepare.ipynb")
    commit(root)
    assert [change.pipeline for change in find_changes(root, {}, "HEAD~1", ["other"])] == ["other"]
    with pytest.raises(UsageError, match="there is no pipeline 'othre'") as failed:
        find_changes(root, {}, "HEAD~1", ["othre"])
    assert "other" in failed.value.hint


# What GitLab says.


def test_ci_names_the_commit_to_compare_with(root):
    first = git(root, "rev-parse", "HEAD").strip()
    append(root, "notebooks/train.ipynb")
    second = commit(root)
    append(root, "data/other.csv.dvc")
    commit(root)
    assert found(root, "", CI_COMMIT_BEFORE_SHA=second) == {"other": "data"}
    both = {"CI_MERGE_REQUEST_DIFF_BASE_SHA": first, "CI_COMMIT_BEFORE_SHA": "0" * 40}
    assert found(root, "", **both) == {"line": "feature", "other": "data"}


def test_a_branch_that_is_new_concerns_everything(root):
    assert found(root, "", CI_COMMIT_BEFORE_SHA="0" * 40) == {"line": "feature", "other": "feature"}


@pytest.mark.parametrize(("source", "trigger"), [("schedule", "schedule"), ("web", "manual")])
def test_what_no_commit_started_concerns_everything(root, source, trigger):
    before = {"CI_PIPELINE_SOURCE": source, "CI_COMMIT_BEFORE_SHA": "0" * 40}
    assert found(root, "", **before) == {"line": trigger, "other": trigger}
    assert [change.pipeline for change in find_changes(root, before, names=["line"])] == ["line"]


def test_without_ci_the_default_branch_of_origin_counts(root, tmp_path):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(root.parent), str(clone))
    git(clone, "switch", "--quiet", "--create", "topic")
    append(clone / "project", "data.csv.dvc")
    commit(clone)
    assert found(clone / "project", "") == {"line": "data"}
    assert found(clone / "project", "", CI_DEFAULT_BRANCH="main") == {"line": "data"}


@pytest.mark.parametrize("base", ["", "nowhere", "--all"])
def test_a_commit_that_is_not_there(root, base):
    with pytest.raises(UsageError, match="Git knows no revision"):
        find_changes(root, {}, base)


def test_without_git(tmp_path):
    write_project(tmp_path)
    with pytest.raises(NbshipError, match="no Git repository"):
        find_changes(tmp_path, {})


# The command.


def test_the_command_prints_a_line_for_each_pipeline(root):
    append(root, "notebooks/prepare.ipynb")
    append(root, "data/other.csv.dvc")
    commit(root)
    options = {"cwd": root, "capture_output": True, "text": True, "check": True}
    done = subprocess.run([*COMMAND, "--base", "HEAD~1"], **options)
    assert done.stdout == "line feature\nother data\n"
    told = json.loads(subprocess.run([*COMMAND, "--base", "HEAD~1", "--json"], **options).stdout)
    assert told[0] == {"pipeline": "line", "trigger": "feature", "files": ["notebooks/prepare.ipynb"]}
    assert subprocess.run([*COMMAND, "--base", "HEAD"], **options).stdout == ""
