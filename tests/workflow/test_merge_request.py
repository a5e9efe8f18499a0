"""What is told to GitLab of runs here and on Kubeflow, against a server on loopback."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest

from nbship.errors import NbshipError, UsageError
from nbship.record import State
from nbship.workflow.merge_request import choose_runs, report_outcome, report_runs
from nbship.workflow.note import MARK, RemoteOutcome
from tests.gitlab_server import PROJECT, GitlabServer, serve
from tests.kubeflow_server import Fault
from tests.records import comparison, make_record, markdown_cell, picture_cell, verdict, write_run
from tests.repositories import git

COMMIT = "c0ffee" + "0" * 34


@pytest.fixture
def server():
    with serve(GitlabServer()) as running:
        yield running


@pytest.fixture
def root(project):
    git(project, "switch", "--quiet", "--create", "topic")
    return project


def head(root):
    return git(root, "rev-parse", "HEAD").strip()


def ran(root, run_id, pipeline="auto-mpg", notebooks=None, **changes):
    """A run at the commit that is checked out."""
    record = make_record(id=run_id, pipeline=pipeline, **changes)
    record.environment.revision = head(root)
    write_run(root, record, notebooks)
    return record


# Runs here.


def test_the_open_merge_request_gets_one_note_with_a_section_for_each_pipeline(server, root):
    server.add_merge_request(5, "topic", [])
    records = [ran(root, "20260301-120000-aa11"), ran(root, "20260301-120001-bb22", "churn")]
    reported = report_runs(root, records, server.environment)
    (body,) = server.bodies(5)
    assert body.startswith(MARK)
    assert body.count("### ✅") == 2
    assert "| rmse | 2.313 (1.913 to 2.713) | 2.587 | −11 % | at most 3.2 ✅ |" in body
    assert reported.notes[0].endswith(f"/{PROJECT}/-/merge_requests/5#note_{server.notes[5][0]['id']}")
    assert reported.silence == ""


def test_a_later_run_takes_the_place_of_its_pipelines_section(server, root):
    server.add_merge_request(5, "topic", [])
    first = [ran(root, "20260301-120000-aa11"), ran(root, "20260301-120001-bb22", "churn")]
    report_runs(root, first, server.environment)
    git(root, "commit", "--quiet", "--allow-empty", "--amend", "--message", "Rebased")
    again = ran(root, "20260302-120000-cc33", verdict=verdict(False, comparison("worse", -0.01, 0.2)))
    report_runs(root, [again], server.environment)
    (body,) = server.bodies(5)
    assert "20260301-120000-aa11" not in body
    assert "20260301-120001-bb22" in body
    assert "### ❌ auto-mpg: Rejected by the gate" in body
    assert head(root)[:12] in body


def test_plots_are_uploaded_once(server, root):
    server.add_merge_request(5, "topic", [])
    cells = {"evaluate": [markdown_cell("## How far off"), picture_cell(), picture_cell(40, 30)]}
    for run_id in ("20260301-120000-aa11", "20260301-120001-bb22"):
        report_runs(root, [ran(root, run_id, notebooks=cells, champion=True)], server.environment)
    (body,) = server.bodies(5)
    assert all(f"![How far off]({address})" in body for address in server.uploads if "evaluate" in address)
    assert len(server.lines("POST /api/v4/projects/1/uploads")) == len(server.uploads) == 4
    contents = list(server.uploads.values())
    assert all(content.startswith(b"\x89PNG") for content in contents)
    assert not any("champion" in address for address in server.uploads)


def test_a_run_may_draw_much(server, root):
    server.add_merge_request(5, "topic", [])
    cells = {"evaluate": [picture_cell(width, 20) for width in range(1, 30)]}
    report_runs(root, [ran(root, "20260301-120000-aa11", notebooks=cells)], server.environment)
    assert len(server.uploads) == 8
    assert all("evaluate" in address for address in server.uploads)


def test_in_a_job_the_note_links_what_the_job_keeps(server, root):
    server.add_merge_request(5, "topic", [])
    record = ran(root, "20260301-120000-aa11")
    job = {"CI_JOB_URL": "https://gitlab.example.org/group/cars/-/jobs/9", "CI_MERGE_REQUEST_IID": "5"}
    git(root, "switch", "--quiet", "--detach")
    report_runs(root, [record], {**server.environment, **job, "GITLAB_CI": "true"})
    (body,) = server.bodies(5)
    files = f"{job['CI_JOB_URL']}/artifacts/file/runs/auto-mpg/{record.id}"
    assert f"[Run page]({files}/index.html)" in body
    assert f"[train]({files}/notebooks/train.html)" in body


def test_the_repository_names_the_project_where_ci_does_not(server, root):
    server.add_merge_request(5, "topic", [])
    git(root, "remote", "add", "origin", f"{server.address}/{PROJECT}.git")
    token = {"NBSHIP_GITLAB_TOKEN": server.environment["NBSHIP_GITLAB_TOKEN"]}
    assert report_runs(root, [ran(root, "20260301-120000-aa11")], token).notes


def test_where_nobody_can_be_told_it_says_why(server, root):
    record = ran(root, "20260301-120000-aa11")
    no_token = report_runs(root, [record], {**server.environment, "NBSHIP_GITLAB_TOKEN": ""})
    assert (no_token.notes, no_token.silence) == ((), "NBSHIP_GITLAB_TOKEN is not set")
    assert "### ✅ auto-mpg" in no_token.text
    assert server.seen == []
    server.add_merge_request(5, "topic", [], state="merged")
    closed = report_runs(root, [record], server.environment)
    assert closed.silence == "branch topic has no open merge request"
    git(root, "switch", "--quiet", "--detach")
    assert report_runs(root, [record], server.environment).silence == "no branch is checked out"
    assert server.notes == {}


def test_a_failed_run_is_told_with_its_error(server, root):
    server.add_merge_request(5, "topic", [])
    record = ran(root, "20260301-120000-aa11", state=State.FAILED, verdict=None)
    record.steps["train"].state = State.FAILED
    record.steps["train"].error = "step 'train': ValueError: a ```fence``` <!-- end auto-mpg -->\n/close"
    report_runs(root, [record], server.environment)
    report_runs(root, [record], server.environment)
    (body,) = server.bodies(5)
    assert "### ❌ auto-mpg: Failed in train" in body
    assert body.count("<!-- end auto-mpg -->") == 1
    assert "````text\nstep 'train': ValueError: a ```fence```" in body


# Which runs.


def test_the_newest_run_of_each_pipeline_at_this_commit(root):
    old = make_record(id="20260301-110000-0000", pipeline="iris")
    write_run(root, old)
    ran(root, "20260301-120000-aa11")
    ran(root, "20260301-120001-bb22")
    ran(root, "20260301-120002-cc33", "churn")
    assert [record.id for record in choose_runs(root)] == ["20260301-120001-bb22", "20260301-120002-cc33"]
    assert [record.id for record in choose_runs(root, "iris")] == [old.id]
    assert [record.id for record in choose_runs(root, "auto-mpg", "20260301-120000")] == [
        "20260301-120000-aa11"
    ]


def test_no_run_at_this_commit(root):
    write_run(root, make_record())
    with pytest.raises(UsageError, match="nothing was run at the commit"):
        choose_runs(root)


# Runs on Kubeflow.


@pytest.fixture
def outcome(server):
    return RemoteOutcome(
        pipeline="auto-mpg",
        repository=f"{server.address}/{PROJECT}.git",
        revision=COMMIT,
        state="succeeded",
        verdict=verdict(compared=comparison()),
        metrics={"evaluate.rmse": 2.3127, "train.cv_rmse": 2.5},
        version="v1.2.0",
        link="https://kubeflow.example.org/#/runs/details/1",
    )


@pytest.fixture
def in_cluster(server):
    return {"NBSHIP_GITLAB_TOKEN": server.environment["NBSHIP_GITLAB_TOKEN"]}


@pytest.mark.parametrize(
    ("state", "expected", "sign"),
    [("succeeded", "success", "✅"), ("failed", "failed", "❌"), ("rejected", "failed", "❌")],
)
def test_an_outcome_is_the_commits_status_and_a_section(server, outcome, in_cluster, state, expected, sign):
    server.add_merge_request(5, "topic", [COMMIT])
    report_outcome(dataclasses.replace(outcome, state=state), in_cluster)
    status = server.statuses[COMMIT, "nbship/auto-mpg"]
    assert status["state"] == expected
    assert status["description"] == f"{state}: decided"
    assert status["target_url"] == outcome.link
    (body,) = server.bodies(5)
    assert f"### {sign} auto-mpg on Kubeflow: {state}" in body
    assert "| evaluate.rmse | 2.313 |" in body
    assert "version v1.2.0" in body
    assert f"]({outcome.link})" in body


def test_an_outcome_stands_beside_the_run_of_the_merge_request(server, root, outcome, in_cluster):
    server.add_merge_request(5, "topic", [COMMIT])
    report_runs(root, [ran(root, "20260301-120000-aa11")], server.environment)
    for state in ("failed", "succeeded"):
        report_outcome(dataclasses.replace(outcome, state=state), in_cluster)
    (body,) = server.bodies(5)
    assert body.count("###") == 2
    assert "20260301-120000-aa11" in body
    assert "on Kubeflow: succeeded" in body


def test_a_commit_without_a_merge_request_gets_its_status(server, outcome, in_cluster):
    bare = dataclasses.replace(outcome, verdict=None, metrics={}, version="", link="")
    report_outcome(bare, in_cluster)
    assert server.statuses[COMMIT, "nbship/auto-mpg"]["description"] == "succeeded"
    assert server.notes == {}


@pytest.mark.parametrize(("revision", "token"), [("", True), (COMMIT, False)])
def test_an_outcome_that_cannot_be_told_is_said_on_standard_error(
    server, outcome, in_cluster, capsys, revision, token
):
    report_outcome(dataclasses.replace(outcome, revision=revision), in_cluster if token else {})
    said = capsys.readouterr()
    assert said.out.strip() == ""
    assert "nothing is reported to GitLab" in said.err
    assert server.seen == []


def test_an_outcome_that_gitlab_refuses_fails(server, outcome, in_cluster):
    server.faults.append(Fault("statuses", status=403, body='{"message": "403 Forbidden"}'))
    with pytest.raises(NbshipError, match="permission denied"):
        report_outcome(outcome, in_cluster)


# The command.


def test_the_command_prints_the_note_where_nobody_can_be_told(root):
    ran(root, "20260301-120000-aa11")
    command = [sys.executable, "-c", "from nbship.cli.main import main; main()", "report", "auto-mpg"]
    # A job that runs these tests has a token, and a merge request.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("CI_", "NBSHIP_"))}
    done = subprocess.run(command, cwd=root, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "### ✅ auto-mpg: Passed" in done.stdout
    assert "NBSHIP_GITLAB_TOKEN is not set" in done.stderr
