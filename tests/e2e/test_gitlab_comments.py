"""The jobs that work comments on GitLab, as its runner would run them: which there are, and one at work."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from nbship.templates.project import Wish, project_texts
from tests import commenting
from tests.e2e.test_gitlab_ci import gitlab_ci_local, origin, root  # noqa: F401 (fixtures)
from tests.repositories import git

pytestmark = pytest.mark.e2e

COMMENT = ("NBSHIP_COMMENT_ID=5", "NBSHIP_COMMENT_NUMBER=3")
SERVERS = ("NBSHIP_KUBEFLOW_HOST=h", "CI_REGISTRY=r")


@pytest.fixture
def written(root: Path) -> Path:  # noqa: F811
    """A project whose CI files are those that `nbship init --ci gitlab --chatops` writes."""
    shutil.rmtree(root / ".gitlab")
    texts = project_texts(Wish(name="cars", ci="gitlab", branch="main", image=True, chatops=True), "", {})
    for path, text in texts.items():
        if path.startswith(".gitlab"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Comments")
    return root


def run(root: Path, program: str, *words: str, **variables: str) -> str:  # noqa: F811
    given = [part for key, value in variables.items() for part in ("--variable", f"{key}={value}")]
    command = ["npx", "--yes", program, "--force-shell-executor", "--state-dir", ".nbship/ci", *words, *given]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout


def jobs(root: Path, program: str, *told: str) -> list[str]:  # noqa: F811
    given = dict(each.split("=", 1) for each in (*SERVERS, *told))
    lines = run(root, program, "--list-csv", **given).splitlines()
    return [line.split(";")[0] for line in lines if line.count(";") > 3][1:]


def test_a_comment_or_a_look_for_some_starts_its_one_job(written: Path, gitlab_ci_local: str) -> None:  # noqa: F811
    trigger = "CI_PIPELINE_SOURCE=trigger"
    assert jobs(written, gitlab_ci_local, trigger, *COMMENT) == ["chatops"]
    assert jobs(written, gitlab_ci_local, "CI_PIPELINE_SOURCE=schedule", "NBSHIP_POLL=1") == ["chatops-poll"]
    git(written, "switch", "--quiet", "--create", "topic")
    code = ("CI_PIPELINE_SOURCE=api", "NBSHIP_COMMENT_PART=code")
    assert jobs(written, gitlab_ci_local, *code, *COMMENT) == ["chatops-code"]


def test_the_job_answers_the_comment_that_it_is_pointed_to(written: Path, gitlab_ci_local: str) -> None:  # noqa: F811
    with commenting.place("gitlab") as place:
        comment = replace(place.write("/help"), text="")
        known = {key: value for key, value in place.server.environment.items() if key.startswith("NBSHIP_")}
        run(written, gitlab_ci_local, "chatops", **known, **comment.variables)
        (reply,) = place.replies()
        assert [(each.command, each.state) for each in reply.entries] == [("/help", "done")]
