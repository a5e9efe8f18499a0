"""The way back, on a real project with a kernel, DVC and a remote: what it takes in, and what ends it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import yaml

from nbship.config import load_pipeline
from nbship.errors import NbshipError, RejectedError, UsageError
from nbship.monitoring.partitions import write_table
from nbship.monitoring.records import label_columns, open_required, write_records
from nbship.record import State, all_runs
from nbship.versions import content, dvc, upstream
from nbship.workflow.incluster.monitor import main as look
from nbship.workflow.publish import publish
from nbship.workflow.retrain import Retrained, RetrainRequest, retrain
from nbship.workflow.run import RunRequest, run
from tests.gitlab_server import GitlabServer, serve
from tests.projects import write_notebook
from tests.repositories import git, set_remote
from tests.servers import http_server

PREPARE = """\
table: "Input[Dataset]" = "data.csv"  # points
train_set: "Output[Dataset]" = "build/train.csv"  # to learn from
test_set: "Output[Dataset]" = "build/test.csv"  # held out
"""
PREPARE_CODE = """\
import pandas as pd
rows = pd.read_csv(table)
held_out = (rows["x"] * 10).round().astype(int) % 3 == 0  # the content of a row decides
rows[~held_out].to_csv(train_set, index=False)
rows[held_out].to_csv(test_set, index=False)
"""
TRAIN = """\
train_set: "Input[Dataset]" = "build/train.csv"  # to learn from
model: "Output[Model]" = "build/model.joblib"  # the model
"""
TRAIN_CODE = """\
import joblib, pandas as pd
from sklearn.neighbors import KNeighborsRegressor
rows = pd.read_csv(train_set)
joblib.dump(KNeighborsRegressor(3).fit(rows[["x"]], rows["y"]), model)
"""
EVALUATE = """\
test_set: "Input[Dataset]" = "build/test.csv"  # held out
model: "Input[Model]" = "build/model.joblib"  # to judge
metrics: "Output[Metrics]" = "build/metrics.json"  # mean squared error
losses: "Output[Dataset]" = "build/losses.csv"  # of each row
"""
EVALUATE_CODE = """\
import joblib, json, pandas as pd
rows = pd.read_csv(test_set)
loss = (joblib.load(model).predict(rows[["x"]]) - rows["y"]) ** 2
pd.DataFrame({"row": rows["x"], "loss": loss}).to_csv(losses, index=False)
json.dump({"error": loss.mean()}, open(metrics, "w"))
"""
PIPELINE = {
    "name": "curve",
    "data": {"table": {"path": "data.csv"}},
    "steps": {name: {"notebook": f"{name}.ipynb"} for name in ("prepare", "train", "evaluate")},
    "gate": {"thresholds": {"error": {"max": 50}}},
    "publish": {"target": "y"},
    "monitor": {"store": "../records"},
}


def points(first: int, last: int, wrong: float = 0) -> pd.DataFrame:
    x = pd.Series([i / 10 for i in range(first, last)])
    return pd.DataFrame({"x": x, "y": (x**2 + wrong * (x * 10 % 7)).round(3)})


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose champion has learnt the points up to 10, in a clone of what everybody has."""
    folder = tmp_path_factory.mktemp("story")
    root = folder / "project"
    for name, parameters, code in (
        ("prepare", PREPARE, PREPARE_CODE),
        ("train", TRAIN, TRAIN_CODE),
        ("evaluate", EVALUATE, EVALUATE_CODE),
    ):
        write_notebook(root / f"{name}.ipynb", parameters, code)
    (root / "pipelines").mkdir()
    (root / "pipelines/curve.yaml").write_text(yaml.safe_dump(PIPELINE))
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text("")
    (root / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    ignored = ("/data.csv", "/runs/", "/.nbship/", "/models/*/*", "!/models/*/*.dvc", "!/models/*/model.json")
    (root / ".gitignore").write_text("\n".join(ignored) + "\n")
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    git(root, "init", "--quiet", "--initial-branch=main")
    # The settings that each test has are not there yet.
    git(root, "config", "user.name", "Ada Lovelace")
    git(root, "config", "user.email", "ada@example.org")
    (folder / "dvc").mkdir()
    set_remote(root, "../../dvc")
    points(0, 100).to_csv(root / "data.csv", index=False)
    tracked = dvc.store(root, root / "data.csv")
    (root / "data.csv.dvc").write_text(dvc.tracking_text(root / "data.csv", tracked))
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Begin")
    git(root, "remote", "add", "origin", "../origin.git")
    git(root, "push", "--quiet", "--set-upstream", "origin", "main")
    run(root, RunRequest("curve"))
    publish(root, load_pipeline(root, "curve"), push=True)
    return root


@pytest.fixture
def root(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The whole story so far, for one test alone."""
    shutil.copytree(published.parent, tmp_path / "story", symlinks=True)
    monkeypatch.chdir(tmp_path / "story" / "project")
    return tmp_path / "story" / "project"


def keep(root: Path, rows: pd.DataFrame, batch: str = "later") -> None:
    """Keeps records of rows, and labels that came for them."""
    rows = rows.set_axis([f"{batch}-{number:03}" for number in range(len(rows))])
    now = datetime.now(UTC)
    answers = pd.DataFrame({"time": now, "version": "v1.0.0", "prediction": 1.0}, index=rows.index)
    write_records("../records", "curve", rows[["x"]], answers, batch)
    values = {
        "id": list(rows.index),
        "value": rows["y"].tolist(),
        "arrived": now,
        "added": now,
        "source": "test",
    }
    labels = pa.Table.from_pandas(pd.DataFrame(values), label_columns(), preserve_index=False)
    write_table(open_required("../records"), "curve", "labels", now.date(), batch, labels)


def begin(root: Path, **asked: object) -> Retrained:
    return retrain(root, RetrainRequest("curve", "x is far from training", **asked), {})  # type: ignore[arg-type]


def branches(root: Path) -> list[str]:
    listed = git(root.parent / "origin.git", "branch", "--format=%(refname:short)").split()
    return [each for each in listed if each.startswith("retrain/")]


def settings(root: Path, **changes: object) -> None:
    path = root / "pipelines/curve.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    git(root, "commit", "--quiet", "--all", "--message", "Change")


@pytest.fixture
def gitlab() -> Iterator[GitlabServer]:
    with serve(GitlabServer()) as running:
        yield running


def test_new_rows_become_data_a_run_and_a_merge_request(root: Path, gitlab: GitlabServer) -> None:
    keep(root, points(100, 160))
    before = git(root, "rev-parse", "HEAD"), (root / "data.csv").read_bytes()
    done = retrain(root, RetrainRequest("curve", "x is far from training"), gitlab.environment)
    assert (done.outcome, done.rows, branches(root)) == ("pushed", 60, [done.branch])
    # Nothing here has changed.
    assert (git(root, "rev-parse", "HEAD"), (root / "data.csv").read_bytes()) == before
    assert git(root, "status", "--porcelain") == ""
    # The branch has the data, on the DVC remote too, and which labels went in.
    origin = root.parent / "origin.git"
    assert git(origin, "diff", "--name-only", "main", done.branch).split() == [
        "data.csv.dvc",
        "data.csv.labels",
    ]
    taken = git(origin, "show", f"{done.branch}:data.csv.labels").splitlines()
    assert [line for line in taken if line[0] != "#"] == [f"later-{number:03}" for number in range(60)]
    md5 = yaml.safe_load(git(origin, "show", f"{done.branch}:data.csv.dvc"))["outs"][0]["md5"]
    stored = root.parent / "dvc/files/md5" / md5[:2] / md5[2:]
    expected = pd.concat([points(0, 100), points(100, 160)])
    assert stored.read_text() == expected.to_csv(index=False)
    # The merge request says why, how old and new were weighed, and what the gate says.
    (opened,) = gitlab.merge_requests.values()
    assert (opened["source_branch"], opened["target_branch"]) == (done.branch, "main")
    assert opened["web_url"] == done.merge_request
    assert "x is far from training" in opened["description"]
    assert "54 rows are held out, 20 of them new; every one counts once" in opened["description"]
    assert "better than the champion" in opened["description"]
    record = next(iter(all_runs(root, "curve")))
    assert record.id == done.run
    assert record.verdict is not None and record.verdict.comparison is not None
    assert record.verdict.comparison.outcome == "better"


def test_the_same_rows_never_begin_another(root: Path) -> None:
    keep(root, points(100, 160))
    first = begin(root)
    assert begin(root).outcome == "tried already"
    # Merged, they are part of the data: what the new model answers is no reason either.
    git(root, "fetch", "--quiet", "origin", first.branch)
    git(root, "merge", "--quiet", "--ff-only", "FETCH_HEAD")
    done = begin(root)
    assert (done.outcome, done.rows) == ("too few", 0)
    # More rows are, but not at once.
    keep(root, points(160, 200), "more")
    assert (begin(root).outcome, begin(root).rows) == ("cooling down", 40)
    settings(root, monitor={"store": "../records", "cooldown": 0})
    done = begin(root)
    assert (done.outcome, done.rows) == ("pushed", 40)
    taken = git(root.parent / "origin.git", "show", f"{done.branch}:data.csv.labels")
    assert "later-000" in taken and "more-000" in taken


def test_what_the_gate_rejects_is_not_pushed_and_not_tried_again(root: Path) -> None:
    keep(root, points(100, 160, wrong=40))
    with pytest.raises(RejectedError, match=r"60 new rows was rejected: .*error"):
        begin(root)
    assert branches(root) == []
    done = begin(root)
    assert (done.outcome, done.told.endswith("which was rejected")) == ("tried already", True)


@pytest.mark.parametrize("step", ["push_branch", "push_content", "note_attempt"])
def test_cut_off_anywhere_a_repeat_goes_on(
    root: Path, gitlab: GitlabServer, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the data, before the branch, or after all but the note that it was done."""
    keep(root, points(100, 160))
    with monkeypatch.context() as cut:
        place = {"push_branch": upstream, "push_content": content}.get(step)
        target = f"nbship.monitoring.retraining.{step}" if place is None else f"{place.__name__}.{step}"

        def killed(*arguments: object) -> None:
            raise KeyboardInterrupt

        cut.setattr(target, killed)
        with pytest.raises(KeyboardInterrupt):
            retrain(root, RetrainRequest("curve"), gitlab.environment)
    assert (len(branches(root)), len(gitlab.merge_requests)) == ((1, 1) if place is None else (0, 0))
    assert git(root, "status", "--porcelain") == ""
    done = retrain(root, RetrainRequest("curve"), gitlab.environment)
    assert (done.outcome, branches(root)) == ("pushed", [done.branch])
    assert len(gitlab.merge_requests) == 1
    steps = next(iter(all_runs(root, "curve"))).steps
    assert {each.name for each in steps.values() if each.state is State.CACHED} >= {"prepare", "train"}


def test_what_cannot_be_learnt_from_is_said(root: Path) -> None:
    keep(root, points(100, 160))
    settings(root, monitor={"store": "../records", "private": {"x": "hash"}})
    with pytest.raises(UsageError, match="no values of x"):
        begin(root)
    settings(root, monitor={"store": "../records"}, retrain={"rule": "weight", "weight": 3})
    with pytest.raises(UsageError, match="no notebook of curve uses the column sample_weight"):
        begin(root)
    settings(root, monitor={})
    with pytest.raises(UsageError, match=r"has no monitor\.store"):
        begin(root)
    (root / "pipelines/curve.yaml").write_text("name: curve\n")
    with pytest.raises(NbshipError):
        begin(root)


def test_the_nightly_look_pushes_what_it_found(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the job's own command, in a clone of its own; a pipeline without records is left alone."""
    keep(root, points(100, 160))
    settings(root, monitor={"store": str(root.parent / "records")})
    other = yaml.safe_load((root / "pipelines/curve.yaml").read_text()) | {"name": "other", "monitor": {}}
    (root / "pipelines/other.yaml").write_text(yaml.safe_dump(other))
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Add another")
    git(root, "push", "--quiet", "--tags", "origin", "main")
    pushed: list[tuple[str, str]] = []

    class Pushgateway(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            pushed.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(200)
            self.end_headers()

    environment = {"NBSHIP_MONITOR_REPOSITORY": str(root.parent / "origin.git")}
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(root.parent / "everywhere"))
    (root.parent / "everywhere").mkdir()
    everywhere = f"[core]\n    remote = shared\n['remote \"shared\"']\n    url = {root.parent}/dvc\n"
    (root.parent / "everywhere/config").write_text(everywhere)
    with http_server(Pushgateway) as address:
        assert look(["--push", address], environment) == 0
    ((path, text),) = pushed
    assert path == "/metrics/job/nbship-monitor/model/curve"
    assert 'nbship_monitor_state{model="curve"} 2.0' in text
    assert 'nbship_monitor_column_effect{column="x",model="curve"} 1.0' in text
    assert 'nbship_monitor_labelled_records{model="curve"} 60.0' in text
    assert "newest_label_timestamp_seconds" in text
    assert "curve: act: " in capsys.readouterr().out
    assert look(["--push", address], {}) == 2
