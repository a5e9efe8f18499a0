"""Publishing to real remotes: Git over HTTP with others who push too, S3, folders."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from nbship import package
from nbship.cli import publish as publish_command
from nbship.config import Publish
from nbship.errors import NbshipError, RejectedError
from nbship.versions import dvc
from nbship.workflow import push as push_room
from nbship.workflow.publish import publish
from tests.publishing import (
    ALL_WRITES,
    FILES,
    RECEIVE,
    assert_published,
    assert_whole,
    colleague,
    origin_of,
    pipeline,
    push,
    push_something,
    set_s3_remote,
    slope,
    writes,
)
from tests.repositories import git, set_remote
from tests.runs import REJECTED, make_pipeline, make_run
from tests.servers import CutOffError, Watch

pytestmark = pytest.mark.e2e


def test_to_everybody_in_one_call(shared: Path) -> None:
    make_run(shared, "20250101-000000-aaaa")
    published = push(shared)
    assert (published.version, published.committed, published.registered) == ("v1.0.0", True, True)
    assert (published.pushed, published.branch, published.next_commands) == (True, "origin/main", [])
    assert published.stored == str(shared / "../store/line/v1.0.0")
    assert_published(shared, "v1.0.0", 2.0)
    assert git(shared, "log", "-1", "--format=%s") == "Publish line v1.0.0 [skip ci]\n"
    tag = git(
        origin_of(shared), "for-each-ref", "refs/tags", "--format=%(objecttype) %(taggername) %(subject)"
    )
    assert tag == "tag Ada Lovelace rmse 0.5 (run 20250101-000000-aaaa)\n"


def test_twice_is_as_once(judged: Path) -> None:
    push(judged)
    before = git(origin_of(judged), "for-each-ref")
    again = push(judged)
    assert (again.placed, again.registered, again.version) == (False, False, "v1.1.0")
    assert git(origin_of(judged), "for-each-ref") == before
    assert_published(judged)


def test_a_rejected_run_is_not_pushed(judged: Path) -> None:
    make_run(judged, "20250103-000000-cccc", slope=4.0, verdict=REJECTED)
    before = git(origin_of(judged), "for-each-ref")
    with pytest.raises(RejectedError):
        push(judged)
    assert git(origin_of(judged), "for-each-ref") == before


def test_the_users_own_work_stays_as_it_is(judged: Path) -> None:
    """Only the model is pushed, on top of what others pushed; the branch here keeps its commits and edits."""
    push_something(colleague(judged), "theirs.txt")
    (judged / "mine.txt").write_text("a commit of mine")
    git(judged, "add", "mine.txt")
    git(judged, "commit", "--quiet", "--message", "Mine")
    (judged / "staged.txt").write_text("half done")
    git(judged, "add", "staged.txt")
    (judged / ".dvcignore").write_text("edited")
    published = push(judged)
    assert not published.followed
    assert git(origin_of(judged), "ls-tree", "--name-only", "main").split().count("mine.txt") == 0
    assert git(judged, "diff", "--cached", "--name-only") == "staged.txt\n"
    assert (judged / ".dvcignore").read_text() == "edited"
    assert_whole(judged)

    (command,) = published.next_commands
    assert command == "git pull --rebase --autostash origin main"
    git(judged, *command.split()[1:])
    assert git(judged, "log", "--format=%s", "origin/main..") == "Mine\n", "the second commit is dropped"
    assert (judged / ".dvcignore").read_text() == "edited"
    assert push(judged).next_commands == []


def test_uncommitted_work_is_fast_forwarded_around(judged: Path) -> None:
    push_something(colleague(judged), "theirs.txt")
    (judged / "staged.txt").write_text("half done")
    git(judged, "add", "staged.txt")
    (judged / ".dvcignore").write_text("edited")
    assert push(judged).followed
    assert git(judged, "status", "--porcelain") == " M .dvcignore\nA  staged.txt\n"
    assert (judged / "theirs.txt").exists()
    assert git(judged, "rev-parse", "HEAD") == git(origin_of(judged), "rev-parse", "main")


def test_work_in_the_way_of_others_changes(judged: Path) -> None:
    push_something(colleague(judged), ".dvcignore", "theirs")
    (judged / ".dvcignore").write_text("mine")
    assert not push(judged).followed
    assert (judged / ".dvcignore").read_text() == "mine"
    assert_whole(judged)


def test_what_was_committed_before_is_pushed_as_it_is(judged: Path) -> None:
    """As when one publishes with --commit first, and pushes when the network is back."""
    publish(judged, pipeline(), commit=True)
    commit, tag = git(judged, "rev-parse", "HEAD", "line@v1.1.0").split()
    published = push(judged)
    assert (published.version, published.placed, published.registered) == ("v1.1.0", False, True)
    assert git(origin_of(judged), "rev-parse", "main", "line@v1.1.0").split() == [commit, tag]
    assert_published(judged)


def test_the_tag_moves_to_the_pushed_commit(judged: Path) -> None:
    """What was committed and registered here goes on top of what others pushed meanwhile."""
    publish(judged, pipeline(), commit=True)
    push_something(colleague(judged), "theirs.txt")
    published = push(judged)
    assert (published.version, published.followed) == ("v1.1.0", False)
    assert git(judged, "rev-parse", "line@v1.1.0^{}") == git(origin_of(judged), "rev-parse", "main")
    git(judged, "pull", "--quiet", "--rebase")
    assert_published(judged)
    assert git(judged, "rev-parse", "HEAD") == git(origin_of(judged), "rev-parse", "main")


def test_what_others_committed_without_a_version_gets_one(judged: Path) -> None:
    publish(judged, pipeline(), commit=True)
    git(judged, "tag", "--delete", "line@v1.1.0")
    git(judged, "push", "--quiet")
    assert push(judged).version == "v1.1.0"
    assert_published(judged)


def test_the_champion_changed_meanwhile(judged: Path) -> None:
    other = colleague(judged)
    dvc.pull(other, other / "models/line/model.joblib")
    make_run(
        other, "20250103-000000-cccc", slope=4.0, champion=package.read_package(other / "models/line").sha256
    )
    assert push(other).version == "v1.1.0"
    before = git(origin_of(judged), "for-each-ref")
    with pytest.raises(NbshipError, match="models/line has changed on origin/main") as failure:
        push(judged)
    assert git(origin_of(judged), "for-each-ref") == before
    assert slope(judged / "models/line") == 2.0
    assert git(judged, "status", "--porcelain") == ""

    assert failure.value.hint == "judge it against the one there: git pull --rebase; nbship run line"
    git(judged, "pull", "--quiet", "--rebase")
    champion = package.read_package(other / "models/line").sha256
    make_run(judged, "20250104-000000-dddd", slope=3.0, champion=champion)
    assert push(judged).version == "v1.2.0"
    assert_published(judged, "v1.2.0")


def test_two_machines_bring_the_same_model(judged: Path) -> None:
    """As when a CI job is run again: what came second takes over what the first says of it."""
    other = colleague(judged)
    dvc.pull(other, other / "models/line/model.joblib")
    champion = package.read_package(other / "models/line").sha256
    make_run(other, "20250103-000000-cccc", slope=3.0, champion=champion)
    push(other)
    published = push(judged)
    assert (published.version, published.registered, published.followed) == ("v1.1.0", False, True)
    assert package.read_package(judged / "models/line").origin.run == "20250103-000000-cccc"
    assert_published(judged)


def test_new_words_are_pushed_and_the_stored_version_stays(judged: Path) -> None:
    push(judged)
    stored = judged.parent / "store/line/v1.1.0/model.json"
    before = stored.read_bytes()
    spoken = make_pipeline(publish=Publish(target="y", store="../store"), description="A line.")
    published = publish(judged, spoken, push=True)
    assert (published.version, published.registered, published.followed) == ("v1.1.1", True, True)
    assert stored.read_bytes() == before
    assert package.read_package(judged.parent / "store/line/v1.1.1").description == "A line."
    assert_whole(judged)
    assert publish(judged, spoken, push=True).registered is False


def test_new_words_about_a_model_that_another_machine_has_brought(judged: Path) -> None:
    other = colleague(judged)
    dvc.pull(other, other / "models/line/model.joblib")
    champion = package.read_package(other / "models/line").sha256
    make_run(other, "20250103-000000-cccc", slope=3.0, champion=champion)
    push(other)
    spoken = make_pipeline(publish=Publish(target="y", store="../store"), description="A line.")
    assert publish(judged, spoken, push=True).version == "v1.1.1"
    stored = package.read_package(judged.parent / "store/line/v1.1.1")
    assert (stored.origin.run, stored.description) == ("20250103-000000-cccc", "A line.")
    assert_whole(judged)


def test_a_version_that_the_store_has_already_is_passed_over(judged: Path) -> None:
    """As another publishing leaves it, that reached the store and then lost the race to Git."""
    left = judged.parent / "store/line/v1.1.0/model.joblib"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"another model")
    assert push(judged).version == "v1.2.0"
    assert left.read_bytes() == b"another model"


def test_a_published_version_that_was_altered_in_the_store(judged: Path) -> None:
    push(judged)
    (judged.parent / "store/line/v1.1.0/model.joblib").write_bytes(b"altered")
    with pytest.raises(NbshipError, match=r"store has another model\.joblib at .*/line/v1\.1\.0"):
        push(judged)


def test_without_a_store(judged: Path) -> None:
    published = publish(judged, make_pipeline(), push=True)
    assert (published.version, published.stored) == ("v1.1.0", "")


def test_without_remotes_nothing_is_begun(shared: Path) -> None:
    make_run(shared, "20250101-000000-aaaa")
    with pytest.raises(NbshipError, match="origin has no branch 'mian'") as failure:
        push(shared, branch="mian")
    assert failure.value.hint == "did you mean 'main'?"
    (shared / ".dvc/config.local").unlink()
    with pytest.raises(NbshipError, match="no DVC remote is set"):
        push(shared)
    git(shared, "remote", "remove", "origin")
    with pytest.raises(NbshipError, match="Git has no remote"):
        push(shared)
    assert not (shared / "models").exists()


@pytest.mark.parametrize("variable", ["CI_COMMIT_BRANCH", ""])
def test_a_checkout_as_in_ci(judged: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """A detached and shallow one, of a commit that is not the newest any more."""
    git(judged, "push", "--quiet", "origin", "main:release")
    if variable:
        monkeypatch.setenv(variable, "release")
    job = judged.parent / "job"
    git(judged.parent, "clone", "--quiet", "--depth=1", f"file://{origin_of(judged)}", str(job))
    git(job, "checkout", "--quiet", "--detach", "origin/main")
    set_remote(job, "../../dvc")
    dvc.pull(job, job / "models/line/model.joblib")
    shutil.copytree(judged / "runs", job / "runs")
    push_something(colleague(judged), "theirs.txt")
    published = push(job)
    branch = "release" if variable else "main"
    assert (published.branch, published.followed) == (f"origin/{branch}", True)
    assert git(job, "rev-parse", "HEAD") == git(origin_of(judged), "rev-parse", branch)
    assert git(origin_of(judged), "rev-parse", "line@v1.1.0^{}") == git(job, "rev-parse", "HEAD")


def test_another_branch_than_the_one_checked_out(judged: Path) -> None:
    git(judged, "switch", "--quiet", "--create", "feature")
    assert not push(judged, branch="main").followed
    assert_whole(judged)
    assert git(judged, "log", "-1", "--format=%s") == "Publish line v1.1.0 [skip ci]\n"


def install_hook(root: Path, name: str, script: str) -> None:
    hook = origin_of(root) / "hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)


def test_the_ci_is_asked_not_to_start(judged: Path) -> None:
    install_hook(judged, "pre-receive", "echo $GIT_PUSH_OPTION_COUNT $GIT_PUSH_OPTION_0 > options")
    push(judged)
    assert (origin_of(judged) / "options").read_text() == "1 ci.skip\n"


def test_a_server_without_push_options(judged: Path) -> None:
    git(origin_of(judged), "config", "receive.advertisePushOptions", "false")
    push(judged)
    assert_published(judged)


def test_a_server_that_declines(judged: Path) -> None:
    """A branch that is protected stays so: no second attempt is made."""
    install_hook(judged, "pre-receive", "echo once >> asked; echo 'main is protected' >&2; exit 1")
    before = git(origin_of(judged), "for-each-ref")
    head = git(judged, "rev-parse", "HEAD")
    with pytest.raises(NbshipError, match="origin/main rejected the push") as failure:
        push(judged)
    assert "main is protected" in failure.value.details
    assert (origin_of(judged) / "asked").read_text() == "once\n"
    assert git(origin_of(judged), "for-each-ref") == before
    assert git(judged, "rev-parse", "HEAD") == head
    assert git(judged, "tag") == "line@v1.0.0\n"
    (origin_of(judged) / "hooks/pre-receive").unlink()
    push(judged)
    assert_published(judged)


def test_others_push_at_the_same_moment(judged: Path, watch: Watch, over_http: str) -> None:
    """The race is lost twice, between what the server says that it has and the push that builds on it."""
    other = colleague(judged)

    def race(request: str) -> None:
        if request == RECEIVE and watch.seen.count(RECEIVE) <= 2:
            push_something(other, f"race-{watch.seen.count(RECEIVE)}.txt")

    watch.before = race
    said: list[str] = []
    assert push(judged, report=said.append).followed
    assert watch.seen.count(RECEIVE) == 3
    assert said == ["origin/main rejected the push; checking whether others pushed first"] * 2
    assert_published(judged)
    assert git(judged, "log", "-4", "--format=%s").splitlines() == [
        "Publish line v1.1.0 [skip ci]",
        "Change race-2.txt",
        "Change race-1.txt",
        "Publish line v1.0.0 [skip ci]",
    ]


def test_others_push_all_the_time(
    judged: Path, watch: Watch, over_http: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = colleague(judged)
    monkeypatch.setattr(push_room, "_PAUSES", (0.0, 0.0, 0.0))

    def race(request: str) -> None:
        if request == RECEIVE:
            push_something(other, f"race-{len(watch.seen)}.txt")

    watch.before = race
    with pytest.raises(NbshipError, match="others pushed to origin/main each of the 3 times"):
        push(judged)
    watch.before = lambda request: None
    push(judged)
    assert_published(judged)


def test_others_push_the_same_model_name_at_the_same_moment(
    judged: Path, watch: Watch, over_http: str
) -> None:
    """The store has what the loser brought, and Git does not name it; the loser's run is whole."""
    other = colleague(judged)
    dvc.pull(other, other / "models/line/model.joblib")
    make_run(
        other, "20250103-000000-cccc", slope=4.0, champion=package.read_package(other / "models/line").sha256
    )

    def race(request: str) -> None:
        if request == RECEIVE and watch.seen.count(RECEIVE) == 1:
            push(other)

    watch.before = race
    with pytest.raises(NbshipError, match="models/line has changed on origin/main") as failure:
        push(judged)
    assert git(origin_of(judged), "tag").split() == ["line@v1.0.0", "line@v1.2.0"]
    assert_whole(judged)
    git(judged, "remote", "set-url", "origin", "../origin.git")
    commands = failure.value.hint.removeprefix("judge it against the one there: ").split("; ")
    for command in commands[:-1]:
        git(judged, *command.split()[1:])
    champion = package.read_package(other / "models/line").sha256
    make_run(judged, "20250104-000000-dddd", slope=5.0, champion=champion)
    assert push(judged).version == "v1.3.0"
    assert_published(judged, "v1.3.0", 5.0)


def test_the_loser_of_a_race_for_a_version_in_the_store_is_told_of_the_winner(
    judged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The winner takes the version between the loser's look at the store and its writing there."""
    other = colleague(judged)
    dvc.pull(other, other / "models/line/model.joblib")
    champion = package.read_package(other / "models/line").sha256
    make_run(other, "20250103-000000-cccc", slope=4.0, champion=champion)
    put = push_room.store.put

    def late(*arguments: Any) -> str:
        monkeypatch.setattr(push_room.store, "put", put)
        push(other)
        return put(*arguments)

    monkeypatch.setattr(push_room.store, "put", late)
    with pytest.raises(NbshipError, match="models/line has changed on origin/main"):
        push(judged)
    assert_whole(judged)


def test_a_server_that_is_busy_with_another_push_is_asked_again(
    judged: Path, watch: Watch, over_http: str
) -> None:
    """Git's server holds the branch's lock while it takes another push, which nobody can see yet."""
    lock = origin_of(judged) / "refs/heads/main.lock"
    lock.touch()

    def free(request: str) -> None:
        if request == RECEIVE and watch.seen.count(RECEIVE) == 3:
            lock.unlink()

    watch.before = free
    push(judged)
    assert watch.seen.count(RECEIVE) == 3
    assert_published(judged)


def hook(root: Path, name: str, script: str) -> None:
    path = root / ".git/hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_users_hooks_see_the_commit_as_git_would_show_it(judged: Path) -> None:
    push_something(colleague(judged), "theirs.txt")
    (judged / "staged.txt").write_text("half done")
    git(judged, "add", "staged.txt")
    hook(judged, "pre-commit", "git diff --cached --name-only > .git/seen")
    hook(judged, "commit-msg", 'echo "Change-Id: 17" >> "$1"')
    push(judged)
    assert (judged / ".git/seen").read_text().split() == sorted(FILES)
    assert git(judged, "log", "-1", "--format=%B", "line@v1.1.0").rstrip().endswith("\nChange-Id: 17")
    assert git(judged, "diff", "--cached", "--name-only") == "staged.txt\n"
    assert_whole(judged)


@pytest.mark.parametrize("name", ["pre-commit", "prepare-commit-msg", "commit-msg"])
def test_a_hook_that_refuses_keeps_the_model_from_the_remotes(judged: Path, name: str) -> None:
    before = git(origin_of(judged), "for-each-ref"), git(judged, "rev-parse", "HEAD")
    hook(judged, name, "echo no model without a ticket >&2; exit 1")
    with pytest.raises(NbshipError, match=f"your hook {name} refuses") as failure:
        push(judged)
    assert failure.value.details == "no model without a ticket"
    assert (git(origin_of(judged), "for-each-ref"), git(judged, "rev-parse", "HEAD")) == before
    (judged / ".git/hooks" / name).unlink()
    push(judged)
    assert_published(judged)


def test_a_hook_that_rewrites_the_files_is_refused(judged: Path) -> None:
    hook(judged, "pre-commit", "echo >> models/line/model.json")
    with pytest.raises(NbshipError, match="your hook pre-commit has changed the model's files"):
        push(judged)


@pytest.mark.parametrize("arguments", [{"push": True}, {"commit": True}], ids=["push", "commit"])
def test_nothing_is_published_into_an_unfinished_merge(judged: Path, arguments: dict[str, bool]) -> None:
    git(judged, "switch", "--quiet", "--create", "topic")
    (judged / ".dvcignore").write_text("mine")
    git(judged, "commit", "--quiet", "--all", "--message", "Mine")
    git(judged, "switch", "--quiet", "main")
    git(judged, "merge", "--quiet", "--no-ff", "--no-commit", "topic")
    before = git(judged, "status", "--porcelain")
    with pytest.raises(NbshipError, match="a merge is not finished") as failure:
        publish(judged, pipeline(), **arguments)
    assert "git merge --continue" in failure.value.hint
    assert git(judged, "status", "--porcelain") == before
    git(judged, "commit", "--quiet", "--no-edit")
    publish(judged, pipeline(), **arguments)


def test_the_connection_breaks_after_the_server_took_the_push(
    judged: Path, watch: Watch, over_http: str
) -> None:
    def cut(request: str) -> None:
        if request == RECEIVE:
            raise CutOffError

    watch.after = cut
    published = push(judged)
    assert (published.version, published.followed) == ("v1.1.0", True)
    assert_published(judged)


def test_a_wrong_token(judged: Path, over_http: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBSHIP_GIT_TOKEN", "wrong-hunter2")
    with pytest.raises(NbshipError, match="Git cannot read from the remote 'origin'") as failure:
        push(judged)
    assert "NBSHIP_GIT_TOKEN" in failure.value.hint
    assert "hunter2" not in failure.value.message + failure.value.hint + failure.value.details
    assert slope(judged / "models/line") == 2.0


def test_over_http_and_s3(
    judged: Path, over_http: str, bucket: str, watch: Watch, capfd: pytest.CaptureFixture[str]
) -> None:
    set_s3_remote(judged, bucket, "team")
    everything = [write.format("team") for write in ALL_WRITES]
    published = publish(judged, pipeline(store="s3://models/team/store/"), push=True)
    assert published.stored == "s3://models/team/store/line/v1.1.0"
    assert writes(watch.seen) == everything, "Git's turn is the last"
    assert "hunter2" not in repr(published) + "".join(capfd.readouterr())
    with_secrets = [p for p in judged.parent.rglob("*") if p.is_file() and b"hunter2" in p.read_bytes()]
    assert with_secrets == [judged / ".git/config"], "the CI job's own address, which was there before"

    again = publish(judged, pipeline(store="s3://models/team/store/"), push=True)
    assert (again.version, again.registered, again.stored) == ("v1.1.0", False, published.stored)
    assert writes(watch.seen) == everything


def test_the_command_says_where_it_is_now(judged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    publish_command.register(app)
    (judged / "pipelines/line.yaml").write_text(yaml.safe_dump(pipeline().model_dump(exclude_unset=True)))
    monkeypatch.chdir(judged)
    monkeypatch.setenv("NBSHIP_MODEL_STORE", "../elsewhere")
    result = CliRunner().invoke(
        app, ["publish", "line", "--push", "--branch", "main"], catch_exceptions=False
    )
    assert result.output == (
        "models/line is the model of run 20250102-000000-bbbb\n"
        "registered as line@v1.1.0\n"
        "pushed to origin/main and the DVC remote 'shared'\n"
        f"stored as {judged}/../elsewhere/line/v1.1.0\n"
    )
