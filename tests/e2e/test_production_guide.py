"""docs/production.md as a team follows it: commands print what it shows, messages are nbship's own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests import guide

pytestmark = pytest.mark.e2e

PAGE = guide.PAGE.read_text(encoding="utf-8")
SOURCES = guide.ROOT / "src/nbship"
# What another day, machine or commit changes.
PLACEHOLDERS = {
    "TIME": r"\d{4}-\d\d-\d\d( \d\d:\d\d)?",
    "RUN": r"\d{8}-\d{6}-[0-9a-f]{4}",
    "UUID": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "HASH": r"\b(?=[0-9a-f]*\d)[0-9a-f]{7,40}\b",
    "SECONDS": r"\d+\.\d+ s\b",
    "DURATION": r"median \d+ ms",
    "NUMBER": r"(?<![v\d.])[+−]?\d+(\.\d+)?(?![\d.])",
}
# Words that a message must have of its own, to be told from any other.
FEWEST_LETTERS = 9


def test_the_guide_shows_what_its_commands_print(tmp_path: Path) -> None:
    with guide.tour(tmp_path) as tour:
        followed = tour.follow(PAGE)
    assert comparable(followed) == comparable(PAGE), "renew it: python -m tests.guide"


def comparable(page: str) -> list[str]:
    """The lines of a page, with placeholders; without what depends on who looked when."""
    return [line for block in re.split(r"^```", page, flags=re.M) for line in ordered(block)]


def ordered(block: str) -> Iterator[str]:
    """Steps that run at the same time end in any order, and may begin and end between two looks."""
    ends: list[str] = []
    for line in map(with_placeholders, block.splitlines()):
        if line.startswith("▸"):
            continue
        if line.startswith("✓"):
            ends.append(line)
            continue
        yield from sorted(ends)
        ends = []
        yield line


def with_placeholders(line: str) -> str:
    for name, pattern in PLACEHOLDERS.items():
        line = re.sub(pattern, name, line)
    return re.sub(" +", " ", line)


@pytest.mark.parametrize(
    ("one", "other"), [("v1.0.0", "v1.1.0"), ("passed", "rejected"), ("exit code 3", "")]
)
def test_what_matters_is_compared(one: str, other: str) -> None:
    assert comparable(f"the model is {one}") != comparable(f"the model is {other}")


def messages() -> list[str]:
    table = PAGE.partition("\n## 10.")[2]
    return re.findall(r"^\| `(.+?)` \|", table, re.M)


@cache
def known_messages() -> tuple[str, ...]:
    """Patterns of the texts in the code, in which values stand for anything."""
    return tuple(dict.fromkeys(_patterns()))


def _patterns() -> Iterator[str]:
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [str(part.value) for part in parts if isinstance(part, ast.Constant)]
            if len(re.sub(r"\W", "", "".join(texts))) >= FEWEST_LETTERS:
                yield "".join(
                    re.escape(str(part.value).rstrip("\n")) if isinstance(part, ast.Constant) else ".*"
                    for part in parts
                )


@pytest.mark.parametrize("message", messages())
def test_a_message_is_one_that_nbship_says(message: str) -> None:
    assert any(re.fullmatch(pattern, message) for pattern in known_messages())


def test_there_are_messages() -> None:
    assert len(messages()) > 12
    assert not any(re.fullmatch(pattern, "it is broken in some other way") for pattern in known_messages())
