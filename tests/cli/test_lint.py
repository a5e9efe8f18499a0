"""`nbship lint`, `new` and `sweep` on a command line: output and exit codes."""

import json
import subprocess
import sys

from nbship.linting import RULES
from tests.linting.notebooks import write_cells


def nbship(root, *arguments):
    return subprocess.run(
        [sys.executable, "-c", "from nbship.cli.main import main; main()", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def test_findings_end_with_one_and_say_where_and_what_to_do(project):
    write_cells(project / "notebooks/a/b.ipynb", "x = 1", "gone\nopen('/home/ada/x')")
    done = nbship(project, "lint")
    assert done.returncode == 1
    assert (
        "notebooks/a/b.ipynb, cell 2, line 1: hidden-state: 'gone' is used here, no cell defines it"
        in done.stdout
    )
    assert RULES["hidden-state"] in done.stdout
    assert "2 findings in 1 notebook" in done.stdout
    (first, second) = map(json.loads, nbship(project, "lint", "--json").stdout.splitlines())
    assert (first["rule"], second["rule"], second["line"]) == ("hidden-state", "absolute-path", 2)


def test_clean_notebooks_and_a_pipeline_that_is_not_there(project):
    write_cells(project / "notebooks/a/b.ipynb", "x = 1")
    assert nbship(project, "lint", "--fix").stdout == "no findings in 1 notebook\n"
    assert nbship(project, "lint", "cars").returncode == 2


def test_a_new_pipeline_is_clean_and_can_be_swept(project):
    done = nbship(project, "new", "flats", "--json")
    assert json.loads(done.stdout)["task"] == "regression"
    assert nbship(project, "new", "flats").returncode == 2
    assert nbship(project, "lint", "flats").returncode == 0
    wrong = nbship(project, "sweep", "flats", "--set", "train.tree=1,2")
    assert wrong.returncode == 2 and "did you mean 'trees'?" in wrong.stderr
    done = nbship(project, "sweep", "flats", "--set", "train.trees=5,10", "--compile", "sweep.yaml")
    assert done.returncode == 0, done.stderr
    assert "parameterIterator" in (project / "sweep.yaml").read_text()
