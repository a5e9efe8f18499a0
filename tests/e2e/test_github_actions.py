"""The jobs of GitHub's workflow as nektos/act runs them, without containers, against a server on loopback.

Others stand in for GitHub's own actions, which nothing fetches; the cache always has this environment.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nbship.templates.project import Wish
from nbship.workflow.compile import compile_pipeline
from nbship.workflow.init import initialize
from tests.github_server import REPOSITORY, TOKEN, GithubServer, serve
from tests.projects import write_project
from tests.repositories import git

pytestmark = pytest.mark.e2e
# GOBIN=~/.cache/nbship-tests go install github.com/nektos/act@v0.2.89
ACT = shutil.which("act") or shutil.which("act", path=str(Path.home() / ".cache/nbship-tests"))
ACTIONS = {
    "checkout": "true",
    "setup-python": "true",
    "upload-artifact": 'mkdir -p "$KEPT" && cp -R runs "$KEPT"',
    "cache": f"mkdir -p .venv/bin && ln -sf '{Path(sys.executable).with_name('nbship')}' .venv/bin/nbship"
    " && touch .venv/.ready",
}
FAILING = "raise ValueError('no luck')"


@pytest.fixture
def root(tmp_path):
    """A project on a branch of its own, in a folder of a larger repository, with a pull request's commit."""
    top = tmp_path / "clone"
    top.mkdir()
    git(top, "init", "--quiet", "--initial-branch", "trunk")
    root = top / "teams/line"
    root.mkdir(parents=True)
    write_project(root)
    initialize(root, Wish(ci="github"))
    compile_pipeline(root, "line").write()
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "Begin")
    git(top, "switch", "--quiet", "--create", "topic")
    return root


def commit(root, change):
    path = root / "notebooks/train.ipynb"
    notebook = json.loads(path.read_text())
    change(notebook["cells"][-1])
    path.write_text(json.dumps(notebook))
    compile_pipeline(root, "line").write()
    git(root, "commit", "--quiet", "--all", "--message", "Change")


def act(root, job, github=None, fork=False):
    """Runs a job of the pull request; returns what act printed and its exit code."""
    top, work = root.parents[1], root.parents[2]
    (workflow,) = (top / ".github/workflows").glob("*.yml")
    pinned = {
        used
        for path in (top / ".github").rglob("*.yml")
        for used in re.findall(r"actions/[a-z-]+@[0-9a-f]+", path.read_text())
    }
    command = [str(ACT), "pull_request", "--workflows", str(workflow), "--job", job, "--no-cache-server"]
    command += ["--platform", "ubuntu-24.04=-self-hosted", "--eventpath", str(work / "event.json")]
    for used in sorted(pinned):
        name = used.partition("@")[0]
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        script = {"shell": "bash", "run": ACTIONS[folder.name], "working-directory": "teams/line"}
        action = {"name": name, "description": "", "runs": {"using": "composite", "steps": [script]}}
        (folder / "action.yml").write_text(json.dumps(action))
        command += ["--local-repository", f"{used}={folder}"]
    base, head = git(top, "rev-parse", "trunk", "topic").split()
    request = {
        "number": 5,
        "base": {"ref": "trunk", "sha": base},
        "head": {"ref": "topic", "sha": head, "repo": {"fork": fork}},
    }
    event = {"pull_request": request, "repository": {"default_branch": "trunk", "full_name": REPOSITORY}}
    (work / "event.json").write_text(json.dumps(event))
    environment = {"KEPT": str(work / "kept"), "NBSHIP_GITHUB_API": github.address if github else ""}
    for name, value in (environment | {"GITHUB_REPOSITORY": REPOSITORY}).items():
        command += ["--env", f"{name}={value}"]
    command += ["--secret", f"GITHUB_TOKEN={TOKEN}"]
    done = subprocess.run(
        command,
        cwd=top,
        env={**os.environ, "XDG_CACHE_HOME": str(work / "cache"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.stdout + done.stderr, done.returncode


@pytest.fixture
def github(root):
    with serve(GithubServer()) as running:
        running.add_pull(5, "topic", [git(root, "rev-parse", "HEAD").strip()])
        yield running


needs_act = pytest.mark.skipif(not ACT, reason="needs act: go install github.com/nektos/act@v0.2.89")


@needs_act
def test_a_pull_request_is_checked(root):
    told, code = act(root, "check")
    assert "current  pipelines/compiled/line.yaml" in told
    assert "findings in 2 notebooks" in told and code == 1  # of lint, in the notebooks that tests use


@needs_act
def test_a_pull_request_runs_what_it_concerns_and_gets_one_comment(root, github):
    commit(root, lambda cell: cell.update(source=cell["source"] + "\n# better"))
    told, code = act(root, "run", github)
    assert code == 0, told
    (body,) = github.bodies(5)
    assert "line" in body and "slope" in body
    (record,) = (root.parents[2] / "kept").glob("runs/line/*/run.json")
    assert json.loads(record.read_text())["state"] == "done"
    assert not (root / "runs").exists()  # it ran in a copy


@needs_act
def test_code_of_a_fork_gets_no_token_and_fails_in_the_log(root, github):
    commit(root, lambda cell: cell.update(source=FAILING))
    told, code = act(root, "run", github, fork=True)
    assert code == 1
    assert github.seen == [] and "no luck" in told
