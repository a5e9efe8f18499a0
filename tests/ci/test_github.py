"""GitHub's API, against a server on loopback that holds requests to what GitHub publishes, and may fail."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from nbship import ci
from nbship.ci import Job, github_client
from nbship.ci.github import GITHUB, Address, find_address, read_job
from nbship.errors import NbshipError, UsageError
from tests.github_server import REPOSITORY, TOKEN, GithubServer, serve
from tests.kubeflow_server import Fault

COMMIT = "c0ffee" + "0" * 34
MARK = "<!-- ours -->"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(github_client, "time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture
def server():
    with serve(GithubServer()) as running:
        running.add_pull(5, "topic", [COMMIT])
        yield running


@pytest.fixture
def project(server):
    return GITHUB.open(server.environment)


def pull_of(project):
    (found,) = project.open_merge_requests("topic")
    return found


def test_a_pull_request_is_opened_once(project, server):
    address = project.open_merge_request("retrain/cars", "main", "Retrain", "Why: ⚠️")
    assert project.open_merge_request("retrain/cars", "main", "Again", "") == address
    (pull,) = (each for each in server.pulls.values() if each["head"]["ref"] == "retrain/cars")
    assert (pull["title"], pull["body"], pull["html_url"]) == ("Retrain", "Why: ⚠️", address)


def test_a_pull_request_whose_answer_was_lost_is_found(project, server):
    server.faults.append(Fault("POST", cut="after"))
    assert project.open_merge_request("retrain/cars", "main", "Retrain", "").endswith("/pull/6")
    assert len(server.pulls) == 2


# Which repository.


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("https://github.com/octo/cars.git", ("https://api.github.com", "octo/cars")),
        ("https://x-access-token:secret@github.com/octo/cars", ("https://api.github.com", "octo/cars")),
        ("git@github.com:octo/cars.git", ("https://api.github.com", "octo/cars")),
        ("ssh://git@ssh.github.com:443/octo/cars.git", ("https://api.github.com", "octo/cars")),
        ("https://git.example.org:8443/octo/cars.git", ("https://git.example.org:8443/api/v3", "octo/cars")),
        ("git@git.example.org:octo/cars.git", ("https://git.example.org/api/v3", "octo/cars")),
    ],
)
def test_the_repository_of_an_address(repository, expected):
    assert find_address({}, repository) == Address(*expected)


@pytest.mark.parametrize(
    "repository", ["", "/srv/cars.git", "https://github.com/cars", "https://u:p@github.com/a/b/c"]
)
def test_an_address_of_no_repository(repository):
    with pytest.raises(UsageError, match="is not a GitHub repository") as caught:
        find_address({}, repository)
    assert "u:p@" not in caught.value.message


def test_the_repository_of_a_job_and_an_api_elsewhere():
    job = {"GITHUB_REPOSITORY": "octo/cars", "GITHUB_API_URL": "https://api.github.com"}
    assert find_address(job) == Address("https://api.github.com", "octo/cars")
    elsewhere = job | {"NBSHIP_GITHUB_API": "https://proxy.example.org/github/"}
    assert find_address(elsewhere).api == "https://proxy.example.org/github"


# What started a job.


@pytest.fixture
def job(tmp_path):
    def read(name, event, **variables):
        (tmp_path / "event.json").write_text(json.dumps(event))
        told = {"GITHUB_EVENT_PATH": str(tmp_path / "event.json"), "GITHUB_REPOSITORY": REPOSITORY}
        return read_job({"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": name, **told, **variables})

    return read


def test_a_job_of_a_pull_request(job):
    event = {
        "pull_request": {"number": 5, "base": {"sha": COMMIT, "ref": "trunk"}, "head": {"ref": "topic"}},
        "repository": {"default_branch": "trunk"},
    }
    variables = {"GITHUB_HEAD_REF": "topic", "GITHUB_REF_NAME": "5/merge"}
    assert job("pull_request", event, **variables) == Job(
        event="merge request",
        head="topic",
        base=COMMIT,
        default_branch="trunk",
        number="5",
        project=REPOSITORY,
    )


@pytest.mark.parametrize(
    ("name", "event"), [("push", "push"), ("schedule", "schedule"), ("workflow_dispatch", "manual")]
)
def test_a_job_of_a_branch(job, name, event):
    found = job(name, {"repository": {"default_branch": "trunk"}}, GITHUB_REF_NAME="trunk")
    assert (found.event, found.branch, found.head, found.number) == (event, "trunk", "trunk", "")


def test_no_job():
    assert read_job({"GITHUB_REPOSITORY": REPOSITORY}) is None
    assert read_job({"GITHUB_ACTIONS": "true"}).event == "push"


def test_it_is_found_by_its_job_and_by_its_token():
    assert ci.find_forge({"GITHUB_ACTIONS": "true"}) is GITHUB
    assert ci.find_forge({"NBSHIP_GITHUB_TOKEN": TOKEN}) is GITHUB
    assert ci.find_forge({}) is not GITHUB


# Statuses.


@pytest.mark.parametrize(
    ("state", "told"), [("succeeded", "success"), ("failed", "failure"), ("rejected", "failure")]
)
def test_a_status(server, project, state, told):
    project.set_status(COMMIT, state, "nbship/cars", "x" * 300, "https://kubeflow.example.org/1")
    status = server.statuses[COMMIT, "nbship/cars"]
    assert status["state"] == told
    assert status["description"] == "x" * 139 + "…"
    assert status["target_url"] == "https://kubeflow.example.org/1"


def test_a_status_without_a_link(server, project):
    project.set_status(COMMIT, "succeeded", "nbship/cars", "", "")
    assert "target_url" not in server.statuses[COMMIT, "nbship/cars"]


# Pull requests.


def test_open_pull_requests_of_a_branch_and_of_a_number(server, project):
    server.add_pull(6, "topic", [], state="closed")
    assert [each.number for each in project.open_merge_requests("topic")] == [5]
    assert project.open_merge_requests("other") == []
    assert [each.number for each in project.open_merge_requests("", "5")] == [5]
    assert project.open_merge_requests("", "6") == []


def test_pull_requests_of_a_commit(server, project):
    server.add_pull(6, "other", [COMMIT], state="closed", merged_at="2026-01-01T00:00:00Z")
    assert [each.number for each in project.merge_requests_of(COMMIT)] == [5]
    server.pulls[5]["state"] = "closed"
    assert [each.number for each in project.merge_requests_of(COMMIT)] == [6]


# The one comment.


@pytest.mark.parametrize(("user", "may_ask"), [("github-actions[bot]", False), ("ada", True)])
def test_one_comment_is_written_and_kept_up_to_date(server, project, user, may_ask):
    server.user, server.may_ask, server.page = user, may_ask, 2
    for number in range(5):
        server.add_comment(5, f"comment {number}", "eve")
    server.add_comment(5, f"{MARK} a trap", "eve")
    pull = pull_of(project)
    assert pull.read_note(MARK) == ""
    address = pull.write_note(MARK, f"{MARK} first")
    assert "#issuecomment-" in address
    assert pull.write_note(MARK, f"{MARK} second") == address
    assert pull.read_note(MARK) == f"{MARK} second"
    assert server.bodies(5)[-2:] == [f"{MARK} a trap", f"{MARK} second"]
    before = len(server.lines("PATCH"))
    pull.write_note(MARK, f"{MARK} second")
    assert len(server.lines("PATCH")) == before


def test_of_two_comments_one_stays(server, project):
    for text in ("one", "two"):
        server.add_comment(5, f"{MARK} {text}", server.user)
    pull_of(project).write_note(MARK, f"{MARK} three")
    assert server.bodies(5) == [f"{MARK} three"]


@pytest.mark.parametrize("cut", ["after", "before"])
def test_a_comment_is_not_made_twice_when_the_answer_is_lost(server, project, cut):
    server.faults.append(Fault("POST", cut=cut, times=1))
    try:
        pull_of(project).write_note(MARK, f"{MARK} text")
    except NbshipError:
        assert cut == "before"
    assert len(server.bodies(5)) == (cut == "after")


# Pictures.


def test_pictures_are_kept_on_a_branch_of_their_own(server):
    project = GITHUB.open({**server.environment, "NBSHIP_GITHUB_PICTURES": "nbship-pictures"})
    address = project.upload("cars-fit-1.png", b"\x89PNG")
    assert server.files == {"main": {}, "nbship-pictures": {"cars-fit-1.png": b"\x89PNG"}}
    assert address == f"https://github.com/{REPOSITORY}/blob/nbship-pictures/cars-fit-1.png?raw=true"
    puts = len(server.lines("PUT"))
    assert project.upload("cars-fit-1.png", b"\x89PNG") == address
    assert len(server.lines("PUT")) == puts
    project.upload("cars-fit-2.png", b"\x89PNG")
    assert len(server.lines("POST")) == 3  # the branch, once


def test_without_a_branch_pictures_go_nowhere(server, project):
    assert project.upload("cars.png", b"\x89PNG") == ""
    assert server.seen == []


# What goes wrong.


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", status=502),
        Fault("GET", status=429, times=2),
        Fault("GET", cut="before"),
        Fault("GET", status=403, headers={"x-ratelimit-remaining": "0"}),
    ],
)
def test_what_may_pass_is_tried_again(server, project, fault):
    server.faults.append(fault)
    assert [each.number for each in project.open_merge_requests("topic")] == [5]


@pytest.mark.parametrize(
    ("fault", "message", "hint"),
    [
        (
            Fault("GET", status=403, body='{"message": "Resource not accessible"}'),
            r"permission denied \(403\)",
            "NBSHIP",
        ),
        (Fault("GET", status=500, body="<html>", times=9), r"server error \(500\): <html>", "later"),
        (
            Fault("GET", status=422, body=json.dumps({"message": f"no {TOKEN}"})),
            "request refused .422.: no …",
            "correct",
        ),
        (Fault("GET", cut="before", times=9), "no connection", "network"),
    ],
)
def test_a_refusal_says_what_and_why_and_not_the_token(server, project, fault, message, hint):
    server.faults.append(fault)
    with pytest.raises(NbshipError, match=message) as caught:
        project.open_merge_requests("topic")
    assert hint in caught.value.hint
    assert TOKEN not in caught.value.message


def test_a_post_that_moved_is_no_success(server, project):
    server.faults.append(
        Fault("POST", status=307, body='{"message": "Moved"}', headers={"Location": "/other"})
    )
    with pytest.raises(NbshipError, match="307"):
        project.set_status(COMMIT, "succeeded", "nbship/cars", "", "")


def test_a_wrong_token_and_none(server):
    with pytest.raises(NbshipError, match=r"authentication failed \(401\)"):
        GITHUB.open({**server.environment, "NBSHIP_GITHUB_TOKEN": "other"}).open_merge_requests("topic")
    with pytest.raises(UsageError, match="there is no token"):
        GITHUB.open({**server.environment, "NBSHIP_GITHUB_TOKEN": ""})


def test_the_token_is_not_shown(project):
    assert TOKEN not in repr(project)
