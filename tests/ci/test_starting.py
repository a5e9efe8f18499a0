"""Jobs are started by the forges' APIs: what is sent, what is told of an answer, and what is kept secret."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from nbship.ci.starting import Start, StartError, find_start, start_job
from nbship.errors import UsageError
from tests.chatops.trigger_server import GITHUB_TOKEN, TRIGGER_TOKEN, WORKFLOW, TriggerServer, serve
from tests.kubeflow_server import Fault

VARIABLES = {"NBSHIP_COMMENT_ID": "1244", "NBSHIP_COMMENT_NUMBER": "3"}


@pytest.fixture
def forge() -> Iterator[TriggerServer]:
    with serve(TriggerServer()) as running:
        yield running


@pytest.fixture
def gitlab(forge: TriggerServer) -> Start:
    environment = {"NBSHIP_GITLAB_URL": f"{forge.address}/", "NBSHIP_TRIGGER_TOKEN": TRIGGER_TOKEN}
    return find_start(environment, "gitlab", "group/cars", "", "")


@pytest.fixture
def github(forge: TriggerServer) -> Start:
    environment = {"NBSHIP_GITHUB_API": forge.address, "NBSHIP_GITHUB_TOKEN": GITHUB_TOKEN}
    return find_start(environment, "github", "octo/cars", "main", WORKFLOW)


def test_a_pipeline_is_started_with_variables(forge: TriggerServer, gitlab: Start) -> None:
    assert start_job(gitlab, VARIABLES) == f"{forge.address}/group/cars/-/pipelines/1"
    assert forge.started == [VARIABLES]
    assert TRIGGER_TOKEN not in str(forge.seen)


def test_a_workflow_is_started_with_inputs(forge: TriggerServer, github: Start) -> None:
    assert start_job(github, VARIABLES) == ""
    assert forge.started == [VARIABLES]


def test_in_a_job_its_own_token_starts_pipelines_of_the_default_branch() -> None:
    environment = {
        "CI_SERVER_URL": "https://gitlab.example.org",
        "CI_JOB_TOKEN": "job",
        "CI_DEFAULT_BRANCH": "trunk",
        "CI_SERVER_TLS_CA_FILE": "/ca.pem",
    }
    found = find_start(environment, "gitlab", "group/cars", "", "")
    api = "https://gitlab.example.org/api/v4"
    assert found == Start("gitlab", api, "group/cars", "trunk", "job", authority="/ca.pem")
    assert "job" not in repr(found)


@pytest.mark.parametrize(
    ("forge_name", "environment", "missing"),
    [
        ("gitlab", {}, "NBSHIP_GITLAB_URL"),
        ("gitlab", {"NBSHIP_GITLAB_URL": "https://g"}, "NBSHIP_TRIGGER_TOKEN"),
        ("github", {"NBSHIP_GITHUB_TOKEN": " "}, "NBSHIP_GITHUB_TOKEN"),
    ],
)
def test_what_is_not_told_is_asked_for(forge_name: str, environment: dict[str, str], missing: str) -> None:
    with pytest.raises(UsageError) as error:
        find_start(environment, forge_name, "group/cars", "main", "")
    assert missing in error.value.hint


@pytest.mark.parametrize(
    ("fault", "said", "after"),
    [
        (Fault("POST", status=429, headers={"Retry-After": "90"}), "too many requests (429)", 90),
        (Fault("POST", status=403, headers={"Retry-After": "30"}), "permission denied (403)", 30),
        (Fault("POST", status=503, headers={"Retry-After": "86400"}), "server error (503)", 3600),
        (Fault("POST", status=503, headers={"Retry-After": "Sat, 31 Jan 2026 12:00:00 GMT"}), "(503)", 60),
        (Fault("POST", status=502, body="<html>"), "server error (502)", 0),
        (Fault("POST", status=302, headers={"Location": "https://elsewhere.example.org"}), "redirects", 0),
        (Fault("POST", cut="before"), "no connection", 0),
        (Fault("POST", cut="after"), "no connection", 0),
    ],
)
def test_a_failure_is_told_and_not_repeated(
    forge: TriggerServer, gitlab: Start, fault: Fault, said: str, after: float
) -> None:
    forge.faults = [fault]
    with pytest.raises(StartError) as error:
        start_job(gitlab, VARIABLES)
    assert said in error.value.message and error.value.after == after
    assert len(forge.seen) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"token": "glptt-expired-hunter2"}, "not found, or not visible to this token (404)"),
        ({"branch": "gone"}, "Reference not found"),
        ({"project": "group/bikes"}, "(404)"),
    ],
)
def test_a_refusal_names_what_to_look_at_and_no_token(
    gitlab: Start, changes: dict[str, str], said: str
) -> None:
    start = replace(gitlab, **changes)  # type: ignore[arg-type]
    with pytest.raises(StartError) as error:
        start_job(start, VARIABLES)
    assert said in error.value.message
    assert start.token not in f"{error.value.message} {error.value.hint}"


def test_nobody_there_is_told() -> None:
    with pytest.raises(StartError, match="no connection"):
        start_job(Start("gitlab", "http://127.0.0.1:9/api/v4", "group/cars", "main", "t"), VARIABLES)
