"""GitLab's API through python-gitlab, against a server on loopback that may fail."""

from __future__ import annotations

import ssl
import sys
import time
from types import SimpleNamespace

import gitlab.utils
import pytest

from nbship.ci import gitlab_client as room
from nbship.ci.gitlab import (
    Address,
    find_address,
    merge_requests_of,
    open_merge_request,
    open_merge_requests,
    open_project,
    read_note,
    set_status,
    upload,
    write_note,
)
from nbship.errors import NbshipError, UsageError
from tests.certificates import authority_and_certificate
from tests.gitlab_server import PROJECT, TOKEN, GitlabServer, serve
from tests.kubeflow_server import Fault

COMMIT = "c0ffee" + "0" * 34
MARK = "<!-- ours -->"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    hurried = SimpleNamespace(sleep=lambda seconds: None, time=time.time)
    for module in (gitlab.utils, room):
        monkeypatch.setattr(module, "time", hurried)


@pytest.fixture
def server():
    with serve(GitlabServer()) as running:
        running.add_merge_request(5, "topic", [COMMIT])
        yield running


@pytest.fixture
def project(server):
    return open_project(server.environment)


def notes_of(project):
    (merge_request,) = open_merge_requests(project, "topic")
    return merge_request


@pytest.mark.parametrize("fault", [None, Fault("POST", cut="after"), Fault("POST", status=502)])
def test_a_merge_request_is_opened_once(project, server, fault):
    server.faults += [fault] if fault else []
    address = open_merge_request(project, "retrain/cars", "main", "Retrain", "Why: ⚠️")
    assert open_merge_request(project, "retrain/cars", "main", "Again", "") == address
    (found,) = (m for m in server.merge_requests.values() if m["source_branch"] == "retrain/cars")
    told = (found["target_branch"], found["title"], found["description"], found["web_url"])
    assert told == ("main", "Retrain", "Why: ⚠️", address)


# Which project.


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("https://gitlab.example.org/group/cars.git", ("https://gitlab.example.org", "group/cars")),
        ("https://gitlab.example.org/group/sub/cars", ("https://gitlab.example.org", "group/sub/cars")),
        (
            "https://oauth2:secret@gitlab.example.org:8443/a/b.git/",
            ("https://gitlab.example.org:8443", "a/b"),
        ),
        ("http://localhost:8080/a/b.git", ("http://localhost:8080", "a/b")),
        ("git@gitlab.example.org:group/cars.git", ("https://gitlab.example.org", "group/cars")),
        ("ssh://git@gitlab.example.org:2222/group/cars.git", ("https://gitlab.example.org", "group/cars")),
    ],
)
def test_the_project_of_a_repository(repository, expected):
    assert find_address({}, repository) == Address(*expected)


@pytest.mark.parametrize(
    "repository", ["", "/srv/git/cars.git", "file:///srv/git/cars.git", "https://gitlab.example.org/cars.git"]
)
def test_a_repository_that_is_no_project(repository):
    with pytest.raises(UsageError, match="is not a GitLab project"):
        find_address({}, repository)


def test_an_error_shows_no_password():
    with pytest.raises(UsageError) as failed:
        find_address({}, "https://ada:hunter2@gitlab.example.org/")
    assert "hunter2" not in str(failed.value)


def test_ci_names_the_project_and_a_setting_the_server():
    variables = {"CI_SERVER_URL": "https://git.example.org/lab", "CI_PROJECT_PATH": "a/b"}
    assert find_address(variables) == Address("https://git.example.org/lab", "a/b")
    setting = {"NBSHIP_GITLAB_URL": "https://git.example.org/lab/"}
    address = find_address({**variables, **setting}, "https://git.example.org/lab/c/d.git")
    assert address == Address("https://git.example.org/lab", "c/d")


def test_without_a_token_nothing_is_sent(server):
    with pytest.raises(UsageError, match="no token") as failed:
        open_project({**server.environment, "NBSHIP_GITLAB_TOKEN": " "})
    assert "NBSHIP_GITLAB_TOKEN" in failed.value.hint
    assert server.seen == []


def test_the_extra_may_be_missing(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "gitlab", None)
    with pytest.raises(NbshipError) as failed:
        open_project(server.environment)
    assert failed.value.hint == "pip install 'nbship[gitlab]'"


# The commit's status.


def test_a_status_is_set_and_changed(server, project):
    set_status(project, COMMIT, "failed", "nbship/cars", "too slow", "https://kubeflow.example.org/1")
    set_status(project, COMMIT, "success", "nbship/cars", "x" * 300, "")
    status = server.statuses[COMMIT, "nbship/cars"]
    assert status["state"] == "success"
    assert status["description"] == "x" * 254 + "…"
    assert "target_url" not in status


def test_a_status_that_is_set_already_is_no_error(server, project):
    for _ in range(2):
        set_status(project, COMMIT, "success", "nbship/cars", "well", "")
    assert server.statuses[COMMIT, "nbship/cars"]["state"] == "success"


# Merge requests.


def test_only_open_merge_requests_of_this_project_count(server, project):
    server.add_merge_request(6, "topic", [], state="merged")
    server.add_merge_request(7, "topic", [], source_project_id=2)
    server.add_merge_request(8, "other", [])
    server.add_merge_request(9, "topic", [])
    assert [each.iid for each in open_merge_requests(project, "topic")] == [5, 9]
    assert open_merge_requests(project, "unknown") == []


def test_all_pages_are_read(server, project):
    server.page = 3
    for number in range(10, 30):
        server.add_merge_request(number, "topic", [COMMIT])
    assert len(open_merge_requests(project, "topic")) == 21
    assert len(merge_requests_of(project, COMMIT)) == 21


def test_the_merge_request_that_ci_names(server, project):
    assert [each.iid for each in open_merge_requests(project, "whatever", "5")] == [5]
    server.merge_requests[5]["state"] = "closed"
    assert open_merge_requests(project, "topic", "5") == []


def test_a_commit_is_told_of_where_it_is_open_or_else_where_it_came_from(server, project):
    server.add_merge_request(6, "old", [COMMIT], state="merged")
    server.add_merge_request(7, "older", [COMMIT], state="closed")
    assert [each.iid for each in merge_requests_of(project, COMMIT)] == [5]
    server.merge_requests[5]["state"] = "merged"
    assert [each.iid for each in merge_requests_of(project, COMMIT)] == [5]
    assert merge_requests_of(project, "d" * 40) == []


# The note.


def test_a_note_is_written_once_and_then_changed(server, project):
    address = write_note(notes_of(project), MARK, f"{MARK} one")
    assert address == f"{server.address}/{PROJECT}/-/merge_requests/5#note_{server.notes[5][0]['id']}"
    assert write_note(notes_of(project), MARK, f"{MARK} two") == address
    assert server.bodies(5) == [f"{MARK} two"]
    assert read_note(notes_of(project), MARK) == f"{MARK} two"


def test_a_note_that_stays_the_same_is_not_sent_again(server, project):
    for _ in range(2):
        write_note(notes_of(project), MARK, f"{MARK} one")
    assert server.lines("PUT") == []


def test_the_note_is_found_among_many(server, project):
    server.page = 2
    for number in range(7):
        server.add_note(5, f"note {number}", author=3)
    server.add_note(5, f"{MARK} ours", server.user)
    server.add_note(5, "looks good", author=3)
    write_note(notes_of(project), MARK, f"{MARK} new")
    assert server.bodies(5)[7] == f"{MARK} new"
    assert len(server.bodies(5)) == 9


def test_what_somebody_else_wrote_is_not_ours(server, project):
    theirs = [f"{MARK} imitated", f"> {MARK} quoted"]
    for body in theirs:
        server.add_note(5, body, author=3)
    assert read_note(notes_of(project), MARK) == ""
    write_note(notes_of(project), MARK, f"{MARK} ours")
    assert server.bodies(5) == [*theirs, f"{MARK} ours"]


def test_of_two_notes_of_ours_one_stays(server, project):
    for number in range(2):
        server.add_note(5, f"{MARK} {number}", server.user)
    write_note(notes_of(project), MARK, f"{MARK} new")
    assert server.bodies(5) == [f"{MARK} new"]


def test_a_note_that_another_job_deleted_is_no_error(server, project):
    for number in range(2):
        server.add_note(5, f"{MARK} {number}", server.user)
    server.faults.append(Fault("DELETE", status=404))
    write_note(notes_of(project), MARK, f"{MARK} new")
    assert server.bodies(5)[0] == f"{MARK} new"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST /api/v4/projects/1/merge_requests/5/notes", cut="after"),
        Fault("POST /api/v4/projects/1/merge_requests/5/notes", cut="before", times=2),
        Fault("POST /api/v4/projects/1/merge_requests/5/notes", status=502),
        Fault("POST /api/v4/projects/1/merge_requests/5/notes", status=429),
    ],
    ids=["answer lost", "request lost", "gateway", "busy"],
)
def test_a_doubtful_note_is_not_made_twice(server, project, fault):
    server.faults.append(fault)
    write_note(notes_of(project), MARK, f"{MARK} ours")
    assert server.bodies(5) == [f"{MARK} ours"]


# Uploads.


@pytest.mark.parametrize(
    "fault", [Fault("none"), Fault("uploads", status=503, times=2), Fault("uploads", cut="before")]
)
def test_an_upload_arrives_whole(server, project, fault):
    server.faults.append(fault)
    address = upload(project, "plot-1.png", b"\x89PNG" * 1000)
    assert address.endswith("/plot-1.png")
    assert server.uploads == {address: b"\x89PNG" * 1000}


# Failures.


@pytest.mark.parametrize(
    ("status", "message", "hint"),
    [
        (401, "authentication failed", "NBSHIP_GITLAB_TOKEN"),
        (403, "permission denied", "scope api"),
        (404, "not found, or not visible", "Developer"),
        (409, "request refused", "correct"),
        (500, "server error", "later"),
    ],
)
def test_a_refusal_says_what_to_do(server, project, status, message, hint):
    server.faults.append(Fault("", status=status, body='{"message": "no\\nway"}', times=1000))
    with pytest.raises(NbshipError, match=message) as failed:
        set_status(project, COMMIT, "success", "nbship/cars", "", "")
    assert f"({status}): no way" in failed.value.message
    assert hint in failed.value.hint


def test_passing_failures_pass(server, project):
    server.faults += [Fault("GET", status=status) for status in (429, 500, 502, 503)]
    server.faults += [Fault("GET", cut="before")]
    assert notes_of(project).iid == 5


def test_no_error_shows_the_token(server, project):
    server.faults.append(Fault("", status=403, body=f'{{"message": "token {TOKEN} is too old"}}', times=9))
    with pytest.raises(NbshipError) as failed:
        notes_of(project)
    assert TOKEN not in str(failed.value)


def test_a_token_that_is_wrong(server):
    with pytest.raises(NbshipError, match="authentication failed"):
        open_project({**server.environment, "NBSHIP_GITLAB_TOKEN": "wrong"})


def test_a_project_that_is_not_there(server):
    with pytest.raises(NbshipError, match="not found, or not visible"):
        open_project({**server.environment, "CI_PROJECT_PATH": "group/carts"})


def test_a_server_that_is_not_there(server):
    with pytest.raises(NbshipError, match="no connection"):
        open_project({**server.environment, "NBSHIP_GITLAB_URL": "http://127.0.0.1:1"})


def test_a_server_that_does_not_answer(server, monkeypatch):
    monkeypatch.setattr(room, "_TIMEOUT", 0.05)
    server.faults.append(Fault("", slow=0.5, times=1000))
    monkeypatch.setattr(gitlab.utils.Retry, "handle_retry", lambda self: False)
    with pytest.raises(NbshipError, match="no answer in time"):
        open_project(server.environment)


def test_the_token_does_not_follow_to_another_host(server, project):
    with serve(GitlabServer()) as other:
        elsewhere = other.address.replace("localhost", "127.0.0.1") + "/api/v4/user"
        server.faults.append(Fault("GET", status=302, body="", headers={"Location": elsewhere}))
        with pytest.raises(NbshipError, match="401"):
            notes_of(project)
    assert other.seen


def test_a_private_authority(tmp_path):
    authority, certificate = authority_and_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with serve(GitlabServer(), tls) as server:
        server.add_merge_request(5, "topic", [])
        for variable in ("NBSHIP_GITLAB_CA", "CI_SERVER_TLS_CA_FILE"):
            known = open_project({**server.environment, variable: str(authority)})
            assert notes_of(known).iid == 5
        with pytest.raises(NbshipError, match="not trusted") as failed:
            open_project(server.environment)
    assert "NBSHIP_GITLAB_CA" in failed.value.hint
