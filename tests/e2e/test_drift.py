"""The story that `make demo-drift` tells, with remotes and a forge: by commands and servers alone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from demos import drift
from demos.drift import Story
from demos.watching import missing, watching

from nbship.serving.server import free_port
from tests.gitlab_server import GitlabServer, serve
from tests.repositories import git, set_remote

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def gitlab() -> Iterator[GitlabServer]:
    with serve(GitlabServer()) as running:
        yield running


@pytest.fixture
def story(tmp_path: Path, gitlab: GitlabServer) -> Story:
    """The project with the cars up to 1976, which has remotes and a forge."""
    story = Story(tmp_path, free_port("127.0.0.1"), environment=gitlab.environment, quiet=True)
    story.root.mkdir()
    drift.begin(story)
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    git(story.root, "remote", "add", "origin", "../origin.git")
    git(story.root, "push", "--quiet", "--set-upstream", "origin", "main")
    (tmp_path / "dvc").mkdir()
    set_remote(story.root, "../../dvc")
    return story


def look(story: Story) -> dict:
    return json.loads((story.root / "runs/auto-mpg/monitor/monitor.json").read_text())


def test_a_model_that_meets_other_cars_is_found_out_and_learns(story: Story, gitlab: GitlabServer) -> None:
    first, second = story.later[::2], story.later[1::2]
    drift.train(story)
    git(story.root, "push", "--quiet")
    with contextlib.ExitStack() as stack:
        target = (f"127.0.0.1:{story.port}", {"namespace": "production", "version": "here"})
        watch = None if missing() else stack.enter_context(watching(story.folder, [target], drift.FACTOR))
        with drift.serving(story):
            asked = drift.ask(story, first)
            with drift.traffic(story, first):
                drift.await_alert(story, watch)
                drift.label(story, first, asked)
                drift.monitor(story, expected=3)
                assert look(story)["decision"]["state"] == "act"
                assert any("yr" in reason for reason in look(story)["decision"]["reasons"])
                assert "was promised (broken" in look(story)["decision"]["reasons"][0]
                branch = drift.retrain(story)
        # What it takes in, says and pushes.
        origin = story.folder / "origin.git"
        assert git(origin, "diff", "--name-only", "main", branch).split() == [
            "data.csv.dvc",
            "data.csv.labels",
        ]
        (opened,) = gitlab.merge_requests.values()
        assert opened["source_branch"] == branch
        assert "monitor says act" in opened["description"]
        assert "better than the champion" in opened["description"]
        assert git(story.root, "status", "--porcelain") == ""
        # A person merges it, and its model takes the place of the one before.
        git(story.root, "fetch", "--quiet", "origin", branch)
        drift.merge(story, "FETCH_HEAD")
        drift.train(story)
        with drift.serving(story):
            asked = drift.ask(story, second)
            with drift.traffic(story, second):
                drift.await_end(story, watch)
        drift.label(story, second, asked)
        story.nbship("monitor", "auto-mpg", expected=None)
        # Of cars that nobody has seen, what it promised is kept; and it does not begin again at once.
        assert not any("broken" in reason for reason in look(story)["decision"]["reasons"])
        assert look(story)["version"] == "v1.1.0"
        told = story.nbship("retrain", "auto-mpg", "--reason", "again")
        assert told.startswith("cooling down")
        assert len(gitlab.merge_requests) == 1
