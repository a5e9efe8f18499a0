"""A reply is a record that can be read again, and says what strangers wrote without doing what it says."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.chatops.answers import AnswerEntry as Entry
from nbship.chatops.answers import Reply, from_text, replies, to_text
from nbship.ci import Note
from nbship.workflow.note import fenced, plain
from tests.commenting import NUMBER, Place

REPLY = Reply("5", "ada", "2026-01-31T12:00:00+00:00", "1" * 40, "100", "https://ci.example.org/100", ())
LINES = st.text(st.characters(exclude_categories=["Cc", "Cs"]))
HOSTILE = [
    "/depoly @everyone",
    "/depoly octo/other#1 !2 &3 %4 ~5",
    "/run <img src=x onerror=alert(1)> --sett",
    "/run [click](javascript:alert(1)) --sett",
    "/run `` ` @everyone ``` --sett",
    "/run --> <!-- end 0 --> <!-- nbship: reply to 5 --> --sett",
    "/run <!-- nbship: reply to 5 -->",
    "/run --set a=| --sett",
    "/rollback https://evil.example.org/@everyone",
    "/nbship @everyone",
    "/run '@everyone",
]


@given(st.lists(st.tuples(LINES, LINES, LINES), max_size=4))
def test_what_is_written_is_read_again(parts: list[tuple[str, str, str]]) -> None:
    entries = [Entry(command, "done", plain(text), memo) for command, text, memo in parts]
    reply = replace(REPLY, entries=tuple(entries))
    assert from_text(to_text(reply, {})) == reply


@given(st.text())
def test_any_text_is_a_reply_or_none(text: str) -> None:
    assert from_text(text) is None
    assert from_text(f'<!-- nbship: reply to 5 -->\n<!-- {{"{text}": 1}} -->') is None


@given(st.text(max_size=300))
def test_nothing_in_a_reply_ends_the_part_it_is_in(text: str) -> None:
    reply = replace(REPLY, entries=(Entry(text, "failed", fenced(text)), Entry("/run", "done", "It ran.")))
    read = from_text(to_text(reply, {}))
    assert read is not None
    assert read.entries[1] == reply.entries[1]


def test_a_reply_that_somebody_else_wrote_is_none() -> None:
    text = to_text(replace(REPLY, entries=(Entry("/deploy", "done"),), approved="1" * 40), {})
    note = Note("9", "mallory", text, datetime.now(UTC))
    assert replies([note]) == []
    assert replies([replace(note, own=True)])


def test_no_secret_is_in_a_reply() -> None:
    environment = {
        "NBSHIP_GIT_TOKEN": "hunter-2-hunter",
        "AWS_SECRET_ACCESS_KEY": "wJalr/XUtnFEMI",
        "HOME": "/root",
    }
    told = "fatal: https://x:hunter-2-hunter@git wJalr/XUtnFEMI in /root"
    text = to_text(replace(REPLY, entries=(Entry(told, "failed", told, told),)), environment)
    assert "hunter" not in text
    assert "wJalr" not in text
    assert "/root" in text


def test_a_long_reply_is_cut_and_its_code_closed() -> None:
    entries = tuple(Entry("/run", "failed", fenced("x\n" * 3000) * 20) for _ in range(10))
    text = to_text(replace(REPLY, entries=entries), {})
    assert len(text) < 65_536
    assert len(re.findall("^```", text, re.MULTILINE)) % 2 == 0
    assert from_text(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_strangers_words_mention_nobody_and_link_nowhere(forge: Place, done: list[str], text: str) -> None:
    """Outside of code, where they mean nothing, each is escaped."""
    comment = forge.write(text)
    forge.work(comment)
    (reply,) = forge.server.bodies(NUMBER)[1:] or [""]
    shown = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", re.sub(r"<!--.*?-->", "", reply), flags=re.DOTALL)
    assert not re.search(r"(?<!\\)[@#!]\w", shown)
    assert not re.search(r"(?<!\\)<(?!/?sub>)", shown)
    assert not re.search(r"(?<!\\)\]\((?!https://ci\.example\.org/)", shown)
    assert done == []
    assert len(forge.replies()) <= 1
