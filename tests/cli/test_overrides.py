"""Every command that loads a pipeline takes what is laid over its file."""

import pytest
from typer.testing import CliRunner

from nbship.cli.main import app
from nbship.errors import UsageError
from tests.projects import write_project


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(write_project(tmp_path))
    return tmp_path


def message(*arguments):
    """Returns what is wrong with a command."""
    result = CliRunner().invoke(app, arguments, standalone_mode=False)
    assert isinstance(result.exception, UsageError), result.output
    return result.exception.message


@pytest.mark.parametrize("command", ["run", "show", "config", "publish", "compile"])
def test_settings(command):
    assert message(command, "line", "--set", "trian.C=3").startswith("--set trian.C=3: there is no step")


@pytest.mark.parametrize("command", ["run", "show", "config", "publish", "compile", "submit"])
def test_files(command, root):
    (root / "more.yaml").write_text("name: line\nsteps: {prepare: {retreis: 1}}\n")
    said = message(command, "line", "--config-override", "more.yaml")
    assert said == "more.yaml, line 2: unknown key 'steps.prepare.retreis'"


@pytest.mark.parametrize(
    "command",
    [
        ("run", "line"),
        ("show", "line"),
        ("config", "line"),
        ("publish", "line"),
        ("submit", "line"),
        ("submit", "line", "--target", "vertex"),
        ("schedule", "line", "--pause"),
        ("runs", "line", "--remote"),
        ("data", "status"),
        ("image", "line"),
        ("sweep", "line", "--set", "prepare.C=1,2"),
        ("deploy", "line", "--to", "staging"),
        ("rollback", "line", "--to", "staging"),
        ("deployments", "line"),
    ],
    ids=" ".join,
)
def test_variables(command, monkeypatch):
    monkeypatch.setenv("NBSHIP_TRIAN_LINE__SCALE", "3")
    said = message(*command)
    assert said == "NBSHIP_TRIAN_LINE__SCALE: no pipeline has a step or key 'trian_line'"
