"""Synthetic samples in place of data: what runs, what says so, and what such a run may not do."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbship.config import Data
from nbship.errors import NbshipError, UsageError
from nbship.kernels import forkserver
from nbship.pages.formatting import next_commands, repeat_command
from nbship.record import RunRecord, find_run, run_folder, save
from nbship.workflow.publish import publish
from tests.engine import NAME, PIPELINE, nbship, put_champion, run_points, states, write_points
from tests.projects import write_notebook
from tests.runs import make_pipeline, make_run

SAMPLED = PIPELINE.replace("path: data.csv", "path: data.csv, sample: notebooks/sample.ipynb")
SAMPLE = 'table: "Output[Dataset]" = "build/sample.csv"  # made-up points\npoints: int = 7  # how many\n'
SAMPLE_CODE = 'open(table, "w").write("x,y\\n" + "".join(f"{x},{2 * x}\\n" for x in range(points)))'


@pytest.fixture(scope="module", autouse=True)
def server():
    yield
    forkserver.stop()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_points(tmp_path, SAMPLED)
    write_notebook(tmp_path / "notebooks/sample.ipynb", SAMPLE, SAMPLE_CODE)
    return tmp_path


def test_a_sample_is_made_where_the_data_cannot_be_had(root: Path) -> None:
    (root / "data.csv").unlink()
    record, folder = run_points(root, sample=True)
    assert states(record) == dict.fromkeys(("sample-table", "prepare", "train", "evaluate"), "done")
    assert record.synthetic == ["table"]
    assert record.steps["prepare"].results == {"count": 7}
    assert record.steps["prepare"].inputs["table"].origin == "sample-table.table"
    assert not (root / "data.csv").exists()
    page = (folder / "index.html").read_text()
    assert "Synthetic data" in page
    assert "A sample stands in for table" in page


def test_the_same_sample_comes_from_the_cache(root: Path) -> None:
    run_points(root, sample=True)
    record, _ = run_points(root, sample=True)
    assert set(states(record).values()) == {"cached"}


def test_a_run_on_real_data_says_nothing_of_samples(root: Path) -> None:
    run_points(root, sample=True)
    record, folder = run_points(root)
    assert record.synthetic == []
    assert record.steps["prepare"].results == {"count": 29}
    assert "sample-table" not in record.steps
    assert "ynthetic data" not in (folder / "index.html").read_text()


def test_a_champion_is_not_judged_on_a_sample(root: Path) -> None:
    put_champion(root, slope=9)
    record, _ = run_points(root, sample=True)
    assert "evaluate-champion" not in record.steps
    assert record.champion == ""
    assert record.verdict is not None
    assert record.verdict.comparison is None


def test_what_comes_next_is_the_real_data(root: Path) -> None:
    record, _ = run_points(root, sample=True)
    assert repeat_command(record) == "nbship run points --sample"
    commands = [command for command, _ in next_commands(record)]
    assert commands[0] == "nbship run points"
    assert not any("publish" in command for command in commands)


def test_the_console_says_so(root: Path) -> None:
    done = nbship("run", NAME, "--sample", cwd=root)
    assert done.returncode == 0
    assert "data      synthetic: a sample stands in for table" in done.stdout
    assert "nbship publish" not in done.stdout


def test_other_data_is_still_needed(root: Path) -> None:
    path = root / f"pipelines/{NAME}.yaml"
    path.write_text(path.read_text().replace("data: {table:", "data: {prices: {path: prices.csv}, table:"))
    with pytest.raises(NbshipError, match=r"data\.prices: prices\.csv is not there"):
        run_points(root, sample=True)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ('table: "Input[Dataset]" = "a.csv"\nrows: "Output[Dataset]" = "b.csv"\n', "without inputs"),
        ('table: "Output[Dataset]" = "a.csv"\nrows: "Output[Dataset]" = "b.csv"\n', "without inputs"),
        ('table: "Output[Model]" = "a.csv"\n', "without inputs"),
        ("points: int = 3\n", "without inputs"),
    ],
)
def test_a_notebook_that_makes_no_data_set_is_refused(root: Path, parameters: str, says: str) -> None:
    write_notebook(root / "notebooks/sample.ipynb", parameters, "pass")
    with pytest.raises(UsageError, match=says):
        run_points(root, sample=True)
    assert not (root / "runs").exists()


def test_a_pipeline_without_a_sample_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no sample") as raised:
        run_points(write_points(tmp_path), sample=True)
    assert "data.NAME.sample" in str(raised.value.hint)


def test_a_sample_notebook_that_is_missing_is_named(root: Path) -> None:
    (root / "notebooks/sample.ipynb").unlink()
    with pytest.raises(UsageError, match=r"notebooks/sample\.ipynb"):
        run_points(root, sample=True)


def test_a_step_may_not_have_the_name_of_the_sample(root: Path) -> None:
    path = root / f"pipelines/{NAME}.yaml"
    path.write_text(path.read_text().replace("  train:", "  sample-table:", 1))
    with pytest.raises(UsageError, match="that name is reserved for the sample"):
        run_points(root, sample=True)


def synthetic(root: Path, run_id: str) -> RunRecord:
    record = make_run(root, run_id)
    record.synthetic = ["table"]
    save(record, run_folder(root, record.pipeline, run_id))
    return record


def test_publish_refuses_it(project: Path) -> None:
    synthetic(project, "20250102-000000-bbbb")
    with pytest.raises(NbshipError, match="not on real data: a sample stands in for table") as raised:
        publish(project, make_pipeline(), commit=True)
    assert raised.value.hint == "run it: nbship run line"
    assert not (project / "models").exists()


def test_publish_names_the_last_run_on_real_data(project: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    synthetic(project, "20250102-000000-bbbb")
    with pytest.raises(NbshipError) as raised:
        publish(project, make_pipeline(data={"table": Data(path="data.csv", sample="sample.ipynb")}))
    assert raised.value.hint is not None
    assert raised.value.hint.endswith("nbship publish line --run 20250101-000000-aaaa")
    assert find_run(project, "line", "20250102")[0].synthetic == ["table"]
