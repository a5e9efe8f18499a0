"""Reads the commands in a comment: one a line, such as `/run cars --set train.C=3`.

What a reader of the page does not see as a command is none: quotations, code, comments of HTML. No shell is
ever asked; a line is split into words as a shell would. What the words mean is the business of `commands`.
"""

from __future__ import annotations

import difflib
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from nbship.errors import UsageError

MOST_COMMANDS = 10
LONGEST_LINE = 2000
# A forge may know a command of the same name, as GitLab does `/approve`: `/nbship approve` is always ours.
PREFIX = "nbship"
# Only these end lines on a page. Python knows others, in which a command could hide.
_LINE_END = re.compile(r"\r\n|\r|\n")
_COMMAND = re.compile(r" {0,3}/(?P<name>[^ \t/.]+)(?P<rest>[ \t].*)?")
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})(?P<info>.*)")
_QUOTE = re.compile(r" {0,3}>")
_CODE = re.compile(r" {4}| {0,3}\t")
_HIDDEN_HTML = re.compile(r"<(pre|script|style|textarea|template)[\s>]", re.IGNORECASE)
# Control and format characters, surrogates, what has no name yet, ends of lines: nobody sees them.
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


@dataclass(frozen=True)
class Line:
    """A line that is meant as a command.

    Attributes:
        text: The line as it was written, without what is around it.
        name: The command's, without its slash.
        words: What follows it; empty if that is not understood.
        problem: Why it is not understood; empty if it is.
    """

    text: str
    name: str
    words: tuple[str, ...] = ()
    problem: str = ""


def read_commands(text: str) -> list[Line]:
    """Returns the lines of a comment that begin with a slash and a word, in order.

    Raises:
        UsageError: There are too many.
    """
    found = []
    for line in _shown(text):
        match = _COMMAND.fullmatch(line.rstrip())
        read = _read(line.strip(), match["name"], match["rest"] or "") if match else None
        found += [read] if read and read.name else []
        if len(found) > MOST_COMMANDS:
            raise UsageError(
                f"more than {MOST_COMMANDS} commands in one comment", "nothing of it is done: write fewer"
            )
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the command that a mistyped one may mean; empty if none is near."""
    # Letters of other scripts that look like Latin ones are taken apart where Unicode says so.
    folded = unicodedata.normalize("NFKD", name).casefold()
    near = difflib.get_close_matches(folded, list(known), n=1, cutoff=0.6)
    return near[0] if near else ""


def _read(text: str, name: str, rest: str) -> Line:
    if len(text) > LONGEST_LINE:
        return Line(f"{text[:60]}…", name, problem=f"the line is longer than {LONGEST_LINE} characters")
    unseen = [
        character for character in text if unicodedata.category(character) in _UNSEEN and character != "\t"
    ]
    if unseen:
        return Line(
            "".join("�" if character in unseen else character for character in text),
            "".join(character for character in name if character not in unseen),
            problem=f"the line holds a character that cannot be seen: U+{ord(unseen[0]):04X}",
        )
    try:
        words = tuple(shlex.split(rest))
    except ValueError:
        return Line(text, name, problem="a quotation mark or a backslash at its end is not closed")
    if name == PREFIX:
        return Line(text, words[0].removeprefix("/") if words else "help", words[1:])
    return Line(text, name, words)


def _shown(text: str) -> Iterator[str]:
    """The lines that a page shows as ordinary text, as CommonMark reads them, or fewer."""
    ends: Callable[[str], object] | None = None
    comment = quoted = False
    for line in _LINE_END.split(text):
        if ends:
            ends = None if ends(line) else ends
            continue
        visible, comment = _without_comments(line, comment)
        ends = _block(visible)
        if visible != line or ends:
            # What is beside a hidden part may read otherwise than it is.
            quoted = False
        elif _QUOTE.match(line):
            quoted = True
        elif not line.strip():
            quoted = False
        # A line directly below a quotation is shown as a part of it.
        elif not quoted and not _CODE.match(line):
            yield line


def _block(line: str) -> Callable[[str], object] | None:
    """What tells the last line of a block whose lines are not read, if one begins here."""
    fence, hidden = _FENCE.fullmatch(line), _HIDDEN_HTML.search(line)
    if fence and not (fence["fence"][0] == "`" and "`" in fence["info"]):
        closing = re.compile(rf" {{0,3}}{fence['fence']}{fence['fence'][0]}*[ \t]*")
        return closing.fullmatch
    if hidden:
        last = re.compile(rf"</{hidden[1]}", re.IGNORECASE)
        return None if last.search(line, hidden.end()) else last.search
    return None


def _without_comments(line: str, inside: bool) -> tuple[str, bool]:
    """A line without comments of HTML, and whether one goes on in the next."""
    kept = []
    while line:
        if inside:
            _, end, line = line.partition("-->")
            inside = not end
        else:
            before, begin, line = line.partition("<!--")
            kept.append(before)
            inside = bool(begin)
    return "".join(kept), inside
