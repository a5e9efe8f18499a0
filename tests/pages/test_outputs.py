import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.pages.outputs import Shown, read_shown
from tests.records import (
    code_cell,
    data_output,
    failed_cell,
    markdown_cell,
    parameters_cell,
    picture_cell,
    png,
    write_executed,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "executed.ipynb"


def test_pictures_with_the_heading_they_stand_under(path):
    first = markdown_cell("# Train\n\n## The *learning* `curve` of [SVR](http://example.org) ##\ntext")
    shown = read_shown(write_executed(path, [picture_cell(), first, picture_cell(640, 480)]))
    assert [(p.caption, p.cell, p.width, p.height) for p in shown.pictures] == [
        ("", 1, 30, 20),
        ("The learning curve of SVR", 3, 640, 480),
    ]
    assert shown.pictures[0].source == "data:image/png;base64," + png().strip()


def test_cells_that_were_added_do_not_count(path):
    injected = code_cell("folds = 10", tags=("injected-parameters",))
    shown = read_shown(write_executed(path, [parameters_cell(), injected, failed_cell()]))
    assert shown.failure.cell == 2


def test_failure(path):
    failure = read_shown(write_executed(path, [failed_cell("fit(\n)", "\x1b[31mno\x1b[0m")])).failure
    assert (failure.source, failure.error, failure.traceback) == (
        "fit(\n)",
        "ValueError: no",
        "ValueError: no",
    )


def test_declared_parameters_with_help(path):
    parameters = read_shown(write_executed(path, [parameters_cell()])).parameters
    assert {name: (v.default, v.help) for name, v in parameters.items()} == {
        "folds": (5, "parts of each cross-validation"),
        "note": ("", ""),
    }


def test_vector_pictures_are_preferred_and_lines_of_text_joined(path):
    cell = code_cell("plot()", data_output(svg=["<svg>", "</svg>"], png=png()))
    (picture,) = read_shown(write_executed(path, [cell])).pictures
    assert picture.source == "data:image/svg+xml;base64," + base64.b64encode(b"<svg></svg>").decode()
    assert (picture.width, picture.height) == (0, 0)


def test_the_size_that_the_notebook_gives_wins(path):
    output = data_output(png=png(600, 400)) | {"metadata": {"image/png": {"width": 300, "height": 200}}}
    (picture,) = read_shown(write_executed(path, [code_cell("plot()", output)])).pictures
    assert (picture.width, picture.height) == (300, 200)


def test_other_outputs_are_no_pictures(path):
    cell = code_cell("table", data_output(html="<table/>", plain="x"))
    assert read_shown(write_executed(path, [cell])).pictures == ()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"cells": [{}]}', '{"cells": 3}', "\xff", '{"cells": ["x"]}']
)
def test_a_damaged_notebook_shows_nothing(path, text):
    path.write_text(text, encoding="latin-1")
    assert read_shown(path) == Shown()


def test_a_missing_notebook_shows_nothing(path):
    assert read_shown(path) == Shown()


def test_what_stands_before_the_damage_is_shown(path):
    broken = parameters_cell("no = signature()")
    assert len(read_shown(write_executed(path, [picture_cell(), broken, picture_cell()])).pictures) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["output_type", "data", "metadata", "ename", "evalue", "traceback"]), JSON
    )
)
def test_no_output_of_any_shape_is_an_error(tmp_path_factory, output):
    path = tmp_path_factory.mktemp("odd") / "executed.ipynb"
    cell = {"cell_type": "code", "source": "x", "metadata": {}, "outputs": [output]}
    path.write_text(json.dumps({"cells": [cell]}))
    assert isinstance(read_shown(path), Shown)


@pytest.mark.parametrize("content", ["", "no base64!", "ü", '" onload="x'])
def test_what_is_no_picture_is_passed_over(path, content):
    cell = code_cell("plot()", data_output(png=content))
    assert len(read_shown(write_executed(path, [cell, picture_cell()])).pictures) == 1


@given(st.text() | st.text("ABCabc019+/=\n"))
def test_no_picture_of_any_content_is_an_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("odd") / "executed.ipynb"
    cells = [code_cell("x", data_output(png=content)), failed_cell()]
    assert read_shown(write_executed(path, cells)).failure
