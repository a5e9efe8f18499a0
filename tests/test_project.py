"""Where a project is, and which pipelines it has."""

from __future__ import annotations

import pytest

from nbship.errors import UsageError
from nbship.project import pipeline_names
from tests.engine import nbship


@pytest.mark.parametrize("name", ["--help", "-a", "Cars", "cars_2", "a" * 51, ".cars", "a b"])
def test_a_file_that_can_be_no_pipeline_is_refused(tmp_path, name):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/cars-2.yaml").write_text("")
    assert pipeline_names(tmp_path) == ["cars-2"]
    (tmp_path / f"pipelines/{name}.yaml").write_text("")
    with pytest.raises(UsageError, match=f"^pipelines/{name}.yaml: no pipeline can be called '{name}'$"):
        pipeline_names(tmp_path)


def test_no_command_takes_a_pipelines_name_for_an_option(tmp_path):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/--help.yaml").write_text("name: --help\nsteps: {a: {notebook: a.ipynb}}\n")
    done = nbship("compile", "--all", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no pipeline can be called '--help'" in done.stderr
