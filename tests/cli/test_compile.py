import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import nbship
from nbship.cli import compile as compile_command
from nbship.cli import show as show_command
from nbship.errors import NbshipError, UsageError
from nbship.project import pipeline_names
from nbship.workflow.compile import compile_pipeline, generate_schemas
from tests.projects import PIPELINE, write_project

COMPILED = "pipelines/compiled/line.yaml"
PROJECT = Path(nbship.__file__).parents[2]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(write_project(tmp_path))
    return tmp_path


def nbship_(*arguments):
    app = typer.Typer()
    compile_command.register(app)
    show_command.register(app)
    result = CliRunner().invoke(app, arguments, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.output


def test_it_writes_once_and_says_why(root):
    assert nbship_("compile", "line") == f"wrote    {COMPILED} (it is missing)\n"
    before = (root / COMPILED).stat()
    assert nbship_("compile", "line") == f"current  {COMPILED}\n"
    assert (root / COMPILED).stat().st_mtime_ns == before.st_mtime_ns


def test_the_environment_does_not_go_into_what_is_compiled_but_into_what_is_shown(root, monkeypatch):
    nbship_("compile", "line")
    monkeypatch.setenv("NBSHIP_PREPARE__MOST", "77")
    monkeypatch.setenv("NBSHIP_STEPS__PREPARE__CPU", "8")
    assert nbship_("compile", "line", "--check") == f"current  {COMPILED}\n"
    assert "77" in nbship_("show", "line")


def test_check_of_a_current_file(root):
    nbship_("compile", "line")
    assert nbship_("compile", "line", "--check") == f"current  {COMPILED}\n"


def test_check_of_a_missing_file_writes_nothing(root):
    with pytest.raises(NbshipError, match=f"not current: {COMPILED}") as failed:
        nbship_("compile", "line", "--check")
    assert failed.value.exit_code == 1
    assert failed.value.details == f"{COMPILED}: it is missing"
    assert not (root / COMPILED).exists()


def test_check_of_a_stale_file_says_why_and_writes_nothing(root):
    nbship_("compile", "line")
    before = (root / COMPILED).read_bytes()
    with pytest.raises(NbshipError) as failed:
        nbship_("compile", "line", "--check", "--set", "prepare.most=7", "--set", "steps.prepare.cpu=1")
    assert failed.value.details.splitlines() == [
        f"{COMPILED}: parameter prepare_most: 4.0 → 7.0",
        f"{COMPILED}: prepare: cpu, memory or gpu",
    ]
    assert failed.value.hint == "renew and commit: nbship compile line"
    assert (root / COMPILED).read_bytes() == before


def test_output_and_override_file(root):
    (root / "more.yaml").write_text("steps: {prepare: {memory: 1Gi}}\n")
    nbship_("compile", "line", "--output", "else/where.yaml", "--config-override", "more.yaml")
    assert "resourceMemoryLimit: 1Gi" in (root / "else/where.yaml").read_text()
    assert not (root / COMPILED).exists()


def test_kubernetes_resources(root):
    files = [f"kubernetes/kubeflow/{folder}/line.yaml" for folder in ("pipelines", "versions")]
    with pytest.raises(NbshipError, match="not current: ") as failed:
        nbship_("compile", "line", "--kubernetes", "--check")
    assert failed.value.hint == "renew and commit: nbship compile line --kubernetes"
    wrote = nbship_("compile", "--all", "--kubernetes").splitlines()
    assert wrote == [f"wrote    {file} (it is missing)" for file in files]
    nbship_("compile", "line", "--kubernetes", "--check")
    assert not (root / COMPILED).exists()
    with pytest.raises(UsageError, match="--kubernetes and --output"):
        nbship_("compile", "line", "--kubernetes", "--output", "x.yaml")


def test_all_pipelines(root):
    (root / "pipelines/other.yaml").write_text(PIPELINE.replace("name: line", "name: other"))
    assert nbship_("compile", "--all").count("wrote") == 2
    (root / "pipelines/compiled/other.yaml").write_text("nothing")
    with pytest.raises(NbshipError, match=r"not current: pipelines/compiled/other\.yaml") as failed:
        nbship_("compile", "--all", "--check")
    assert failed.value.details == "pipelines/compiled/other.yaml: it is not a compiled pipeline"


def test_json(root):
    written = json.loads(nbship_("compile", "line", "--json"))
    assert written == {"path": str(root / COMPILED), "written": True, "stale": ["it is missing"]}


@pytest.mark.parametrize("arguments", [[], ["line", "--all"], ["--all", "--output", "x.yaml"]])
def test_neither_or_both_a_name_and_all(root, arguments):
    with pytest.raises(UsageError, match="which pipeline"):
        nbship_("compile", *arguments)


def test_a_project_without_pipelines(root):
    (root / "pipelines/line.yaml").unlink()
    with pytest.raises(UsageError, match="no pipeline yet"):
        nbship_("compile", "--all")


def test_an_unknown_pipeline(root):
    with pytest.raises(UsageError) as failed:
        nbship_("compile", "lime")
    assert failed.value.hint == "did you mean 'line'?"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(root):
    (root / "pipelines").chmod(0o500)
    try:
        with pytest.raises(NbshipError, match="Permission denied"):
            nbship_("compile", "line")
    finally:
        (root / "pipelines").chmod(0o700)


def test_a_folder_where_the_file_should_be(root):
    (root / COMPILED).mkdir(parents=True)
    with pytest.raises(NbshipError, match="Is a directory"):
        nbship_("compile", "line")


def test_schema(root):
    with pytest.raises(NbshipError, match=r"not current: pipelines/schema\.json"):
        nbship_("schema", "--check")
    names = ("pipelines/schema.json", "pipelines/project-schema.json")
    assert nbship_("schema") == "".join(f"wrote    {name} (it is missing)\n" for name in names)
    assert nbship_("schema", "--check") == "".join(f"current  {name}\n" for name in names)
    for name in names:
        assert "steps" in json.loads((root / name).read_text())["properties"]


def test_the_committed_schema_is_current():
    assert [file.stale for file in generate_schemas(PROJECT)] == [(), ()]


@pytest.mark.parametrize("name", pipeline_names(PROJECT))
def test_the_committed_pipelines_are_current(name):
    assert compile_pipeline(PROJECT, name).stale == ()


def test_data_that_dvc_does_not_track(root):
    (root / "data.csv.dvc").unlink()
    with pytest.raises(UsageError, match=r"no data\.csv\.dvc"):
        nbship_("compile", "line")
