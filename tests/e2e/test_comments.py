"""A merge request worked by comments alone, on each forge: from `/run` to deployed and merged."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from nbship.chatops import work
from nbship.chatops.events import read_comment
from nbship.cluster import services
from nbship.config import load_pipeline
from nbship.workflow import watching
from nbship.workflow.publish import publish
from nbship.workflow.run import RunRequest, run
from tests import commenting
from tests.commenting import NUMBER, Place
from tests.deploying import ROOT
from tests.kubernetes_server import TOKEN, KubernetesServer, serve, write_kube_config
from tests.projects import write_notebook
from tests.repositories import git, set_remote

pytestmark = pytest.mark.e2e
PIPELINE = {
    "name": "line",
    "data": {"table": {"path": "data.csv"}},
    "steps": {name: {"notebook": f"notebooks/{name}.ipynb"} for name in ("prepare", "train", "evaluate")},
    "gate": {"thresholds": {"error": {"max": 5}}},
    "publish": {"target": "y", "store": "../store"},
    "monitor": {"store": "../records"},
    "deploy": {
        "timeout": 5,
        "requests": 5,
        "dwell": 0,
        "stages": {
            "staging": {"namespace": "staging", "storage": "pvc://store/models"},
            "production": {"namespace": "models", "storage": "pvc://store/models"},
        },
    },
}
SECRETS = (TOKEN, commenting.github_server.TOKEN, commenting.gitlab_server.TOKEN)
POINTS = [(x, 2 * x + 3 + (x * 7 % 5 - 2) / 2) for x in range(1, 40)]
SETTINGS = "chatops: {merge: when deployed}\n"
PREPARE = """\
table: "Input[Dataset]" = "data.csv"  # points
train_set: "Output[Dataset]" = "build/train_set.csv"  # points to learn from
test_set: "Output[Dataset]" = "build/test_set.csv"  # points to judge by
"""
PREPARE_CODE = """\
import pandas as pd
points = pd.read_csv(table)
points[points.x % 3 > 0].to_csv(train_set, index=False)
points[points.x % 3 == 0].to_csv(test_set, index=False)"""
TRAIN = """\
train_set: "Input[Dataset]" = "build/train_set.csv"  # points to learn from
model: "Output[Model]" = "build/model.joblib"  # a line
intercept: bool = False  # whether the line may miss the origin
"""
TRAIN_CODE = """\
import joblib, pandas as pd
from sklearn.linear_model import LinearRegression
points = pd.read_csv(train_set)
joblib.dump(LinearRegression(fit_intercept=intercept).fit(points[["x"]], points["y"]), model)"""
EVALUATE = """\
test_set: "Input[Dataset]" = "build/test_set.csv"  # points to judge by
model: "Input[Model]" = "build/model.joblib"  # a line
metrics: "Output[Metrics]" = "build/metrics.json"  # how far off
losses: "Output[Dataset]" = "build/losses.csv"  # for each point
"""
EVALUATE_CODE = """\
import joblib, json, pandas as pd
points = pd.read_csv(test_set)
off = abs(joblib.load(model).predict(points[["x"]]) - points["y"])
json.dump({"error": off.mean()}, open(metrics, "w"))
pd.DataFrame({"row": off.index, "loss": off}).to_csv(losses, index=False)"""


def commit(root: Path, message: str) -> str:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", message)
    return git(root, "rev-parse", "HEAD").strip()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("comments"))


def make(folder: Path) -> Path:
    """Makes a remote, and a project: `main` has a first version, and `topic` a better line."""
    root = folder / "project"
    write_notebook(root / "notebooks/prepare.ipynb", PREPARE, PREPARE_CODE)
    write_notebook(root / "notebooks/train.ipynb", TRAIN, TRAIN_CODE)
    write_notebook(root / "notebooks/evaluate.ipynb", EVALUATE, EVALUATE_CODE)
    (root / "data.csv").write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in POINTS))
    (root / "nbship.yaml").write_text(SETTINGS)
    (root / "pipelines").mkdir()
    (root / "pipelines/line.yaml").write_text(yaml.safe_dump(PIPELINE))
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes((ROOT / name).read_bytes())
    (root / ".gitignore").write_text("/models/*/model.joblib\n/models/*/*.csv\n/runs/\n/.nbship/\n")
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "config", "user.name", "Ada Lovelace")
    git(root, "config", "user.email", "ada@example.org")
    git(root, "remote", "add", "origin", str(folder / "origin.git"))
    set_remote(root, "../../dvc")
    commit(root, "Begin")
    git(root, "push", "--quiet", "--set-upstream", "origin", "main")
    run(root, RunRequest("line"))
    publish(root, load_pipeline(root, "line"), push=True, branch="main")
    git(root, "switch", "--quiet", "--create", "topic")
    write_notebook(root / "notebooks/train.ipynb", TRAIN.replace("False", "True"), TRAIN_CODE)
    commit(root, "Let the line miss the origin")
    git(root, "push", "--quiet", "--set-upstream", "origin", "topic")
    return folder


def copied(made: Path, to: Path) -> Path:
    """Copies it, with a clone of `main` as the jobs have it that are trusted."""
    copy = shutil.copytree(made, to, symlinks=True)
    git(copy / "project", "remote", "set-url", "origin", str(copy / "origin.git"))
    git(copy, "clone", "--quiet", "origin.git", "trusted")
    for key, value in {"user.name": "nbship", "user.email": "nbship@example.org"}.items():
        git(copy / "trusted", "config", key, value)
    set_remote(copy / "trusted", "../../dvc")
    return copy


@contextmanager
def working(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs a cluster to deploy to, in which nothing takes its time."""
    monkeypatch.setattr(services, "_POLL", (0.005, 0.02))
    monkeypatch.setattr(services, "_PAUSE", (0.005, 0.05))
    monkeypatch.setattr(watching, "_PAUSE", 0.02)
    with serve(KubernetesServer(served=answered)) as server:
        monkeypatch.setenv("KUBECONFIG", str(write_kube_config(folder / "kube", server.address)))
        yield


def answered(predictor: Any, body: Any) -> tuple[int, Any]:
    """The line of each version: that of v1.0.0 goes through the origin, and is fitted to the others."""
    rows = [float(each["x"] if isinstance(each, dict) else each[0]) for each in body["instances"]]
    xs, ys = zip(*[(x, y) for x, y in POINTS if x % 3], strict=True)
    slope, shift = sum(x * y for x, y in zip(xs, ys, strict=True)) / sum(x * x for x in xs), 0.0
    if predictor["labels"]["nbship/version"] == "v1.1.0":
        slope, shift = np.polyfit(xs, ys, 1)
    return 200, {"predictions": [slope * x + shift for x in rows]}


class Request:
    """The merge request, and those who work it: a runner for each pipeline."""

    def __init__(self, forge: Place, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.forge, self.folder, self.pipeline = forge, folder, 100
        monkeypatch.setattr(work, "time", SimpleNamespace(sleep=self._code, monotonic=time.monotonic))
        self.pushed("2026-01-31T11:00:00Z")

    def pushed(self, when: str) -> None:
        """Tells the forge of the branch as it is now."""
        origin = self.folder / "origin.git"
        head = git(origin, "rev-parse", "topic").strip()
        for ref in ("refs/pull", "refs/merge-requests"):
            git(origin, "update-ref", f"{ref}/{NUMBER}/head", head)
        self.forge.push(head, when)

    def say(self, text: str, author: str, when: str) -> str:
        """Has a comment worked by a pipeline of the default branch; returns what is told."""
        self.pipeline += 1
        self.forge.at(when)
        comment = self.forge.write(text, author)
        code = self.forge.work(comment, root=self.folder / "trusted", pipeline=self.pipeline)
        (entry,) = self.forge.entries(comment)
        assert code == 0, entry.text
        assert entry.state == "done"
        self.forge.end(self.pipeline)
        return entry.text

    def _code(self, _: float) -> None:
        """The pipeline that was started on the branch: it has what the branch has, and no more."""
        number = max(self.forge.server.started)
        _, variables = self.forge.server.started[number]
        told = {**self.forge.environment(number), **variables}
        comment = read_comment(told)
        assert comment
        self.forge.work(comment, root=self.folder / "project", pipeline=number, part="code", environment=told)
        self.forge.end(number)


def work_request(forge: Place, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Brings the merge request into production; returns what was told of each comment."""
    forge.settings(SETTINGS)
    request = Request(forge, folder, monkeypatch)
    why = "The line does not go through the origin."
    told = [request.say(f"{why}\n\n/run line", "ada", "2026-01-31T12:00:00Z")]
    # What a run on Kubeflow does last: it publishes on the branch that it was submitted for.
    project = folder / "project"
    publish(project, load_pipeline(project, "line"), push=True, branch="topic")
    request.pushed("2026-01-31T13:00:00Z")
    told += [request.say("/staging_deploy line", "ada", "2026-01-31T14:00:00Z")]
    told += [request.say("Thank you!\n\n/deploy line", "grace", "2026-01-31T15:00:00Z")]
    return told


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_from_run_to_merged(name: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied(made, tmp_path / "work")
    with commenting.place(name) as forge, working(tmp_path, monkeypatch):
        run_told, staged, deployed = work_request(forge, folder, monkeypatch)
        assert run_told.startswith("### ✅ line: Passed: better than the champion")
        assert "| error |" in run_told
        assert staged.startswith("line v1.1.0 serves in staging now")
        assert deployed.startswith("line v1.1.0 serves in production now")
        assert deployed.endswith("Merged.")
        assert forge.merged
        forge.at("2026-01-31T16:00:00Z")
        (entry,) = forge.say("/monitor line --stage production", pipeline=200, root=folder / "trusted")
        assert entry.text.startswith("**too few**: line v1.1.0, ")
        assert forge.labels() == {"nbship:passed", "nbship:staging", "nbship:deployed"}
        text = "\n".join(forge.server.bodies(NUMBER))
        assert not any(secret in text for secret in SECRETS)
        assert {"line#staging#1", "line#production#1"} <= {*git(folder / "origin.git", "tag").split()}
