"""`/submit`: the request's commit on Kubeflow, once, with what the default branch says of where that is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nbship.workflow import waiting
from nbship.workflow.compile import compile_pipeline
from tests import commenting
from tests.commenting import NUMBER, Place
from tests.e2e import test_comments as tour
from tests.kubeflow_runs import look
from tests.kubeflow_server import KubeflowServer, serve
from tests.projects import PIPELINE, write_notebook, write_project
from tests.repositories import git


@pytest.fixture
def kubeflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeflowServer]:
    monkeypatch.setattr(waiting, "_INTERVAL", 0.0)
    with serve(KubeflowServer()) as running:
        yield running


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of `main`, and a remote whose merge request says otherwise where runs go."""
    folder = tmp_path_factory.mktemp("submit")
    root = folder / "project"
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    git(folder, "clone", "--quiet", "origin.git", "project")
    write_project(root)
    write_notebook(root / "notebooks/fit.ipynb", tour.PREPARE, tour.PREPARE_CODE)
    for name in ("train", "evaluate"):
        code = (getattr(tour, name.upper()), getattr(tour, f"{name.upper()}_CODE"))
        write_notebook(root / f"notebooks/{name}-curve.ipynb", *code)
    steps = {"prepare": "fit", "train": "train-curve", "evaluate": "evaluate-curve"}
    published = {
        **tour.PIPELINE,
        "name": "curve",
        "steps": {name: {"notebook": f"notebooks/{file}.ipynb"} for name, file in steps.items()},
        "deploy": {"after_publish": "production"},
        "kubeflow": {"repository": "https://git.example.org/line.git"},
    }
    (root / "pipelines/curve.yaml").write_text(yaml.safe_dump(published))
    for name in ("line", "curve"):
        compile_pipeline(root, name).write()
    commit(root, "Begin")
    git(root, "push", "--quiet", "origin", "HEAD:main")
    git(root, "switch", "--quiet", "--create", "topic")
    elsewhere = PIPELINE.replace("kubeflow: {", "kubeflow: {host: http://127.0.0.1:9, ")
    (root / "pipelines/line.yaml").write_text(elsewhere.replace("most: 4", "most: 2"))
    compile_pipeline(root, "line").write()
    head = commit(root, "Change")
    git(root, "push", "--quiet", "origin", "topic")
    for ref in ("refs/pull", "refs/merge-requests"):
        git(folder / "origin.git", "update-ref", f"{ref}/{NUMBER}/head", head)
    git(root, "switch", "--quiet", "main")
    return root


def commit(root: Path, message: str) -> str:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", message)
    return git(root, "rev-parse", "HEAD").strip()


@pytest.fixture(params=["github", "gitlab"])
def forge(request: pytest.FixtureRequest, repository: Path, kubeflow: KubeflowServer) -> Iterator[Place]:
    head = git(repository, "rev-parse", "topic").strip()
    with commenting.place(request.param, head) as made:
        made.variables["NBSHIP_KUBEFLOW_HOST"] = kubeflow.address
        yield made


def run_of(kubeflow: KubeflowServer) -> dict[str, Any]:
    (run,) = kubeflow.runs.values()
    return run


def test_the_requests_commit_is_submitted_and_waited_for(
    forge: Place, repository: Path, kubeflow: KubeflowServer
) -> None:
    kubeflow.advance = [look("RUNNING", prepare="RUNNING"), look("SUCCEEDED", prepare="SUCCEEDED")]
    (entry,) = forge.say("/submit line --set prepare.most=3", root=repository)
    assert entry.state == "done", entry.text
    run = run_of(kubeflow)
    head = git(repository, "rev-parse", "topic").strip()
    assert run["runtime_config"]["parameters"] == {"prepare_most": 3, "revision": head}
    assert run["display_name"].startswith(f"line {head[:7]} comment-")
    assert kubeflow.experiments[run["experiment_id"]]["display_name"] == "topic"
    assert f"[Run on Kubeflow]({kubeflow.address}/#/runs/details/{run['run_id']})" in entry.text


def test_what_passes_is_published_on_the_requests_branch_and_not_deployed(
    forge: Place, repository: Path, kubeflow: KubeflowServer
) -> None:
    """Who may submit may not deploy by that, whatever is deployed after a merge."""
    kubeflow.advance = [look("SUCCEEDED", gate="SUCCEEDED", rejected="SUCCEEDED")]
    (entry,) = forge.say("/submit curve", root=repository)
    assert entry.state == "rejected", entry.text
    parameters = run_of(kubeflow)["runtime_config"]["parameters"]
    assert (parameters["branch"], parameters["deploy"]) == ("topic", "")
    assert forge.labels() == {"nbship:rejected"}


def test_submitted_again_after_a_kill_it_is_the_same_run(
    forge: Place, repository: Path, kubeflow: KubeflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    comment = forge.write("/submit line")
    kubeflow.advance = [look("SUCCEEDED", prepare="SUCCEEDED")]

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(waiting, "follow", killed)
        forge.work(comment, root=repository)
    assert [entry.state for entry in forge.entries(comment)] == ["running"]
    forge.work(comment, root=repository)
    assert [entry.state for entry in forge.entries(comment)] == ["done"]
    assert len(kubeflow.runs) == 1


def test_a_run_that_failed_says_so(forge: Place, repository: Path, kubeflow: KubeflowServer) -> None:
    kubeflow.advance = [look("FAILED", prepare="FAILED")]
    (entry,) = forge.say("/build_run line", root=repository)
    assert entry.state == "failed"
    assert "Failed: prepare" in entry.text


@pytest.mark.parametrize("setting", ["repository=https://evil.example.org", "branch=main", "revision=x"])
def test_what_decides_where_tokens_go_is_not_for_comments(
    forge: Place, repository: Path, kubeflow: KubeflowServer, setting: str
) -> None:
    (entry,) = forge.say(f"/submit line --set {setting}", root=repository)
    assert (entry.state, kubeflow.runs) == ("refused", {})
