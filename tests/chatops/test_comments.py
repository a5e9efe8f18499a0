"""Commands are read from a comment as a person sees them on the page, and never more of them."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.chatops.comments import LONGEST_LINE, Line, nearest, read_commands
from nbship.errors import UsageError

WORD = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="<`"), min_size=1)


def names(text: str) -> list[str]:
    return [line.name for line in read_commands(text)]


def test_one_command_a_line_and_several_in_a_comment() -> None:
    found = read_commands("Please:\n/run cars --set train.C=3\r\n\r\n/status\nthanks / all")
    assert found == [
        Line("/run cars --set train.C=3", "run", ("cars", "--set", "train.C=3")),
        Line("/status", "status"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "> /deploy",
        "> see\n/deploy",
        "   >/deploy",
        "```\n/deploy\n```",
        "~~~~ sh\n~~~\n/deploy\n~~~~",
        "```\n/deploy",
        "    /deploy",
        "\t/deploy",
        "<!-- \n/deploy\n-->",
        "<!-- -->/deploy",
        "/deploy <!-- cars -->",
        "<pre>\n/deploy\n</pre>",
        "<details><PRE >\n\n/deploy\n</details>",
        "then /deploy",
        "- /deploy",
        "/etc/passwd",
        "/deploy.sh",
        "//deploy",
        "/ deploy",
        "\u2028/deploy",
        "text\x0b/deploy",
        "text\x85/deploy",
    ],
)
def test_what_the_page_shows_otherwise_is_no_command(text: str) -> None:
    assert read_commands(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "> /run\n\n/deploy",
        "```\n/run\n```\n/deploy",
        "~~~\n```\n~~~\n/deploy",
        "<!-- /run -->\n/deploy",
        "<pre>/run</pre>\n/deploy",
        "``` not `code`\n/deploy",
        "   /deploy",
    ],
)
def test_what_comes_after_is_read_again(text: str) -> None:
    assert names(text) == ["deploy"]


def test_a_command_of_the_forges_own_name_can_be_written_so_that_it_is_ours() -> None:
    assert read_commands("/nbship approve abc") == [Line("/nbship approve abc", "approve", ("abc",))]
    assert names("/nbship") == ["help"]


@pytest.mark.parametrize(
    "text", ["/run $(id) ; `id` && id | id > /tmp/x", "/run ${HOME} \\$x 'a b' \"c\"'d'"]
)
def test_nothing_means_anything_to_a_shell(text: str) -> None:
    (line,) = read_commands(text)
    assert list(line.words) == shlex.split(text)[1:]


@pytest.mark.parametrize(
    "character", ["\u200b", "\u202e", "\u2066", "\ufeff", "\x00", "\x1b", "\u2028", "\U000e0041"]
)
def test_a_command_with_what_nobody_sees_is_refused(character: str) -> None:
    for text in (f"/dep{character}loy cars", f"/deploy ca{character}rs"):
        (line,) = read_commands(text)
        assert "cannot be seen" in line.problem
        assert character not in line.text


def test_quotes_must_close_and_lines_end() -> None:
    assert "not closed" in read_commands("/run 'cars")[0].problem
    assert "longer" in read_commands("/run " + "x" * LONGEST_LINE)[0].problem


def test_a_comment_of_many_commands_is_refused_whole() -> None:
    with pytest.raises(UsageError, match="more than 10 commands"):
        read_commands("/run\n" * 11)


@pytest.mark.parametrize(
    "text", ["/run " * 20_000, "`" * 100_000, "<!--" * 25_000, "> " * 50_000, "<pre " * 20_000]
)
def test_a_hundred_thousand_characters_are_read_in_no_time(text: str) -> None:
    assert len(read_commands(text)) <= 1


@pytest.mark.parametrize(
    ("name", "meant"),
    [("depoly", "deploy"), ("dеplоy", "deploy"), ("ＤＥＰＬＯＹ", "deploy"), ("lgtm", ""), ("", "")],
)
def test_the_nearest_command(name: str, meant: str) -> None:
    assert nearest(name, ["run", "deploy", "status"]) == meant


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    try:
        found = read_commands(text)
    except UsageError:
        return
    for line in found:
        assert line.name
        assert line.problem or line.text.lstrip().startswith("/")


@given(st.lists(WORD, max_size=5))
def test_words_arrive_as_they_were_quoted(words: list[str]) -> None:
    (line,) = read_commands("/run " + shlex.join(words))
    assert line.problem or list(line.words) == words


@given(st.text(st.characters(exclude_characters="\n\r")), st.sampled_from(["> {}", "    {}", "```\n{}\n```"]))
def test_nothing_quoted_is_ever_a_command(line: str, form: str) -> None:
    if "```" not in line:
        assert read_commands(form.format("/deploy " + line)) == []
