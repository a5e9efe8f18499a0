"""Git's remote: where a push goes, which versions it has, and with which credentials it is asked."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.errors import NbshipError
from nbship.versions import git, upstream
from nbship.versions.upstream import Upstream
from tests.repositories import git as run_git


@pytest.fixture
def origin(project: Path, tmp_path: Path) -> Path:
    run_git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    run_git(project, "remote", "add", "origin", "../origin.git")
    run_git(project, "push", "--quiet", "origin", "main", "main:release")
    return tmp_path / "origin.git"


def test_the_branch_that_is_pushed_to(project: Path, origin: Path) -> None:
    assert upstream.find(project) == Upstream("origin", "main")
    assert upstream.find(project, "release") == Upstream("origin", "release")
    run_git(project, "switch", "--quiet", "--create", "mine", "--track", "origin/release")
    assert upstream.find(project) == Upstream("origin", "release")
    run_git(project, "checkout", "--quiet", "--detach")
    assert upstream.find(project) == Upstream("origin", "main")
    assert str(upstream.find(project, built="release")) == "origin/release"


def test_the_remote_that_is_pushed_to(project: Path, origin: Path) -> None:
    run_git(project, "remote", "rename", "origin", "company")
    assert upstream.find(project).remote == "company"
    run_git(project, "remote", "add", "fork", "../fork.git")
    run_git(project, "config", "branch.main.remote", "fork")
    run_git(project, "config", "branch.main.merge", "refs/heads/main")
    assert upstream.find(project).remote == "fork"


def test_a_remote_that_cannot_be_asked(project: Path, origin: Path) -> None:
    run_git(project, "remote", "set-url", "origin", "http://ada:hunter2@127.0.0.1:9/origin.git")
    with pytest.raises(NbshipError, match="cannot read from the remote 'origin'") as failure:
        upstream.fetch_state(project, Upstream("origin", "main"), "line")
    assert "127.0.0.1" in failure.value.details
    assert "hunter2" not in failure.value.details


def test_what_a_remote_has(project: Path, origin: Path) -> None:
    head = run_git(project, "rev-parse", "HEAD").strip()
    run_git(project, "tag", "line@v1.0.0", "--message", "First")
    run_git(project, "tag", "line@v1.0.0!", "--message", "Withdrawn")
    run_git(project, "tag", "other@v2.0.0", "--message", "Another model")
    run_git(project, "push", "--quiet", "--tags")
    remote = upstream.fetch_state(project, Upstream("origin", "main"), "line")
    assert remote.head == head
    assert {name: tag.commit for name, tag in remote.tags.items()} == {
        "line@v1.0.0": head,
        "line@v1.0.0!": head,
    }
    assert remote.tags["line@v1.0.0"].object == run_git(project, "rev-parse", "line@v1.0.0").strip()
    assert upstream.newest_first("line", remote.tags) == ["line@v1.0.0"]


@given(st.sets(st.tuples(*[st.integers(0, 30)] * 3), min_size=1))
def test_versions_are_ordered_as_numbers(numbers: set[tuple[int, int, int]]) -> None:
    tags = ["line@v{}.{}.{}".format(*each) for each in numbers]
    noise = ["line@v1", "line#prod#1", "line@v1.2.3!", "online@v9.9.9", "line@v1.2.3-rc1"]
    expected = ["line@v{}.{}.{}".format(*each) for each in sorted(numbers, reverse=True)]
    assert upstream.newest_first("line", [*noise, *tags]) == expected


def test_a_commit_on_top_of_another_touches_nothing_here(project: Path, origin: Path) -> None:
    head = run_git(project, "rev-parse", "HEAD").strip()
    (project / "pipelines/new.yaml").write_text("mine")
    run_git(project, "add", "pipelines")
    (project / "model.json").write_text("{}")
    before = run_git(project, "status", "--porcelain")
    commit = upstream.commit_onto(project, head, [project / "model.json"], "Model\n\nMore of it")
    assert run_git(project, "status", "--porcelain") == before
    assert run_git(project, "rev-parse", "HEAD").strip() == head
    assert run_git(project, "show", "--format=%P %an %B", "--name-only", commit).split("\n") == [
        f"{head} Ada Lovelace Model",
        "",
        "More of it",
        "",
        "",
        "model.json",
        "",
    ]


def test_the_token_is_shown_to_the_remotes_server_alone(
    project: Path, origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_git(project, "remote", "set-url", "origin", "https://ci:job@git.example.org:8443/team/x.git")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "color.ui")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "never")
    assert upstream.credentials(project, "origin") == {}
    monkeypatch.setenv("NBSHIP_GIT_TOKEN", "s3cret")
    variables = upstream.credentials(project, "origin")
    asked = ("config", "--get-urlmatch", "http.extraHeader")
    header = git.output(project, *asked, "https://git.example.org:8443/team/x.git", environment=variables)
    assert header == f"Authorization: Basic {base64.b64encode(b'oauth2:s3cret').decode()}\n"
    assert git.call(project, *asked, "https://elsewhere.org/team/x.git", environment=variables).stdout == ""
    address = git.output(project, "remote", "get-url", "origin", environment=variables)
    assert address == "https://git.example.org:8443/team/x.git\n"
    assert git.output(project, "config", "color.ui", environment=variables) == "never\n"

    monkeypatch.setenv("NBSHIP_GIT_USER", "gitlab-ci-token")
    name, _, value = upstream.credentials(project, "origin")["GIT_CONFIG_VALUE_1"].partition(" Basic ")
    assert (name, base64.b64decode(value)) == ("Authorization:", b"gitlab-ci-token:s3cret")
    run_git(project, "remote", "set-url", "origin", "git@git.example.org:team/x.git")
    assert upstream.credentials(project, "origin") == {}
