"""What running and editing leaves behind: found, and removed without touching anything else."""

import copy
import json

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.errors import UsageError
from nbship.linting import check_notebook, fix_notebook
from tests.linting.notebooks import write_cells

OUTPUT = {"output_type": "stream", "name": "stdout", "text": "shown"}


def change(path, **keys):
    content = json.loads(path.read_text())
    content["cells"][0].update(keys)
    path.write_text(json.dumps(content))
    return path


def rules(path):
    return [finding.rule for finding in check_notebook(path)]


def test_outputs_go_except_from_an_experiment(tmp_path):
    for name, kept in (("train.ipynb", False), ("experiment.ipynb", True)):
        path = change(write_cells(tmp_path / name, "1"), outputs=[OUTPUT], execution_count=1)
        assert rules(path) == ([] if kept else ["outputs"])
        assert fix_notebook(path) is not kept
        assert bool(json.loads(path.read_text())["cells"][0]["outputs"]) is kept
        assert rules(path) == []


def test_an_experiment_that_ran_out_of_order_or_shows_too_much(tmp_path):
    path = write_cells(tmp_path / "experiment.ipynb", "a = 1", "b = 2")
    content = json.loads(path.read_text())
    content["cells"][0]["execution_count"], content["cells"][1]["execution_count"] = 4, 2
    content["cells"][1]["outputs"] = [{**OUTPUT, "text": "x" * 2_000_000}]
    path.write_text(json.dumps(content))
    assert rules(path) == ["execution-order", "large-output"]


def test_a_secret_in_an_output(tmp_path):
    shown = {**OUTPUT, "text": ["token: ", "glpat-" + "x1" * 10]}
    path = change(write_cells(tmp_path / "experiment.ipynb", "1"), outputs=[shown])
    assert rules(path) == ["secret"]


def test_metadata_of_an_editor_and_missing_ids(tmp_path):
    path = write_cells(tmp_path / "a.ipynb", "1", "1")
    content = json.loads(path.read_text())
    content["metadata"]["widgets"] = content["cells"][0]["metadata"]["collapsed"] = True
    del content["cells"][0]["id"]
    content["cells"].append(copy.deepcopy(content["cells"][1]))
    content["nbformat_minor"] = 4
    path.write_text(json.dumps(content))
    assert sorted(rules(path)) == ["duplicate-id", "editor-metadata", "missing-id"]
    assert fix_notebook(path)
    assert rules(path) == []
    nbformat.validate(nbformat.read(path, as_version=4))
    assert json.loads(path.read_text())["cells"][1]["id"] == "cell-2"


def test_leftovers_are_summed_up_in_a_line_a_notebook(tmp_path):
    path = write_cells(tmp_path / "a.ipynb", "1", "2", "# nbship: ignore[outputs]\n3")
    content = json.loads(path.read_text())
    for cell in content["cells"]:
        cell.update(outputs=[OUTPUT], metadata={"collapsed": True, "tags": [], "name": "kept"})
        del cell["id"]
    path.write_text(json.dumps(content))
    assert [(finding.cell, finding.message) for finding in check_notebook(path)] == [
        (0, "metadata of an editor in 3 cells: collapsed"),
        (0, "3 cells have no id"),
        (0, "2 cells have outputs or an execution count"),
    ]


def test_metadata_that_was_set_on_purpose_stays(tmp_path):
    path = write_cells(tmp_path / "a.ipynb", "1")
    content = json.loads(path.read_text())
    content["metadata"]["jupytext"] = {"formats": "ipynb,py:percent"}
    content["cells"][0]["metadata"] = {"nbsphinx": "hidden", "tags": ["x"]}
    path.write_text(json.dumps(content))
    assert rules(path) == []
    assert not fix_notebook(path)


def test_a_notebook_that_needs_nothing_is_not_written(tmp_path):
    path = write_cells(tmp_path / "a.ipynb", "1")
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert not fix_notebook(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nbformat": 3}', '{"nbformat": 4, "cells": [1]}', "\0"])
def test_what_is_no_notebook(tmp_path, text):
    (tmp_path / "a.ipynb").write_text(text)
    for function in (check_notebook, fix_notebook):
        with pytest.raises(UsageError, match=r"a\.ipynb"):
            function(tmp_path / "a.ipynb", "a.ipynb")
    assert (tmp_path / "a.ipynb").read_text() == text


SOURCES = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)


@given(
    sources=st.lists(SOURCES, max_size=4),
    ids=st.lists(st.sampled_from(["a", "b", None]), min_size=4, max_size=4),
)
def test_any_text_is_checked_and_fixing_keeps_it(tmp_path_factory, sources, ids):
    path = tmp_path_factory.mktemp("fix") / "a.ipynb"
    cells = [
        {"cell_type": "code", "metadata": {}, "source": s, "outputs": [OUTPUT], "execution_count": 1}
        | ({"id": i} if i else {})
        for s, i in zip(sources, ids, strict=False)
    ]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    check_notebook(path)
    fix_notebook(path)
    fixed = json.loads(path.read_text())["cells"]
    assert [cell["source"] for cell in fixed] == sources
    assert len({cell["id"] for cell in fixed}) == len(fixed)
    assert not [finding for finding in check_notebook(path) if finding.fixable]
