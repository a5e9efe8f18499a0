"""What `nbship init` says: what it did, and what to type next."""

from __future__ import annotations

import shutil

import pytest
from typer.testing import CliRunner

from nbship.cli.main import app
from nbship.workflow.new import begin


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/azure.yaml").write_text("stages: []\n")
    return tmp_path


def told(*arguments):
    """The lines of the command, by their first word; the last of each."""
    result = CliRunner().invoke(app, ["init", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return {line[:10].strip(): line[10:] for line in result.output.splitlines() if line.strip()}


def test_each_time_it_says_what_is_next(root):
    first = told("--yes", "--ci", "github")
    assert first["next"] == "nbship new NAME --data FILE --target COLUMN"
    assert first["for CI"].startswith("nbship add; nbship compile --all")
    assert first["branch"].startswith("main: ")
    assert first["note"].startswith("pipelines/azure.yaml is not a pipeline")
    (root / "pipelines/azure.yaml").unlink()
    begin(root, "flats")
    later = told("--image")
    assert later["renewed"] == ".github/workflows/nbship.yml"
    assert "next" not in later and "for CI" in later
    (root / "requirements.lock").write_text("")
    assert told() == {"nothing to": " do: all of it is there", "next": "nbship config check"}


def test_what_the_user_changed_is_left_with_the_way_to_merge_it(root):
    shutil.rmtree(root / "pipelines")
    told("--yes", "--ci", "github")
    workflow = root / ".github/workflows/nbship.yml"
    workflow.write_text(workflow.read_text() + "# ours\n")
    assert "nbship init --update" in told("--image")["left"]
    assert workflow.read_text().endswith("# ours\n")
