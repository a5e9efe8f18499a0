"""Which forge is asked, and what a CI job of it is about."""

import pytest

from nbship.ci import FORGES, Job, current_job, find_forge
from nbship.ci.gitlab import GITLAB, TOKEN


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({}, Job()),
        ({"CI": "true", "HOME": "/root"}, Job()),
        (
            {"GITLAB_CI": "true", "CI_PIPELINE_SOURCE": "push", "CI_COMMIT_BRANCH": "main",
             "CI_COMMIT_REF_NAME": "main", "CI_DEFAULT_BRANCH": "main", "CI_PROJECT_PATH": "group/cars",
             "CI_JOB_URL": "https://gitlab.example.org/1"},
            Job("push", "main", "main", default_branch="main", project="group/cars",
                artifacts="https://gitlab.example.org/1/artifacts/file"),
        ),
        (
            {"CI_PIPELINE_SOURCE": "merge_request_event", "CI_MERGE_REQUEST_IID": "5",
             "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "topic", "CI_COMMIT_REF_NAME": "refs/merge-requests/5",
             "CI_MERGE_REQUEST_TARGET_BRANCH_SHA": "", "CI_MERGE_REQUEST_DIFF_BASE_SHA": "abc",
             # Of a job that was run by hand.
             "CI_JOB_URL": "https://gitlab.example.org/1"},
            Job("merge request", head="topic", base="abc", number="5"),
        ),
        (
            {"CI_PIPELINE_SOURCE": "merge_request_event", "CI_MERGE_REQUEST_TARGET_BRANCH_SHA": "def",
             "CI_MERGE_REQUEST_DIFF_BASE_SHA": "abc"},
            Job("merge request", base="def"),
        ),
        ({"CI_PIPELINE_SOURCE": "schedule"}, Job("schedule")),
        ({"CI_PIPELINE_SOURCE": "web"}, Job("manual")),
        ({"CI_PIPELINE_SOURCE": "trigger"}, Job("push")),
    ],
)  # fmt: skip
def test_what_a_job_is_about(variables, job):
    assert current_job(variables) == job


class Other:
    """A forge that is not GitLab."""

    name, token = "Other", "OTHER_TOKEN"

    def job(self, environment):
        return Job("push") if environment.get("OTHER_CI") else None


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "GitLab"),
        ({TOKEN: "x"}, "GitLab"),
        ({"OTHER_TOKEN": "x"}, "Other"),
        ({"OTHER_TOKEN": "x", TOKEN: "x"}, "GitLab"),
        ({"OTHER_CI": "true", TOKEN: "x"}, "Other"),
        ({"GITLAB_CI": "true", "OTHER_TOKEN": "x"}, "GitLab"),
    ],
)
def test_the_forge_is_that_of_the_job_or_of_the_token(monkeypatch, variables, name):
    monkeypatch.setattr("nbship.ci.FORGES", (*FORGES, Other()))
    assert find_forge(variables).name == name


def test_a_forge_that_is_added_is_asked_for_the_job(monkeypatch):
    monkeypatch.setattr("nbship.ci.FORGES", (GITLAB, Other()))
    assert current_job({"OTHER_CI": "true"}) == Job("push")
