"""What a person asks of a run: which steps, which settings, which verdict; and what the record says of it."""

from __future__ import annotations

import json
import os
import py_compile
import subprocess
from pathlib import Path

import pytest

from nbship.errors import NbshipError, UsageError
from nbship.files import content_hash
from nbship.kernels import forkserver
from nbship.record import State, all_runs, read
from nbship.versions.dvc import Tracked, tracking_file, tracking_text
from nbship.workflow import run as workflow
from tests.engine import (
    EVALUATE,
    NAME,
    PIPELINE,
    TRAIN,
    TRAIN_CODE,
    put_champion,
    run_points,
    states,
    write_points,
)
from tests.projects import write_notebook

OLD = 1_500_000_000


@pytest.fixture(scope="module", autouse=True)
def server():
    yield
    forkserver.stop()


@pytest.fixture
def root(tmp_path):
    return write_points(tmp_path)


@pytest.fixture
def after_a_run(root):
    run_points(root)
    return root


def only_run(root: Path) -> tuple[Path, ...]:
    (folder,) = (root / "runs" / NAME).iterdir()
    return (folder,)


def test_a_run_is_judged_and_shown(root):
    record, folder = run_points(root)
    assert record.state is State.DONE
    assert record.verdict.passed
    assert record.verdict.reasons[0] == "no champion yet: only the thresholds were applied"
    assert record.champion == ""
    assert read(folder) == record
    assert "<html" in (folder / "index.html").read_text()
    assert json.loads((folder / "metrics.json").read_text()) == record.metrics
    assert sorted(path.name for path in folder.iterdir()) == [
        "artifacts", "index.html", "metrics.json", "notebooks", "run.json"
    ]  # fmt: skip


def test_a_model_below_a_threshold_is_rejected(after_a_run):
    record, _ = run_points(after_a_run, "train.slope=9")
    assert record.state is State.DONE
    assert not record.verdict.passed
    assert record.settings == ["train.slope=9"]
    assert states(record) == {"prepare": "cached", "train": "done", "evaluate": "done"}


def test_an_override_file_counts(after_a_run, tmp_path):
    override = tmp_path / "other.yaml"
    override.write_text("steps: {train: {parameters: {slope: 9}}}\n")
    record, _ = run_points(after_a_run, override_files=[override])
    assert record.steps["train"].parameters == {"slope": 9.0}
    assert record.override_files == [str(override)]


def test_a_variable_counts_and_is_recorded(after_a_run, monkeypatch):
    monkeypatch.setenv("NBSHIP_TRAIN__SLOPE", "9")
    record, _ = run_points(after_a_run)
    assert record.steps["train"].parameters == {"slope": 9.0}
    assert record.variables == ["NBSHIP_TRAIN__SLOPE"]


@pytest.mark.parametrize(
    ("request_", "ran"),
    [
        ({}, set()),
        ({"force": True}, {"prepare", "train", "evaluate"}),
        ({"from_step": "train"}, {"train", "evaluate"}),
        ({"from_step": "evaluate"}, {"evaluate"}),
        ({"only": "train"}, {"train"}),
        ({"only": "evaluate"}, {"evaluate"}),
    ],
)
def test_what_is_run_again(after_a_run, request_, ran):
    record, _ = run_points(after_a_run, **request_)
    assert {name for name, state in states(record).items() if state == "done"} == ran


def test_only_a_step_leaves_out_what_it_does_not_need(after_a_run):
    record, _ = run_points(after_a_run, only="train")
    assert states(record) == {"prepare": "cached", "train": "done"}
    assert record.verdict is None


def test_only_a_step_runs_what_it_needs_where_the_cache_has_nothing(root):
    assert states(run_points(root, only="train")[0]) == {"prepare": "done", "train": "done"}


@pytest.mark.parametrize("settings", [[], ["train.slope=2.01"]])
def test_a_candidate_is_compared_with_the_champion(after_a_run, settings):
    put_champion(after_a_run, 2.5)
    record, _ = run_points(after_a_run, *settings)
    assert record.steps["evaluate-champion"].state is State.DONE
    assert record.verdict.passed
    assert record.verdict.comparison.outcome == "better"
    assert record.champion == content_hash(after_a_run / f"models/{NAME}/model.joblib")


def test_models_that_were_tried_on_the_same_rows_are_counted(after_a_run):
    put_champion(after_a_run, 2.5)
    tried = [
        run_points(after_a_run, f"train.slope={slope}")[0].verdict.tries for slope in (2.1, 2.2, 2.1, 2.3)
    ]
    assert tried == [1, 2, 2, 3]
    table = after_a_run / "data.csv"
    table.write_text(table.read_text() + "40,81\n")
    assert run_points(after_a_run, "train.slope=2.4")[0].verdict.tries == 1


@pytest.mark.parametrize("request_", [{}, {"only": "evaluate"}, {"from_step": "evaluate"}, {"force": True}])
def test_a_worse_candidate_is_rejected_however_it_is_run(after_a_run, request_):
    champion = put_champion(after_a_run, 2.0)
    before = content_hash(champion)
    record, _ = run_points(after_a_run, "train.slope=1.9", **request_)
    assert record.verdict.comparison.outcome == "worse"
    assert not record.verdict.passed
    assert content_hash(champion) == before


def test_only_the_gates_step_runs_what_the_verdict_needs(root):
    pipeline = root / "pipelines/points.yaml"
    text = PIPELINE.replace("gate: ", "  audit: {notebook: notebooks/audit.ipynb}\ngate: ")
    pipeline.write_text(text.replace("{error: {max: 5}}", "{error: {max: 5}, audit.faults: {max: 0}}"))
    write_notebook(root / "notebooks/audit.ipynb", 'faults: "Output[int]" = 0\n', "1")
    record, _ = run_points(root, only="evaluate")
    assert "audit" in record.steps
    assert record.verdict.passed
    assert "audit" not in run_points(root, only="train")[0].steps


def test_the_champion_of_the_same_content_is_not_judged_twice(root):
    record, folder = run_points(root)
    model = root / f"models/{NAME}/model.json"
    put_champion(root, 2.0)
    assert (folder / record.steps["train"].outputs["model"].path).read_text() == "2.0"
    assert not model.exists()
    again, _ = run_points(root)
    # Its file has another name, which a notebook may go by.
    assert again.steps["evaluate-champion"].state is State.DONE
    assert run_points(root)[0].steps["evaluate-champion"].state is State.CACHED


def test_a_champion_that_cannot_be_judged_fails_the_run(after_a_run):
    model = put_champion(after_a_run, 2.0)
    model.write_text("no model")
    with pytest.raises(NbshipError):
        run_points(after_a_run)


@pytest.mark.parametrize(
    ("settings", "request_", "told", "hint"),
    [
        ([], {"only": "trian"}, "no step 'trian'", "did you mean 'train'?"),
        ([], {"from_step": "evaluat"}, "no step 'evaluat'", "did you mean 'evaluate'?"),
        (["trian.slope=1"], {}, "no step or key 'trian'", "did you mean 'train'?"),
        (["train.slop=1"], {}, "no parameter 'slop'", "did you mean 'slope'?"),
        (["train.slope=steep"], {}, "'slope' is 'steep'", "slope: float"),
        ([], {"override_files": [Path("none.yaml")]}, "none.yaml", "check the path"),
    ],
)
def test_what_cannot_be_understood_runs_nothing(root, settings, request_, told, hint):
    with pytest.raises(UsageError) as caught:
        run_points(root, *settings, **request_)
    assert told in caught.value.message
    assert hint in caught.value.hint
    assert not (root / "runs").exists()


def test_a_failed_step_leaves_a_run_that_says_so(root):
    write_notebook(root / "notebooks/train.ipynb", TRAIN, "1 / 0")
    ended = []
    with pytest.raises(NbshipError, match="cell 3: ZeroDivisionError"):
        workflow.run(root, workflow.RunRequest(NAME), on_end=lambda *end: ended.append(end))
    ((record, folder),) = ended
    assert read(folder) == record
    assert record.state is State.FAILED
    assert record.verdict is None
    assert record.error.startswith("step 'train': train.ipynb, cell 3: ZeroDivisionError")
    assert "ZeroDivisionError" in (folder / "index.html").read_text()


@pytest.mark.parametrize(
    ("losses", "told"),
    [(b"no csv", "columns"), (b"\xff\xfe\0", "losses.csv"), (b"row,loss\n1,far\n", "number")],
)
def test_losses_that_cannot_be_read_fail_the_run(root, losses, told):
    metrics = "import json\njson.dump({'error': 1}, open(metrics, 'w'))"
    code = f"{metrics}\nopen(losses, 'wb').write({losses})"
    write_notebook(root / "notebooks/evaluate.ipynb", EVALUATE, code)
    put_champion(root, 2.0)
    with pytest.raises(NbshipError) as caught:
        run_points(root)
    (folder,) = only_run(root)
    assert told in caught.value.message
    assert read(folder).state is State.FAILED
    assert (folder / "index.html").exists()


def test_a_threshold_for_something_that_nobody_measures_is_told(root):
    with pytest.raises(UsageError, match="no step measured 'eror'"):
        run_points(root, "gate.thresholds={eror: {max: 1}}")
    (folder,) = only_run(root)
    assert read(folder).state is State.FAILED


def test_a_page_that_cannot_be_drawn_does_not_hide_the_failure(root, monkeypatch):
    def write(*_: object) -> None:
        raise RuntimeError("no page")

    monkeypatch.setattr(workflow, "write_run_page", write)
    with pytest.raises(NbshipError, match="RuntimeError: no page"):
        run_points(root)
    (record,) = all_runs(root)
    assert record.state is State.FAILED
    write_notebook(root / "notebooks/train.ipynb", TRAIN, "1 / 0")
    with pytest.raises(NbshipError, match="ZeroDivisionError"):
        run_points(root)
    assert [record.state for record in all_runs(root)] == [State.FAILED, State.FAILED]


def test_a_folder_that_cannot_be_written_to_is_told(root):
    (root / "runs").write_text("no folder")
    with pytest.raises(NbshipError, match="runs"):
        run_points(root)


def test_git_is_noted_where_there_is_one_and_not_missed(root):
    assert run_points(root)[0].environment.revision == ""
    for arguments in (["init", "-q"], ["add", "pipelines"], ["commit", "-qm", "Begin"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    assert len(run_points(root)[0].environment.revision) == 40
    assert not run_points(root)[0].environment.dirty
    (root / "pipelines/points.yaml").write_text(PIPELINE + "description: edited\n")
    assert run_points(root)[0].environment.dirty


def test_an_edited_data_file_stops_the_run(project):
    table = write_points(project) / "data.csv"
    tracking_file(table).write_text(tracking_text(table, Tracked("0" * 32, 3)))
    before = content_hash(table)
    with pytest.raises(NbshipError, match=r"data\.csv.*edited"):
        run_points(project)
    assert content_hash(table) == before
    assert not (project / "runs").exists()


def test_an_edited_module_of_the_project_runs_what_uses_it_again(root):
    module = root / "src/cars/slope.py"
    module.parent.mkdir(parents=True)
    shared = root / "shared.py"
    shared.write_text("STEP = 1")
    os.utime(shared, (OLD, OLD))
    module.write_text("from shared import STEP\nSLOPE = 2 * STEP")
    code = "from cars.slope import SLOPE\nslope = SLOPE\n" + TRAIN_CODE
    write_notebook(root / "notebooks/train.ipynb", TRAIN, code)
    # Its input is the model, so its code is that of the model's classes too.
    again = {"prepare": "cached", "train": "done", "evaluate": "done"}

    first, _ = run_points(root)
    assert states(run_points(root)[0]) == dict.fromkeys(again, "cached")
    # Python cannot tell this edit by its bytecode: the source has the same size and whole second.
    py_compile.compile(str(shared))
    shared.write_text("STEP = 3")
    os.utime(shared, (OLD, OLD + 0.5))
    second, _ = run_points(root)

    assert states(second) == again
    assert [record.steps["evaluate"].metrics["error"] for record in (first, second)] == [1, 59]
