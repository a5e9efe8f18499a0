"""The documents: links lead somewhere, commands parse, the pipeline file's reference is complete."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs import renew
from pydantic import BaseModel
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from nbship import config
from nbship.cli.main import app
from nbship.errors import ExitCode
from nbship.notebook import ARTIFACTS, Role, read_signature
from nbship.values import SCALARS, TYPES, parse_yaml

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def by_page(found: Iterator[tuple[Path, str]]) -> list[object]:
    return [pytest.param(page, text, id=f"{page.name}: {text}") for page, text in dict.fromkeys(found)]


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        text = without_blocks(page.read_text(encoding="utf-8"))
        yield from ((page, link) for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link)


def commands() -> Iterator[tuple[Path, str]]:
    """The command lines in blocks for a terminal, without what the shell does with their output."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
        lines += [
            line[2:] for block in blocks(text, "console") for line in block.splitlines() if line[:2] == "$ "
        ]
        yield from ((page, line.split("|")[0].strip()) for line in lines if line.startswith("nbship "))


def mentions() -> Iterator[tuple[Path, str]]:
    """Command lines in the text, which may leave out what the command must be given."""
    for page in PAGES:
        text = without_blocks(page.read_text(encoding="utf-8"))
        yield from ((page, line) for line in re.findall(r"`(nbship [^`]+)`", text))


def disarmed(command: TyperCommand | TyperGroup) -> TyperCommand | TyperGroup:
    """The same command line, whose commands do nothing."""
    for each in command.commands.values() if isinstance(command, TyperGroup) else ():
        disarmed(each)
    if not isinstance(command, TyperGroup):
        command.callback = lambda **_: None
    return command


COMMAND = disarmed(get_command(app))


def parse(line: str) -> None:
    COMMAND.main(shlex.split(line, comments=True)[1:], standalone_mode=False)


def slug(heading: str) -> str:
    """The anchor that GitLab and GitHub give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize(("page", "link"), by_page(links()))
def test_links_lead_somewhere(page: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.exists()
    if anchor:
        headings = re.findall(r"^#+ (.+)$", without_blocks(target.read_text(encoding="utf-8")), re.MULTILINE)
        assert anchor in map(slug, headings)


@pytest.mark.parametrize(("page", "line"), by_page(commands()))
def test_commands_parse(page: Path, line: str) -> None:
    parse(line)


@pytest.mark.parametrize(("page", "line"), by_page(mentions()))
def test_mentioned_commands_exist(page: Path, line: str) -> None:
    parse(f"{line} --help")


@pytest.mark.parametrize("line", ["nbship runn auto-mpg", "nbship run auto-mpg --forse", "nbship data fetch"])
def test_a_command_that_is_not_there_is_noticed(line: str) -> None:
    with pytest.raises(Exception, match="No such"):
        parse(line)


def test_the_tour_has_commands() -> None:
    assert len(list(commands())) > 10


@pytest.mark.parametrize("name", renew.SECTIONS)
def test_the_reference_has_every_key_as_the_code_describes_it(name: str) -> None:
    text = renew.REFERENCE.read_text(encoding="utf-8")
    table = renew.table(getattr(config, name))
    assert f"<!-- keys of {name} -->\n\n{table}\n\n" in text, "renew it: python -m docs.renew"


def test_the_reference_has_every_model() -> None:
    models = {name for name, value in vars(config).items() if is_model(value) and not name.startswith("_")}
    assert models == set(renew.SECTIONS)


def is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel) and value is not BaseModel


def test_examples_of_pipeline_files_are_valid_and_show_every_key() -> None:
    shown = {name: set() for name in renew.SECTIONS}
    for page in (ROOT / "README.md", renew.REFERENCE):
        for block in blocks(page.read_text(encoding="utf-8"), "yaml"):
            if block.startswith("name:"):
                note_keys(config.validate(parse_yaml(block), page.name, block), shown)
    assert shown == {name: set(getattr(config, name).model_fields) for name in renew.SECTIONS}


def note_keys(value: object, shown: dict[str, set[str]]) -> None:
    if isinstance(value, BaseModel):
        shown[type(value).__name__] |= value.model_fields_set
        value = dict(value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        note_keys(item, shown)


def test_the_page_on_notebooks_knows_every_type_and_its_example_is_understood() -> None:
    text = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    assert all(f"`{word}`" in text for word in (*ARTIFACTS, *TYPES, *SCALARS))
    roles = {variable.role for variable in read_signature(blocks(text, "python")[0]).variables}
    assert roles == set(Role)


def test_the_readme_shows_the_parameters_cell_as_it_is() -> None:
    notebook = (ROOT / "notebooks/shared/evaluate-regression.ipynb").read_text(encoding="utf-8")
    (cell,) = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python")
    assert all(line.replace('"', r"\"") in notebook for line in cell.splitlines())


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_exit_codes_are_listed(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert all(re.search(rf"(\| |\b){code.value}( \||\s)", text) for code in ExitCode)


def test_pictures_are_small() -> None:
    pictures = list((ROOT / "docs" / "pictures").iterdir())
    assert pictures
    assert all(picture.stat().st_size < 300_000 for picture in pictures)
