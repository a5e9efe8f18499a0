"""The steps around the notebooks as Kubeflow calls them: a repository over HTTP, a cluster on loopback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nbship import package
from nbship.cluster import services
from nbship.errors import UsageError
from nbship.gate import Verdict
from nbship.package import trained
from nbship.record import RunRecord
from nbship.versions.clone import find_project
from nbship.workflow.incluster import delivery
from nbship.workflow.incluster.result import Result
from tests.deploying import predict, serving
from tests.kubeflow_runs import EXIT_HANDLER_STATES
from tests.kubernetes_server import KubernetesServer, serve, write_kube_config
from tests.repositories import git
from tests.runs import make_run
from tests.servers import TOKEN, Watch, git_server

PIPELINE = """\
name: line
steps:
  prepare: {notebook: prepare.ipynb}
  train: {notebook: train.ipynb}
  evaluate: {notebook: evaluate.ipynb}
gate: {thresholds: {rmse: {max: 1}}, step: evaluate}
publish: {target: y, model: train.model, reference: prepare.train_set, store: STORE}
deploy: {timeout: 3, requests: 5, stages: {staging: {namespace: models, storage: 'pvc://store/models'}}}
"""
RUN_PAGE = "https://k.example.org/#/runs/details"
GATE = '{"thresholds": {"evaluate.rmse": {"max": 1}}, "step": "evaluate"}'
NAMES = {"train.model": "model.joblib", "prepare.train_set": "train_set.csv"}


@dataclass
class Artifact:
    """What KFP hands to a step."""

    path: str
    metadata: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesServer]:
    monkeypatch.setattr(services, "_POLL", (0.005, 0.02))
    with serve(KubernetesServer(served=predict)) as server:
        monkeypatch.setenv("KUBECONFIG", str(write_kube_config(tmp_path / "kube", server.address)))
        yield server


@pytest.fixture(params=["", "models/cars"])
def address(
    request: pytest.FixtureRequest, folder_without_git: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A repository on a server, with the project at its top or in a folder; returns its address."""
    work = tmp_path / "work"
    project = shutil.copytree(folder_without_git, work / request.param)
    (project / "pipelines/line.yaml").write_text(PIPELINE.replace("STORE", str(tmp_path / "store")))
    (tmp_path / "dvc").mkdir()
    config = "[core]\n    analytics = false\n    remote = shared\n['remote \"shared\"']\n"
    (project / ".dvc/config").write_text(f"{config}    url = {tmp_path / 'dvc'}\n")
    git(work, "init", "--quiet")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message", "Begin")
    git(tmp_path, "clone", "--quiet", "--bare", str(work), "origin.git")
    git(tmp_path / "origin.git", "config", "http.receivepack", "true")
    monkeypatch.setenv("NBSHIP_GIT_TOKEN", TOKEN)
    monkeypatch.delenv("NBSHIP_GITLAB_TOKEN", raising=False)
    with git_server(tmp_path, Watch()) as server:
        yield f"{server}/origin.git"


def publish(address: str, folder: Path) -> str:
    """Publishes a model as the step does; returns the version that it puts out."""
    record = make_run(folder, "20250101-000000-aaaa")
    run = folder / "runs/line" / record.id
    version = folder / "version"
    delivery.publish(
        str(version),
        Artifact(str(run / "run.json")),
        {
            reference: Artifact(str(run / f"artifacts/{reference.partition('.')[0]}/{name}"))
            for reference, name in NAMES.items()
        },
        names=NAMES,
        pipeline="line",
        repository=address,
        branch="",
        host="",
        job="4f1e",
    )
    return version.read_text()


def told(log: str) -> Result:
    """What a step tells in its log, to be read by who waits for the run."""
    (line,) = (line for line in log.split("\n") if line.startswith("nbship-result "))
    return Result.model_validate_json(line.removeprefix("nbship-result "))


class Page:
    """What KFP's page shows of metrics."""

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {}

    def log_metric(self, name: str, value: float | str) -> None:
        self.shown[name] = value


@pytest.mark.parametrize(
    ("gate", "rmse", "outcome"),
    [("", 3, "pass"), (GATE, 0.5, "pass"), (GATE, 3, "reject"), (GATE, float("nan"), "reject")],
)
def test_the_verdict_and_the_metrics_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], gate: str, rmse: float, outcome: str
) -> None:
    (tmp_path / "metrics").write_text(json.dumps({"rmse": rmse}))
    (tmp_path / "losses").write_text("row,loss\n1,0.5\n2,0.25\n")
    (tmp_path / "no champion").touch()
    page, run = Page(), Artifact(str(tmp_path / "run"))
    decided = delivery.decide(
        run,
        page,
        pipeline="line",
        commit="c0ffee",
        hashes={"table": "da7a"},
        measured={"evaluate.metrics": Artifact(str(tmp_path / "metrics"))},
        results={"train.rows": 20},
        losses=Artifact(str(tmp_path / "losses")),
        champion_losses=Artifact(str(tmp_path / "no champion")),
        gate=gate,
    )
    record = RunRecord.model_validate_json(Path(run.path).read_text())
    found = told(capsys.readouterr().out)
    assert decided == outcome
    assert repr(found.verdict) == repr(record.verdict)
    assert repr(found.metrics["evaluate.rmse"]) == repr(float(rmse))
    assert repr(found.main_metrics) == repr(dict(found.metrics) if not gate else {"rmse": float(rmse)})
    assert page.shown["train.rows"] == 20


@pytest.mark.parametrize("there", [True, False], ids=["a champion", "no champion"])
def test_the_champion_that_is_handed_on_is_what_the_model_is_judged_by(tmp_path: Path, there: bool) -> None:
    """As `fetch` hands it on: files that are empty where there is no champion."""

    def write(name: str, text: str) -> Artifact:
        (tmp_path / name).write_text(text)
        return Artifact(str(tmp_path / name))

    table = "x,y\n" + "".join(f"{n},{2 * n}\n" for n in range(60))
    losses = "row,loss\n" + "".join(f"{n},{1 + n}\n" for n in range(60))
    metrics = write("metrics", '{"rmse": 0.5}')
    evidence = {
        "held_out": write("held_out", table),
        "reference": write("reference", "x,y\n1000,1\n"),
        "refits": write("refits", '{"reason": "too many rows"}' if there else ""),
        "champion_description": write("model.json", ""),
        "champion_rows": write("trained_rows.npz", ""),
    }
    if there:
        seen = tmp_path / "champion.csv"
        seen.write_text("x,y\n" + "".join(f"{n},0\n" for n in range(20)))
        trained.write_trained_rows(tmp_path / "trained_rows.npz", seen, ["x"])
        make_run(tmp_path, "20250101-000000-aaaa")
        run_folder = tmp_path / "runs/line/20250101-000000-aaaa/artifacts"
        package.build(
            tmp_path,
            name="line",
            model=run_folder / "train/model.joblib",
            reference=run_folder / "prepare/train_set.csv",
            target="y",
            origin=package.Origin(run="r", started=datetime(2025, 1, 1, tzinfo=UTC)),
            metrics={},
            verdict=Verdict(passed=True, reasons=(), above_best=0.03),
        )
        trained.write_trained_rows(tmp_path / "trained_rows.npz", seen, ["x"])
    run = Artifact(str(tmp_path / "run.json"))
    decided = delivery.decide(
        run,
        Page(),
        pipeline="line",
        commit="c0ffee",
        hashes={"champion": "ab12" if there else "", "champion_rows": "cd34"},
        measured={"evaluate.metrics": metrics},
        results={},
        losses=write("losses.csv", losses),
        champion_losses=write("old.csv", losses if there else ""),
        evidence=evidence,
        names={"held_out": "test_set.csv", "reference": "train_set.csv"},
        target="y",
        gate=GATE,
    )
    assert decided == "pass"
    verdict = RunRecord.model_validate_json(Path(run.path).read_text()).verdict
    assert verdict is not None
    if not there:
        assert verdict.reasons[0] == "no champion yet: only the thresholds were applied"
        return
    assert verdict.comparison is not None
    assert verdict.comparison.rows == 40
    assert verdict.notes == (
        "the champion was trained on 20 of 60 held-out rows, which are left out",
        "too many rows",
    )
    assert (verdict.tries, verdict.above_best) == (1, pytest.approx(0.03))


def test_a_model_that_is_the_champion_keeps_its_version(address: str, tmp_path: Path) -> None:
    """As when all before was cached, or a run that was stopped while it published is submitted again."""
    first = publish(address, tmp_path / "pod")
    refs = git(tmp_path / "origin.git", "for-each-ref")
    assert publish(address, tmp_path / "another pod") == first == "v1.0.0"
    assert git(tmp_path / "origin.git", "for-each-ref") == refs


def test_what_was_published_is_deployed_and_recorded(
    address: str, cluster: KubernetesServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    origin = tmp_path / "origin.git"
    version = publish(address, tmp_path / "pod")
    assert version == "v1.0.0"
    assert told(capsys.readouterr().out) == Result(version="v1.0.0")
    delivery.deploy(pipeline="line", repository=address, branch="", stage="staging", version=version)
    assert serving(cluster) == {"v1.0.0": 100}
    assert git(origin, "tag").split() == ["line#staging#1", "line@v1.0.0"]
    assert git(origin, "rev-parse", "line#staging#1^{}") == git(origin, "rev-parse", "line@v1.0.0^{}")


def test_a_version_that_the_cluster_does_not_take_ends_the_step(
    address: str, cluster: KubernetesServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(address, tmp_path / "pod")
    cluster.served = lambda predictor, body: (200, {"predictions": [0]})
    with pytest.raises(SystemExit) as ended:
        delivery.deploy(pipeline="line", repository=address, branch="", stage="staging", version="v1.0.0")
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "error: " in said
    assert TOKEN not in said
    assert git(tmp_path / "origin.git", "tag").split() == ["line@v1.0.0"]


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (["."], "."),
        (["a/b"], "a/b"),
        ([".", "a"], "."),
        (["a", "b"], "the repository has several pipelines/line.yaml: in a/, b/"),
        ([], "the repository has no pipelines/line.yaml at this revision"),
        (["a/pipelines/compiled"], "the repository has no pipelines/line.yaml at this revision"),
    ],
)
def test_the_project_in_a_repository(tmp_path: Path, folders: list[str], found: str) -> None:
    git(tmp_path, "init", "--quiet")
    for folder in folders:
        path = tmp_path / folder / "pipelines/line.yaml"
        if folder.endswith("compiled"):
            path = tmp_path / folder / "line.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    git(tmp_path, "add", "--all")
    if found.startswith("the "):
        with pytest.raises(UsageError, match=found):
            find_project(tmp_path, "line")
    else:
        assert find_project(tmp_path, "line") == tmp_path / found


@pytest.mark.parametrize(
    ("state", "told"), [(state, told) for told, states in EXIT_HANDLER_STATES.items() for state in states]
)
@pytest.mark.parametrize(("host", "link"), [("https://k.example.org/", f"{RUN_PAGE}/4f1e"), ("", "")])
def test_how_a_run_ended_is_told_with_its_page(monkeypatch, state, told, host, link):
    outcomes = []
    monkeypatch.setattr(delivery, "_tell", outcomes.append)
    delivery.report_end(
        SimpleNamespace(state=state),
        pipeline="line",
        repository="https://git.example.org/cars.git",
        revision="1" * 40,
        host=host,
        job="4f1e",
        judged=False,
    )
    (outcome,) = outcomes
    assert (outcome.state, outcome.link, outcome.revision) == (told, link, "1" * 40)
