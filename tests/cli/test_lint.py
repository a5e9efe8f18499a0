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
    write_cells(project / "notebooks/a/b.ipynb", "x = 1", "gone\nopen('/mnt/x')")
    done = nbship(project, "lint")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "notebooks/a/b.ipynb, cell 2, line 1: hidden-state: 'gone' is used here, no cell defines it",
        "notebooks/a/b.ipynb, cell 2, line 2: absolute-path: the path '/mnt/x' is there on this machine only",
        "",
        f"absolute-path  {RULES['absolute-path']}",
        f"hidden-state   {RULES['hidden-state']}",
        "2 findings in 1 notebook",
    ]
    (first, second) = map(json.loads, nbship(project, "lint", "--json").stdout.splitlines())
    assert (first["rule"], second["rule"], second["line"]) == ("hidden-state", "absolute-path", 2)


def test_a_notebook_by_its_path(project):
    write_cells(project / "notebooks/a/b.ipynb", "gone")
    write_cells(project / "notebooks/a/c.ipynb", "gone too")
    done = nbship(project, "lint", "notebooks/a/b.ipynb")
    assert done.returncode == 1
    assert done.stdout.startswith("notebooks/a/b.ipynb, cell 1, line 1: hidden-state")
    assert done.stdout.endswith("1 finding in 1 notebook\n")
    assert nbship(project, "lint", "notebooks/a/d.ipynb").returncode == 2


def test_what_fix_removes_is_one_line_a_notebook(project):
    path = write_cells(project / "notebooks/a/b.ipynb", "x = 1", "x", "x")
    content = json.loads(path.read_text())
    for count, cell in enumerate(content["cells"], start=1):
        cell.update(execution_count=count, metadata={"collapsed": True})
    path.write_text(json.dumps(content))
    done = nbship(project, "lint")
    assert done.stdout.splitlines()[0] == (
        "notebooks/a/b.ipynb: editor-metadata, outputs: metadata of an editor in 3 cells: collapsed; "
        "3 cells have outputs or an execution count"
    )
    assert done.stdout.splitlines()[-1] == "2 findings in 1 notebook; nbship lint --fix removes 2"
    assert nbship(project, "lint", "--fix").returncode == 0


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
