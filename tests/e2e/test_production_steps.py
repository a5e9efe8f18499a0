"""The compiled pipeline as Kubeflow runs it, by KFP itself on this machine: Git over HTTP, DVC on S3."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from kfp import components, local

from nbship import package
from nbship.config import load_pipeline
from nbship.record import RunRecord
from nbship.versions import dvc, registry
from nbship.workflow.compile import compile_pipeline
from nbship.workflow.publish import publish
from nbship.workflow.run import RunRequest, run
from tests.projects import write_notebook
from tests.publishing import origin_of
from tests.repositories import git, track
from tests.servers import TOKEN, Watch, git_server

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore")]

RECIPES = Path(__file__).parents[2] / "notebooks/shared/compare-recipes.ipynb"
ROWS = b"x,y\n" + b"".join(b"%d,%d\n" % (x, 2 * x + x % 3) for x in range(60))
PIPELINE = """\
name: line
data: {table: {path: points.csv, description: Points}}
steps:
  prepare: {notebook: prepare.ipynb}
  train: {notebook: train.ipynb}
  evaluate: {notebook: evaluate.ipynb, parameters: {target: y}}
gate: {thresholds: {rmse: {max: 100}}, tolerance: 0.05, recipes: compare-recipes.ipynb}
publish: {target: y, store: STORE}
"""
PREPARE = """\
table: "Input[Dataset]" = "points.csv"
train_set: "Output[Dataset]" = "build/train_set.csv"
test_set: "Output[Dataset]" = "build/test_set.csv"
"""
TRAIN = """\
train_set: "Input[Dataset]" = "build/train_set.csv"
model: "Output[Model]" = "build/model.joblib"
scale: float = 1.0  # multiplies the labels: away from 1 the model is worse
"""
EVALUATE = """\
model: "Input[Model]" = "build/model.joblib"
test_set: "Input[Dataset]" = "build/test_set.csv"
metrics: "Output[Metrics]" = "build/metrics.json"
losses: "Output[Dataset]" = "build/losses.csv"
target: str = ""
"""
CODE = {
    "prepare": (
        PREPARE,
        "import pandas as pd\nrows = pd.read_csv(table)\n"
        "rows[::2].to_csv(train_set, index=False)\nrows[1::2].to_csv(test_set, index=False)",
    ),
    "train": (
        TRAIN,
        "import joblib, pandas as pd\nfrom sklearn.linear_model import LinearRegression\n"
        "rows = pd.read_csv(train_set)\n"
        "joblib.dump(LinearRegression().fit(rows[['x']], rows['y'] * scale), model)",
    ),
    "evaluate": (
        EVALUATE,
        "import joblib, json, pandas as pd\nrows = pd.read_csv(test_set)\n"
        "squares = (joblib.load(model).predict(rows[['x']]) - rows['y']) ** 2\n"
        "json.dump({'rmse': float(squares.mean() ** 0.5)}, open(metrics, 'w'))\n"
        "pd.DataFrame({'row': rows.index, 'loss': squares}).to_csv(losses, index=False)",
    ),
}


@pytest.fixture
def served(shared: Path, bucket: str, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> str:
    """A project on a Git server, whose data and models are on S3; returns the repository's address."""
    root = shared
    for name, (parameters, code) in CODE.items():
        write_notebook(root / f"{name}.ipynb", parameters, code, title=name)
    shutil.copy(RECIPES, root)
    remote = root.parent.name
    (root / "pipelines/line.yaml").write_text(PIPELINE.replace("STORE", f"s3://models/{remote}/store"))
    (root / ".dvc/config.local").unlink()
    config = "[core]\n    analytics = false\n    remote = shared\n['remote \"shared\"']\n"
    (root / ".dvc/config").write_text(f"{config}    url = s3://models/{remote}/dvc\n")
    (root / ".gitignore").write_text((root / ".gitignore").read_text() + "/points.csv\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket)
    monkeypatch.setenv("NBSHIP_GIT_TOKEN", TOKEN)
    monkeypatch.delenv("NBSHIP_GITLAB_TOKEN", raising=False)
    (track(root, "points.csv", ROWS)).write_bytes(ROWS)
    dvc.push(root, root / "points.csv")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "A pipeline")
    git(root, "push", "--quiet")
    git(origin_of(root), "config", "http.receivepack", "true")
    with git_server(root.parent, watch) as server:
        yield f"{server}/origin.git"


@pytest.fixture
def submit(served: str, shared: Path, tmp_path: Path):
    """Runs the compiled pipeline; returns the folder with one folder per task that ran."""
    text = compile_pipeline(shared, "line").text

    def submitted(**arguments: Any) -> Path:
        folder = tmp_path / "kfp"
        shutil.rmtree(folder, ignore_errors=True)
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder))
        components.load_component_from_text(text)(repository=served, **arguments)
        (found,) = folder.iterdir()
        return found

    return submitted


def tasks(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def verdict(folder: Path) -> RunRecord:
    return RunRecord.model_validate_json((folder / "gate/run").read_text())


def tags(root: Path) -> list[str]:
    return git(origin_of(root), "tag", "--sort=version:refname").split()


NOTEBOOKS = {
    "resolve",
    "fetch-table",
    "fetch-champion",
    "prepare",
    "train",
    "evaluate",
    "evaluate-champion",
    "compare-recipes",
    "gate",
    "report",
}


def test_a_better_model_than_the_champion_then_a_worse_one_then_an_old_revision(
    shared: Path, submit: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A first model is Kubeflow's in the test of the guide; here it is this machine's."""
    old = git(shared, "rev-parse", "HEAD").strip()
    run(shared, RunRequest("line", ["train.scale=1.5"]))
    publish(shared, load_pipeline(shared, "line"), push=True)
    changed = ROWS + b"60,120\n"
    (track(shared, "points.csv", changed)).write_bytes(changed)
    dvc.push(shared, shared / "points.csv")
    git(shared, "commit", "--quiet", "--all", "--message", "A row")
    git(shared, "push", "--quiet")
    newest = git(shared, "rev-parse", "HEAD").strip()

    better = submit()
    assert tasks(better) == {*NOTEBOOKS, "publish"}
    assert (better / "resolve/commit").read_text() == newest
    assert (better / "fetch-table/file").read_bytes() == changed
    output = json.loads((better / "fetch-table/executor_output.json").read_text())
    assert output["artifacts"]["file"]["artifacts"][0]["metadata"]["path"] == "points.csv"
    judged = verdict(better).verdict
    # The same recipe, on labels that were right this time.
    assert (judged.comparison.folds, judged.comparison.difference) == (30, 0)
    assert (judged.held_out.outcome, judged.notes) == ("better", ())
    assert (better / "publish/version").read_text() == "v1.1.0"
    assert tags(shared) == ["line@v1.0.0", "line@v1.1.0"]
    git(shared, "pull", "--quiet")
    assert registry.champion(shared, "line")
    described = package.read_package(shared / "models/line")
    assert described.origin.revision == newest
    assert described.verdict == verdict(better).verdict
    assert described.origin.data.keys() == {"table"}

    before = git(origin_of(shared), "for-each-ref")
    worse = submit(train_scale=3.0)
    assert tasks(worse) == {*NOTEBOOKS, "rejected"}
    assert not verdict(worse).verdict.passed
    assert "on held-out rows it is shown to be worse" in verdict(worse).verdict.reasons[-1]
    assert verdict(worse).verdict.tries == judged.tries + 1
    assert git(origin_of(shared), "for-each-ref") == before

    with pytest.raises(RuntimeError, match="publish"):
        submit(revision=old)
    assert "the champion has changed since run" in capfd.readouterr().out
    (table,) = tmp_path.glob("kfp/*/fetch-table/file")
    assert table.read_bytes() == ROWS


def test_a_revision_that_was_not_pushed(submit, capfd):
    with pytest.raises(RuntimeError):
        submit(revision="nowhere")
    assert "error: the repository has no revision 'nowhere'" in capfd.readouterr().out


def test_no_token_is_told(submit, monkeypatch, capfd):
    monkeypatch.setenv("NBSHIP_GIT_TOKEN", "glpat-wrong-but-secret")
    with pytest.raises(RuntimeError):
        submit()
    said = "".join(capfd.readouterr())
    assert "error: Git cannot clone http://127.0.0.1" in said
    assert "glpat-wrong-but-secret" not in said
