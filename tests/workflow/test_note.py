"""The note on a merge request: strangers' words stay words, and each section has its own place."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from nbship.record import State
from nbship.workflow.note import MARK, UploadedPlot, plain, run_section, with_section
from tests.records import every_state, make_record

MARKDOWN = MarkdownIt("commonmark").enable("table")
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize("name", every_state())
def test_every_state_has_a_section(name):
    record = every_state()[name]
    section = run_section(record)
    assert section.startswith("### ")
    assert record.id in section
    assert "None" not in section


@pytest.mark.parametrize(
    "text",
    [
        "/close",
        "- item",
        "# title",
        "@all",
        "!12",
        "#3",
        "[x](y)",
        "<b>",
        "a|b",
        ":tada:",
        "https://e.org",
        "`x`",
    ],
)
def test_what_means_something_to_gitlab_is_escaped(text):
    shown = plain(text)
    assert shown != text
    assert re.sub(r"\\(?=[^\w\s])", "", shown) == text


@given(WORDS)
def test_markdown_shows_a_text_as_it_is_in_a_line_and_in_a_cell(text):
    shown = plain(text)
    (line,) = (token for token in MARKDOWN.parse(f"Said: {shown}.") if token.type == "inline")
    assert [child.type for child in line.children] == ["text"]
    assert line.children[0].content == f"Said: {words_of(text)}."
    cells = [
        token
        for token in MARKDOWN.parse(f"| a | b |\n|---|---|\n| {shown} | x |\n")
        if token.type == "td_open"
    ]
    assert len(cells) == 2


def words_of(text):
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())


@given(st.dictionaries(st.sampled_from(["auto-mpg", "churn", "churn on Kubeflow"]), WORDS, min_size=1), WORDS)
def test_sections_are_replaced_one_by_one(sections, later):
    note = ""
    for key, text in sections.items():
        note = with_section(note, key, plain(text))
    assert note.startswith(MARK)
    changed = next(iter(sections))
    renewed = with_section(note, changed, plain(later))
    for key, text in sections.items():
        expected = plain(later if key == changed else text)
        assert f"<!-- begin {key} -->\n{expected}\n<!-- end {key} -->" in renewed
    assert renewed.count("<!-- begin") == len(sections)


@given(WORDS)
def test_an_error_cannot_leave_its_block(text):
    record = make_record(state=State.FAILED, verdict=None)
    record.steps["train"].state = State.FAILED
    record.steps["train"].error = f"first line\n{text}"
    section = run_section(record)
    assert "<!--" not in section
    fence = re.search(r"^(`{3,})text$", section, re.MULTILINE)[1]
    assert section.count(f"\n{fence}\n") == 1


def test_plots_and_files_are_linked():
    section = run_section(
        make_record(), [UploadedPlot("How far [off]", "/uploads/1/plot.png")], "https://e.org/files"
    )
    assert r"![How far \[off\]](/uploads/1/plot.png){width=48%}" in section
    assert "[evaluate](https://e.org/files/notebooks/evaluate.html)" in section
