"""Which pipelines commits concern, and which trigger that is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nbship.errors import NbshipError, UsageError
from nbship.versions import trained
from nbship.workflow.changes import find_changes, record_trained
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
        (["nbship.yaml"], {"line": "maintenance", "other": "maintenance"}),
        (["src/nbship/gate.py"], {"line": "maintenance", "other": "maintenance"}),
        (["src/cars/features.py"], {}),
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
    append(root, "src/cars/names.py")
    commit(root)
    append(root, "notebooks/deeper.py", "from cars import names")
    commit(root)
    assert found(root) == {"line": "feature"}
    append(root, "src/cars/names.py")
    commit(root)
    assert found(root) == {"line": "feature"}


def test_the_files_are_named(root):
    for name in ("data.csv.dvc", "notebooks/train.ipynb", "src/nbship/x.py"):
        append(root, name)
    commit(root)
    change = next(change for change in find_changes(root, {}, "HEAD~1") if change.pipeline == "line")
    assert change.files == ("data.csv.dvc", "notebooks/train.ipynb", "src/nbship/x.py")


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


def test_a_merge_request_is_compared_with_what_it_is_merged_into(root):
    first = git(root, "rev-parse", "HEAD").strip()
    append(root, "notebooks/train.ipynb")
    second = commit(root)
    append(root, "data/other.csv.dvc")
    commit(root)
    base = {"CI_PIPELINE_SOURCE": "merge_request_event", "CI_MERGE_REQUEST_DIFF_BASE_SHA": first}
    assert found(root, "", **base) == {"line": "feature", "other": "data"}
    # In a pipeline for merged results, the target branch has gone on and is part of what runs.
    assert found(root, "", **base, CI_MERGE_REQUEST_TARGET_BRANCH_SHA=second) == {"other": "data"}


MAIN = {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main"}
BOTH = {"line": "feature", "other": "feature"}


@pytest.fixture
def pushed(root, tmp_path):
    """The project with a remote, in which nothing was trained yet."""
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    return root


def test_a_merge_is_compared_with_what_was_trained_last(pushed):
    assert found(pushed, "", **MAIN) == BOTH
    record_trained(pushed, "other", "HEAD")
    assert found(pushed, "", **MAIN) == {"line": "feature"}
    record_trained(pushed, "line", "HEAD")
    append(pushed, "notebooks/train.ipynb")
    first = commit(pushed)
    append(pushed, "data/other.csv.dvc")
    commit(pushed)
    # The pipeline of the first of the two merges failed, or was never run.
    assert found(pushed, "", **MAIN, CI_COMMIT_BEFORE_SHA=first) == {"line": "feature", "other": "data"}
    record_trained(pushed, "line", "HEAD")
    assert found(pushed, "", **MAIN) == {"other": "data"}


def test_a_job_that_had_to_wait_goes_back_behind_no_later_one(pushed):
    append(pushed, "notebooks/train.ipynb")
    later = commit(pushed)
    for name in BOTH:
        record_trained(pushed, name, "HEAD")
    git(pushed, "checkout", "--quiet", "HEAD~1")
    assert found(pushed, "", **MAIN) == {}
    record_trained(pushed, "line", "HEAD")
    assert trained.last_trained(pushed) == {"line": later, "other": later}


def test_after_a_rewritten_history_what_differs_is_trained(pushed, tmp_path):
    start = git(pushed, "rev-parse", "HEAD").strip()
    append(pushed, "notebooks/train.ipynb")
    commit(pushed)
    for name in BOTH:
        record_trained(pushed, name, "HEAD")
    git(pushed, "reset", "--quiet", "--hard", start)
    append(pushed, "data/other.csv.dvc")
    commit(pushed)
    git(pushed, "push", "--quiet", "origin", "HEAD:main")
    # As a job has it: a clone that never saw the commits that were thrown away.
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--branch", "main", str(tmp_path / "origin.git"), str(clone))
    project = clone / "project"
    assert found(project, "", **MAIN) == {"line": "feature", "other": "data"}
    record_trained(project, "line", "HEAD")
    assert found(project, "", **MAIN) == {"other": "data"}


def test_a_remote_that_takes_no_note_is_told(pushed, tmp_path):
    hook = tmp_path / "origin.git/hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no >&2; exit 1\n")
    hook.chmod(0o755)
    with pytest.raises(NbshipError, match="rejected the record that line was trained") as failed:
        record_trained(pushed, "line", "HEAD")
    assert "NBSHIP_GIT_TOKEN" in failed.value.hint


@pytest.mark.parametrize(("source", "trigger"), [("schedule", "schedule"), ("web", "manual")])
def test_what_no_commit_started_concerns_everything(root, source, trigger):
    before = MAIN | {"CI_PIPELINE_SOURCE": source}
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
