"""Publishing with --push, killed at every external action, and done again."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from nbship.config import Publish
from nbship.workflow.publish import publish
from tests.publishing import (
    ALL_WRITES,
    assert_published,
    assert_whole,
    origin_of,
    pipeline,
    push,
    set_s3_remote,
    writes,
)
from tests.repositories import git
from tests.runs import make_pipeline
from tests.servers import TOKEN, CutOffError, Watch, git_server

pytestmark = pytest.mark.e2e
# What Git does here or over there; the rest of its commands only look.
CHANGING = {"add", "commit", "commit-tree", "merge", "mktag", "push", "update-ref"}
OWNED = ("DVC_", "AWS_", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "NBSHIP_")


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


def test_killed_at_every_request_that_changes_something(
    judged: Path,
    tmp_path: Path,
    bucket: str,
    watch: Watch,
    processes: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the server: the process dies before a request is served; or, after the last, before the answer."""
    monkeypatch.setenv("NBSHIP_GIT_TOKEN", TOKEN)
    for number, served in [(0, False), (1, False), (2, False), (3, False), (4, False), (4, True)]:
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
