"""Commands that nbship prints are commands that nbship takes: on the run page, and in what it says."""

from __future__ import annotations

import ast
import html
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

import nbship
from nbship.cli.main import app
from nbship.config import Pipeline, load_pipeline
from nbship.kernels import forkserver
from nbship.pages import formatting
from nbship.pages.run_page import write_run_page
from nbship.record import RunRecord
from tests.engine import NAME, TRAIN, run_points, write_points
from tests.projects import write_notebook
from tests.records import make_record

SOURCE = Path(nbship.__file__).parent
PARSED: list[dict[str, Any]] = []


def recording(command: TyperCommand | TyperGroup) -> TyperCommand | TyperGroup:
    """The same command line, whose commands note what they are given and do nothing."""
    for each in command.commands.values() if isinstance(command, TyperGroup) else ():
        recording(each)
    if not isinstance(command, TyperGroup):
        command.callback = lambda **given: PARSED.append(given)
    return command


COMMAND = recording(get_command(app))


def parsed(line: str) -> dict[str, Any]:
    """What a command is given by a line that was copied into a shell."""
    program, *arguments = shlex.split(line)
    assert program == "nbship"
    COMMAND.main(arguments, standalone_mode=False)
    return PARSED.pop()


def repeated(record: RunRecord, folder: Path) -> dict[str, Any]:
    """What `nbship run` is given by the command on a run's page that repeats the run."""
    page = write_run_page(record, folder).read_text()
    [command] = [c for c in re.findall(r"<code>(nbship run .*?)</code>", page, re.S) if "--sample" not in c]
    return parsed(html.unescape(command))


# All that a command line can hold.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@given(st.lists(TEXT), st.lists(TEXT))
@settings(max_examples=50)
def test_settings_and_files_of_any_text_survive_a_shell(texts, files):
    record = make_record(settings=texts, override_files=files)
    given_ = parsed(formatting.repeat_command(record))
    assert given_["settings"] == texts
    assert given_["override_files"] == [Path(file) for file in files]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = write_points(tmp_path)
    more = 'note: str = ""  # text\nwords: list = []  # list\noptions: dict = {}  # mapping\n'
    write_notebook(root / "notebooks/train.ipynb", TRAIN + more, 'open(model, "w").write("2.0")')
    (root / "my layer.yaml").write_text("gate: {tolerance: 0.2}\nsteps: {train: {timeout: 50}}\n")
    monkeypatch.chdir(root)
    yield root
    forkserver.stop()


SETTINGS = [
    "train.slope=3.5",
    'train.note=it\'s a "quoted" $HOME `x` = y; & <b> \\ # é\n--set',
    "train.note=",
    "train.words=[a, 'b c', \"d=e\", 3]",
    "train.options={a: {b: [1, 2]}, c: '='}",
    "steps.train.gpu=1",
    "steps.train.env={A: 'x y'}",
    "gate.thresholds.error.max=7",
    "description=-- a description",
]


def test_the_page_repeats_a_run_with_overrides_of_every_kind(project, monkeypatch):
    monkeypatch.setenv("NBSHIP_TRAIN__WORDS", "[from, 'the environment']")
    monkeypatch.setenv("NBSHIP_GATE__CONFIDENCE", "0.9")
    files = [Path("my layer.yaml")]
    record, folder = run_points(project, *SETTINGS, override_files=files)
    again = repeated(record, folder)

    def pipeline(given_settings: list[str], given_files: list[Path]) -> Pipeline:
        return load_pipeline(project, NAME, given_settings, given_files, os.environ)

    assert pipeline(again["settings"], again["override_files"]) == pipeline(SETTINGS, files)
    page = (folder / "index.html").read_text()
    assert "NBSHIP_GATE__CONFIDENCE and NBSHIP_TRAIN__WORDS set as before" in page
    assert again["sample"] is False


# Words that stand behind "nbship" in a sentence.
PROSE = {"added", "blank", "did", "fork", "generated", "published", "understands"}


def messages() -> Iterator[tuple[str, str]]:
    """Every command in a text of the code that may be printed, with its file, and a word for each blank."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documents = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        inner = {id(v) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for v in node.values}
        for node in ast.walk(tree):
            if id(node) in documents | inner:
                continue
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            elif isinstance(node, ast.JoinedStr):
                text = "".join(v.value if isinstance(v, ast.Constant) else "blank" for v in node.values)
            else:
                continue
            for line in re.findall(r"(?<!/)\bnbship ((?:--debug )?[a-z]+\b[^;,`\n()|…:→]*)", text):
                if line.split()[0] not in PROSE:
                    yield path.relative_to(SOURCE).as_posix(), f"nbship {line}".strip(" .")


@pytest.mark.parametrize(
    ("file", "line"), [pytest.param(*m, id=" ".join(m)) for m in dict.fromkeys(messages())]
)
def test_commands_in_messages_exist(file, line):
    COMMAND.main([*shlex.split(line)[1:], "--help"], standalone_mode=False)
