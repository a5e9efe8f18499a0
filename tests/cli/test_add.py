"""What `nbship add` says of a lock."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from nbship.cli.main import app
from nbship.workflow import libraries
from nbship.workflow.libraries import Added


@pytest.mark.parametrize("number", [0, 3, 216])
def test_a_first_lock_is_told_in_a_few_lines_with_what_was_asked_for(tmp_path, monkeypatch, number):
    (tmp_path / "nbship.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    changed = (*(f"name-{i} 1.0" for i in range(number)), "seaborn 0.13.2")
    added = Added("requirements.in", "requirements.lock", changed, True)
    monkeypatch.setattr(libraries, "add", lambda *_: added)
    result = CliRunner().invoke(app, ["add", "seaborn>=0.13"], catch_exceptions=False)
    locked = [line for line in result.output.splitlines() if line.startswith("locked")]
    assert locked[0] == "locked    seaborn 0.13.2"
    assert len(locked) == min(number + 1, 11)
    assert (locked[-1] == "locked    207 more: requirements.lock") == (number == 216)
