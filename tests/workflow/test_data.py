"""The data files of pipelines: brought here when they are not, and left alone when they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbship.config import Data, FileSource, Pipeline, Source, StepSettings
from nbship.errors import NbshipError
from nbship.versions import dvc
from nbship.workflow import data
from tests.repositories import md5, track

CONTENT = b"x,y\n1,2\n"


def make_pipeline(path: str = "data.csv", source: Source | None = None, name: str = "line") -> Pipeline:
    return Pipeline(
        name=name,
        data={"table": Data(path=path, source=source)},
        steps={"fit": StepSettings(notebook="fit.ipynb")},
    )


@pytest.fixture
def pipeline(project: Path) -> Pipeline:
    (project / "published.csv").write_bytes(CONTENT)
    return make_pipeline(source=FileSource(file="published.csv"))


def test_what_is_missing_is_fetched(project: Path, pipeline: Pipeline) -> None:
    path = track(project, "data.csv", CONTENT)
    said: list[str] = []
    assert data.ensure(project, pipeline, said.append) == {"table": path}
    assert path.read_bytes() == CONTENT
    assert said == ["data.csv: no DVC remote is set; fetching it from file published.csv"]


def test_what_is_here_is_left_alone(project: Path, pipeline: Pipeline) -> None:
    path = track(project, "data.csv", CONTENT)
    path.write_bytes(CONTENT)
    before = path.stat()
    said: list[str] = []
    assert data.ensure(project, pipeline, said.append) == {"table": path}
    assert path.stat() == before
    assert said == []


def test_a_file_in_a_folder_that_is_not_there_yet(project: Path, pipeline: Pipeline) -> None:
    path = track(project, "data/raw/table.csv", CONTENT)
    nested = make_pipeline("data/raw/table.csv", FileSource(file="published.csv"))
    assert data.ensure(project, nested) == {"table": path}


def test_an_edited_file_stops_a_run(project: Path, pipeline: Pipeline) -> None:
    track(project, "data.csv", CONTENT).write_bytes(b"edited")
    with pytest.raises(NbshipError, match="edited since"):
        data.ensure(project, pipeline)


def test_a_file_that_nothing_tracks_is_taken_as_it_is(project: Path) -> None:
    (project / "data.csv").write_bytes(CONTENT)
    assert data.ensure(project, make_pipeline()) == {"table": project / "data.csv"}


def test_the_first_copy_of_a_new_file_comes_from_its_source(project: Path, pipeline: Pipeline) -> None:
    said: list[str] = []
    path = data.ensure(project, pipeline, said.append)["table"]
    assert path.read_bytes() == CONTENT
    assert said == ["data.csv: fetching it from file published.csv; track it: dvc add data.csv"]


def test_a_file_that_comes_from_nowhere(project: Path) -> None:
    with pytest.raises(NbshipError, match=r"data\.table: data\.csv is not there, and no data\.csv\.dvc"):
        data.ensure(project, make_pipeline())


def test_pull_of_all_pipelines_names_each_file_once(project: Path, pipeline: Pipeline) -> None:
    track(project, "data.csv", CONTENT)
    other = make_pipeline(source=FileSource(file="published.csv"), name="curve")
    assert data.pull(project, [pipeline, other]) == ["data.csv"]


def test_pull_with_force_says_where_the_edited_file_is(project: Path, pipeline: Pipeline) -> None:
    path = track(project, "data.csv", CONTENT)
    path.write_bytes(b"edited")
    with pytest.raises(NbshipError, match="edited since"):
        data.pull(project, [pipeline])
    said: list[str] = []
    data.pull(project, [pipeline], force=True, report=said.append)
    (kept,) = project.glob("data.csv.edited-*")
    assert said[-1] == f"data.csv: the edited file is kept as {kept.name}"
    assert (path.read_bytes(), kept.read_bytes()) == (CONTENT, b"edited")


def test_status(project: Path, pipeline: Pipeline) -> None:
    path = track(project, "data.csv", CONTENT)
    (missing,) = data.status(project, [pipeline])
    assert missing == data.Status(
        pipeline="line",
        name="table",
        path="data.csv",
        state=dvc.FileState.MISSING,
        exists=False,
        md5=md5(CONTENT),
        source="file published.csv",
    )
    path.write_bytes(CONTENT)
    (same,) = data.status(project, [pipeline])
    assert (same.state, same.exists) == (dvc.FileState.SAME, True)
