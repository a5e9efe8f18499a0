import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from nbship.errors import NbshipError
from nbship.local.html import export_html
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

LOADED = re.compile(r"""(?:src|href)=["']?(?:https?:)?//[^"'> ]+|import\(["']https?[^"']+""")


@pytest.fixture
def exported(tmp_path):
    def export(*cells):
        html = tmp_path / "out/executed.html"
        export_html(write_executed(tmp_path / "executed.ipynb", list(cells)), html)
        return html.read_text(encoding="utf-8")

    return export


def test_it_reads_without_a_network(exported):
    html = exported(markdown_cell("# Train\n\ncosts $5"), parameters_cell(), picture_cell())
    assert LOADED.findall(html) == []
    assert "<script" not in html
    assert png().strip() in html


def test_title_is_the_first_heading(exported):
    assert "<title>Train a model</title>" in exported(markdown_cell("## Train a model\ntext"))
    assert "<title>executed</title>" in exported(code_cell("1"))


def test_parameters_stay_visible(exported):
    html = exported(parameters_cell(), code_cell("folds_given = 10", tags=("injected-parameters",)))
    assert "folds_given" in html


def test_a_failed_notebook_is_exported_with_its_error(exported):
    html = exported(failed_cell("fit_this()", "too many folds"))
    assert "fit_this" in html
    assert "too many folds" in html


def test_pictures_are_described(exported):
    assert 'alt="Picture made by cell 1"' in exported(picture_cell())


@pytest.mark.parametrize(
    "cell",
    [
        markdown_cell("the mean $\\bar x$ of all"),
        code_cell("x", data_output(**{"text/latex": "$x$"})),
        markdown_cell("```mermaid\ngraph TD\n```"),
        code_cell("x", data_output(**{"text/vnd.mermaid": "graph TD"})),
        code_cell("x", data_output(html="<script>require(['plotly'])</script>")),
    ],
)
def test_no_script_is_asked_of_anybody(exported, cell):
    html = exported(cell)
    assert LOADED.findall(html) == []
    assert "Content-Security-Policy" in html.partition("<script")[0]


def test_formulas_and_diagrams_stay_text(exported):
    html = exported(markdown_cell("the mean $\\bar x$"), markdown_cell("```mermaid\ngraph TD\n```"))
    assert "$\\bar x$" in html
    assert "graph TD" in html


def test_it_has_a_dark_side(exported):
    assert "@media screen and (prefers-color-scheme: dark)" in exported(code_cell("1"))


def test_several_at_once(tmp_path):
    def export(number):
        cells = [markdown_cell(f"# Notebook {number}"), code_cell(f"value_{number}"), picture_cell()]
        executed = write_executed(tmp_path / f"{number}.ipynb", cells)
        export_html(executed, tmp_path / f"{number}.html")
        return (tmp_path / f"{number}.html").read_text()

    with ThreadPoolExecutor(4) as pool:
        for number, html in enumerate(pool.map(export, range(8))):
            assert re.findall(r"value_\d", html) == [f"value_{number}"]


@pytest.mark.parametrize("text", ["", "[]", "no notebook", '{"cells": 1}'])
def test_what_is_no_notebook_is_a_clear_error(tmp_path, text):
    executed = tmp_path / "executed.ipynb"
    executed.write_text(text)
    with pytest.raises(NbshipError, match="not a readable notebook"):
        export_html(executed, tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_the_notebook_itself_is_not_touched(tmp_path):
    executed = write_executed(tmp_path / "executed.ipynb", [markdown_cell("# Title"), picture_cell()])
    before = executed.read_bytes()
    export_html(executed, tmp_path / "out.html")
    assert executed.read_bytes() == before
