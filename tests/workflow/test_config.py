import json

import pytest
import typer
import yaml
from typer.testing import CliRunner

from nbship.cli import config as config_command
from nbship.config import load_pipeline, validate
from nbship.workflow.config import HIDDEN, as_tree, configuration
from tests.projects import PIPELINE, write_project


@pytest.fixture
def root(tmp_path):
    return write_project(tmp_path, PIPELINE)


def nbship(*arguments):
    app = typer.Typer()
    config_command.register(app)
    result = CliRunner().invoke(app, ["config", *arguments])
    assert result.exit_code == 0
    return result.output


def values(root, *settings, files=(), **environment):
    return {value.key: value for value in configuration(root, "line", settings, files, environment)}


def test_where_each_value_comes_from(root):
    more = root / "more.yaml"
    more.write_text("steps:\n  prepare:\n    cpu: 2\n    parameters: {note: a=b}\n")
    found = values(
        root,
        "prepare.C=3",
        files=[more],
        NBSHIP_PREPARE__MOST="7",
        NBSHIP_KUBEFLOW__HOST="https://example.org",
    )
    shown = {key: (value.value, value.origin) for key, value in found.items()}
    assert shown["name"] == ("line", "pipelines/line.yaml, line 1")
    assert shown["data.table.source.file"] == ("elsewhere.csv", "pipelines/line.yaml, line 4")
    assert shown["steps.prepare.cpu"] == ("2", f"{more}, line 3")
    assert shown["steps.prepare.parameters.note"] == ("a=b", f"{more}, line 4")
    assert shown["steps.prepare.parameters.most"] == (7, "NBSHIP_PREPARE__MOST")
    assert shown["steps.prepare.parameters.C"] == (3.0, "--set prepare.C")
    assert shown["steps.prepare.parameters.names"] == ([1, 2], "notebooks/prepare.ipynb")
    assert shown["steps.prepare.retries"] == (0, "default")
    assert shown["kubeflow.host"] == ("https://example.org", "NBSHIP_KUBEFLOW__HOST")
    assert "steps.train-line.parameters.scale" not in shown  # another step's result


def test_what_is_printed_is_a_pipeline_file_that_means_the_same(root):
    printed = validate(as_tree(list(values(root, "prepare.most=2").values())), "printed")
    meant = load_pipeline(root, "line", ["prepare.most=2"])
    for pipeline in (printed, meant):
        for step in pipeline.steps.values():
            step.parameters.clear()
    assert printed == meant


@pytest.mark.parametrize(
    "setting",
    [
        "steps.prepare.env={API_TOKEN: hunter2}",
        'prepare.options={db: {password: "hunter2"}}',
        "data.table.source={url: 'https://ada:hunter2@example.org/table.csv'}",
        "prepare.note=postgresql://ada:hunter2@example.org/cars",
    ],
)
def test_what_looks_like_a_secret_is_not_shown(root, setting, monkeypatch):
    if setting.startswith("data"):
        text = PIPELINE.replace("{file: elsewhere.csv}", "{url: 'https://ada:hunter2@example.org/table.csv'}")
        (root / "pipelines/line.yaml").write_text(text)
        setting = "prepare.C=1"
    monkeypatch.chdir(root)
    for more in ([], ["--json"]):
        output = nbship("line", "--set", setting, *more)
        assert "hunter2" not in output
        assert HIDDEN in output


def test_names_of_secrets_are_shown(root):
    found = values(root, "steps.prepare.secrets={WEATHER_TOKEN: weather/token}", "kubeflow.secret=keys")
    assert found["steps.prepare.secrets.WEATHER_TOKEN"].value == "weather/token"
    assert found["kubeflow.secret"].value == "keys"


def test_the_command_prints_yaml_with_origins(root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setenv("NBSHIP_PREPARE__MOST", "7")
    plain = nbship("line", "--set", "prepare.note=x: # y")
    tree = yaml.safe_load(plain)
    assert tree["steps"]["prepare"]["parameters"]["most"] == 7
    assert tree["steps"]["prepare"]["parameters"]["note"] == "x: # y"
    (line,) = (line for line in plain.splitlines() if "most: 7" in line)
    assert line.endswith("# NBSHIP_PREPARE__MOST")
    machine = json.loads(nbship("line", "--json", "--set", "prepare.note=x: # y"))
    assert machine["config"] == tree
    assert machine["origins"]["steps.prepare.parameters.most"] == "NBSHIP_PREPARE__MOST"
