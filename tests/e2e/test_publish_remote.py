"""Publishing to real remotes: Git over HTTP with others who push too, S3, folders; killed at every action."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbship.config import Pipeline, Publish
from nbship.errors import NbshipError, RejectedError
from nbship.serving import package
from nbship.versions import dvc
from nbship.workflow import push as push_room
from nbship.workflow.publish import Published, publish
from tests.repositories import git, set_remote
from tests.runs import REJECTED, make_pipeline, make_run, model_hash
from tests.servers import S3_KEYS, TOKEN, CutOffError, Watch, git_server, s3_server

pytestmark = pytest.mark.e2e
FILES = ["models/line/model.joblib.dvc", "models/line/model.json"]
RECEIVE = "POST /origin.git/git-receive-pack"
# What Git does here or over there; the rest of its commands only look.
CHANGING = {"add", "commit", "commit-tree", "fetch", "merge", "mktag", "push", "update-ref", "write-tree"}
OWNED = ("DVC_", "AWS_", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "NBSHIP_")


def pipeline(**publishing: str) -> Pipeline:
    return make_pipeline(publish=Publish(target="y", store=publishing.get("store", "../store")))


def push(root: Path, **arguments: Any) -> Published:
    return publish(root, pipeline(), push=True, **arguments)


@pytest.fixture
def project(project: Path, tmp_path: Path) -> Path:
    """A project whose remotes are folders beside it; the paths are relative, so that it can be copied."""
    origin = tmp_path / "origin.git"
    git(tmp_path, "init", "--quiet", "--bare", str(origin))
    git(origin, "config", "receive.advertisePushOptions", "true")
    (project / ".gitignore").write_text((project / ".gitignore").read_text() + "/.dvc/config.local\n")
    git(project, "commit", "--quiet", "--all", "--message", "Ignore")
    git(project, "remote", "add", "origin", "../origin.git")
    git(project, "push", "--quiet", "--set-upstream", "origin", "main")
    (tmp_path / "dvc").mkdir()
    set_remote(project, "../../dvc")
    return project


@pytest.fixture
def judged(project: Path) -> Path:
    """A project with a champion that everybody has, and a run that was judged against it and passed."""
    first = make_run(project, "20250101-000000-aaaa")
    push(project)
    make_run(project, "20250102-000000-bbbb", slope=3.0, champion=model_hash(first))
    return project


def origin_of(root: Path) -> Path:
    return root.parent / "origin.git"


def colleague(root: Path, name: str = "colleague") -> Path:
    """Another clone of the remote, with the same settings."""
    clone = root.parent / name
    git(root.parent, "clone", "--quiet", "origin.git", str(clone))
    set_remote(clone, "../../dvc")
    return clone


def push_something(clone: Path, name: str, text: str = "") -> None:
    git(clone, "pull", "--quiet", "--rebase")
    (clone / name).write_text(text)
    git(clone, "add", name)
    git(clone, "commit", "--quiet", "--message", f"Change {name}")
    git(clone, "push", "--quiet")


def slope(folder: Path) -> float:
    return round(float(package.load_model(folder).coef_[0]), 6)


def assert_whole(root: Path) -> None:
    """What the remotes hold is whole: what Git names, the DVC remote and the model store have."""
    origin = origin_of(root)
    for tag in git(origin, "tag").split():
        git(origin, "merge-base", "--is-ancestor", tag, "main")
        stored = root.parent / "store/line" / tag.removeprefix("line@")
        package.read_package(stored)
        assert (stored / "model.json").read_text() == git(origin, "show", f"{tag}:models/line/model.json")
        md5 = re.search("md5: (.*)", git(origin, "show", f"{tag}:models/line/model.joblib.dvc"))
        assert md5
        assert (root.parent / "dvc/files/md5" / md5[1][:2] / md5[1][2:]).is_file()


def assert_published(root: Path, version: str = "v1.1.0", expected: float = 3.0) -> None:
    origin = origin_of(root)
    assert_whole(root)
    assert slope(root.parent / "store/line" / version) == expected
    assert slope(root / "models/line") == expected
    tagged = git(origin, "rev-parse", f"line@{version}^{{}}")
    assert git(root, "rev-parse", f"line@{version}^{{}}") == tagged
    assert git(origin, "show", "--format=", "--name-only", tagged.strip()).split() == FILES
    assert git(root, "merge-base", "HEAD", tagged.strip()) == tagged
    assert git(root, "status", "--porcelain", "--untracked-files=no") == ""


def test_to_everybody_in_one_call(project: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    published = push(project)
    assert (published.version, published.committed, published.registered) == ("v1.0.0", True, True)
    assert (published.pushed, published.branch, published.next_commands) == (True, "origin/main", [])
    assert published.stored == str(project / "../store/line/v1.0.0")
    assert_published(project, "v1.0.0", 2.0)
    assert git(project, "log", "-1", "--format=%s") == "Publish line v1.0.0 [skip ci]\n"
    tag = git(
        origin_of(project), "for-each-ref", "refs/tags", "--format=%(objecttype) %(taggername) %(subject)"
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


def test_without_remotes_nothing_is_begun(project: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    with pytest.raises(NbshipError, match="origin has no branch 'mian'") as failure:
        push(project, branch="mian")
    assert failure.value.hint == "did you mean 'main'?"
    (project / ".dvc/config.local").unlink()
    with pytest.raises(NbshipError, match="no DVC remote is set"):
        push(project)
    git(project, "remote", "remove", "origin")
    with pytest.raises(NbshipError, match="Git has no remote"):
        push(project)
    assert not (project / "models").exists()


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
    with pytest.raises(NbshipError, match="origin/main did not take the push") as failure:
        push(judged)
    assert "main is protected" in failure.value.details
    assert (origin_of(judged) / "asked").read_text() == "once\n"
    assert git(origin_of(judged), "for-each-ref") == before
    assert git(judged, "rev-parse", "HEAD") == head
    assert git(judged, "tag") == "line@v1.0.0\n"
    (origin_of(judged) / "hooks/pre-receive").unlink()
    push(judged)
    assert_published(judged)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def over_http(judged: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The project's remote is reached over HTTP, with the token of the environment."""
    with git_server(judged.parent, watch) as server:
        address = server.replace("http://", "http://gitlab-ci-token:job-hunter2@")
        git(judged, "remote", "set-url", "origin", f"{address}/origin.git")
        git(origin_of(judged), "config", "http.receivepack", "true")
        monkeypatch.setenv("NBSHIP_GIT_TOKEN", TOKEN)
        yield server


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
    assert said == ["origin/main did not take the push; looking whether others were faster"] * 2
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


def command_line(root: Path, environment: dict[str, str]) -> None:
    """The process that is killed: it publishes with --push, and is the leader of a group of its own."""
    os.setsid()
    os.environ.update(environment)
    os.chdir(root)
    count, limit = 0, int(environment.get("KILL_AT", "0"))
    outside = (root.parent / "dvc", root.parent / "store")

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "subprocess.Popen" and any("hunter2" in str(argument) for argument in arguments[1]):
            os._exit(3)
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in ("os.rename", "os.link", "os.mkdir") or writes:
            path = root / str(arguments[-1] if event == "os.link" else arguments[0])
            if not path.resolve().is_relative_to(outside[0]) and not path.resolve().is_relative_to(
                outside[1]
            ):
                return
        elif event != "subprocess.Popen" or not CHANGING & set(arguments[1]):
            return
        count += 1
        if count == limit:
            os.killpg(0, signal.SIGKILL)

    sys.addaudithook(audit)
    publish(root, make_pipeline(publish=Publish(target="y", store=environment["STORE"])), push=True)


@pytest.fixture(scope="module")
def processes() -> Any:
    """Forks from a process that has the libraries and no threads, so that each costs only its work."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "dvc.repo", "dvc_s3", "gto.api", "pandas", "s3fs", "sklearn"])
    return context


def in_a_process_of_its_own(processes: Any, root: Path, **settings: str) -> bool:
    """Publishes with --push; returns whether the process was killed."""
    process = processes.Process(target=command_line, args=(root, environment(**settings)))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(OWNED)} | more


def test_killed_before_every_external_action(judged: Path, tmp_path: Path, processes: Any) -> None:
    states = []
    for number in itertools.count(1):
        root = shutil.copytree(tmp_path, tmp_path.with_name(f"killed-{number}"), symlinks=True) / "project"
        killed = in_a_process_of_its_own(processes, root, KILL_AT=str(number), STORE="../store")
        assert_whole(root)
        states.append(len(git(origin_of(root), "tag").split()))
        if not killed:
            break
        assert push(root).followed
        assert_published(root)
        assert git(origin_of(root), "rev-list", "--count", "main") == "4\n"
        shutil.rmtree(root.parent)
    assert states == sorted(states)
    assert set(states) == {1, 2}
    assert len(states) > 15


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, watch: Watch) -> Iterator[str]:
    """The address of an S3 server with the bucket `models`; the keys come from the environment."""
    import s3fs

    for name, value in S3_KEYS.items():
        monkeypatch.setenv(name, value)
    with s3_server(watch) as server:
        s3fs.S3FileSystem(endpoint_url=server, skip_instance_cache=True).makedirs("models", exist_ok=True)
        yield server


def set_s3_remote(root: Path, server: str, prefix: str) -> None:
    set_remote(root, f"s3://models/{prefix}/dvc\n    endpointurl = {server}")


def writes(requests: list[str]) -> list[str]:
    """The requests that change something, without hashes."""
    found = [r for r in requests if r.startswith("PUT /models/") or r == RECEIVE]
    return [re.sub(r"md5/.*", "md5/…", request) for request in found]


ALL_WRITES = [
    "PUT /models/{0}/dvc/files/md5/…",
    "PUT /models/{0}/store/line/v1.1.0/model.joblib",
    "PUT /models/{0}/store/line/v1.1.0/model.json",
    RECEIVE,
]


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


@pytest.mark.parametrize("served", [False, True], ids=["before", "after"])
def test_killed_at_every_request_that_changes_something(
    judged: Path,
    tmp_path: Path,
    bucket: str,
    watch: Watch,
    processes: Any,
    served: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the server: the process dies before its request is served, or before it has the answer."""
    monkeypatch.setenv("NBSHIP_GIT_TOKEN", TOKEN)
    for number in range(len(ALL_WRITES)):
        prefix = f"{number}-{served}"
        root = shutil.copytree(tmp_path, tmp_path.with_name(f"served-{prefix}"), symlinks=True) / "project"
        everything = [write.format(prefix) for write in ALL_WRITES]
        set_s3_remote(root, bucket, prefix)
        store = f"s3://models/{prefix}/store"
        watch.seen.clear()
        with git_server(root.parent, watch) as server:
            git(root, "remote", "set-url", "origin", f"{server}/origin.git")
            git(origin_of(root), "config", "http.receivepack", "true")
            process = processes.Process(target=command_line, args=(root, environment(STORE=store)))

            def kill(request: str) -> None:
                if writes([request]) and len(writes(watch.seen)) == number + 1:  # noqa: B023
                    os.killpg(process.pid, signal.SIGKILL)  # noqa: B023
                    raise CutOffError

            watch.before, watch.after = (
                (lambda request: None, kill) if served else (kill, lambda request: None)
            )
            process.start()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            assert writes(watch.seen) == everything[: number + 1]
            watch.before = watch.after = lambda request: None
            published = publish(root, pipeline(store=store), push=True)
        assert (published.version, published.stored) == ("v1.1.0", f"{store}/line/v1.1.0")
        once_more = everything[number + served :]
        assert writes(watch.seen) == everything[: number + 1] + once_more, "nothing is written twice"
        assert git(origin_of(root), "rev-list", "--count", "main") == "4\n"
        assert git(root, "rev-parse", "HEAD") == git(origin_of(root), "rev-parse", "main")
        assert git(root, "rev-parse", "line@v1.1.0") == git(origin_of(root), "rev-parse", "line@v1.1.0")
