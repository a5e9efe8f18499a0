"""The program as a whole: what a wrong command line says, and with which code it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = str(Path(sys.executable).parent / "nbship")
ROOT = Path(__file__).parent.parent.parent


def nbship(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["run", "auto-mpg", "--forc"], "No such option: --forc", "nbship run --help"),
        (["run"], "Missing argument 'NAME'", "nbship run --help"),
        (["rum"], "No such command 'rum'", "nbship --help"),
        (["run", "auto-mgp"], "there is no pipeline 'auto-mgp'", "did you mean 'auto-mpg'?"),
        (["run", "auto-mpg", "--from", "trian"], "has no step 'trian'", "did you mean 'train'?"),
        (["run", "auto-mpg", "--set", "train.c=1"], "has no parameter 'c'", ""),
        (["run", "auto-mpg", "--set", "train.C=much"], "parameter 'C' is 'much' (str)", "float"),
    ],
)
def test_wrong_usage_is_told_in_two_lines(arguments: list[str], message: str, hint: str) -> None:
    result = nbship(*arguments)
    assert result.returncode == 2
    first, second = result.stderr.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith("hint:  ")
    assert hint in second


def test_without_a_command_the_help_is_shown() -> None:
    result = nbship()
    assert result.returncode == 2
    assert "Usage: nbship" in result.stdout + result.stderr
    assert "error:" not in result.stderr


def test_outside_a_project(tmp_path: Path) -> None:
    result = nbship("show", "auto-mpg", folder=tmp_path)
    assert result.returncode == 2
    assert "no project here or in a parent folder" in result.stderr


def test_debug_shows_the_traceback() -> None:
    result = nbship("--debug", "show", "auto-mgp")
    assert result.returncode != 0
    assert "Traceback" in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "show",
        "publish",
        "models",
        "compile",
        "schema",
        "submit",
        "schedule",
        "data pull",
        "runs compare",
    ],
)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = nbship(*command.split(), "--help")
    assert result.returncode == 0
    assert "Example" in result.stdout


def test_the_version() -> None:
    result = nbship("--version")
    assert (result.returncode, result.stdout) == (0, "nbship 0.1.0\n")
