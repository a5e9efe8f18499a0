"""The Dockerfile and what goes into it: by hash, without root, and only what steps and model servers need."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nbship.workflow.image import ingredients

ROOT = Path(__file__).parent.parent
EXTRAS = ("gitlab", "mlflow", "monitor", "s3", "serve", "sql")
_PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9_.-]+)==(?P<version>[^ ;\\]+)[^\\\n]*\\\n(?P<hashes>(?:    --hash=.*\n?)+)", re.M
)


def pins(lock: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and hashes of every package in a lock."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    found = {
        canonicalize_name(pin["name"]): (
            pin["version"],
            frozenset(re.findall(r"sha256:[0-9a-f]{64}", pin["hashes"])),
        )
        for pin in _PIN.finditer(text)
    }
    assert len(found) == len(re.findall(r"^\S+==", text, re.MULTILINE))
    return found


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, each on one line."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in text.splitlines() if line.strip()]


def declared(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return {canonicalize_name(Requirement(line).name) for line in (*project["dependencies"], *lines)}


def test_the_lock_of_the_image_is_a_part_of_the_lock() -> None:
    image, whole = pins("requirements-image.lock"), pins("requirements.lock")
    assert {name: pin for name, pin in whole.items() if name in image} == image


def test_the_image_has_what_steps_and_servers_need_and_nothing_for_desks() -> None:
    image = pins("requirements-image.lock")
    assert declared(*EXTRAS) <= image.keys()
    assert {"jupyterlab", "pytest", "ruff", "mypy", "moto", "google-cloud-aiplatform"}.isdisjoint(image)


def test_the_lock_script_takes_these_extras() -> None:
    script = (ROOT / "scripts/lock").read_text(encoding="utf-8")
    image = script.partition("compile requirements-image.lock")[2]
    assert tuple(re.findall(r"--extra (\w+)", image)) == EXTRAS


def test_it_installs_by_hash_and_builds_from_nothing_else() -> None:
    installs = [text for name, text in instructions() if name == "RUN" and "pip install" in text]
    assert len(installs) == 2
    assert "--require-hashes --requirement requirements-image.lock" in installs[0]
    assert "--no-deps --no-build-isolation ." in installs[1]


def test_it_is_not_root() -> None:
    last = [name for name, _ in instructions()].index("FROM", 2)
    users = [text for name, text in instructions()[last:] if name == "USER"]
    assert users == ["1000:0"]


def test_it_copies_what_is_listed_and_all_of_it() -> None:
    copied = [
        shlex.split(text)[:-1] for name, text in instructions() if name == "COPY" and "--from" not in text
    ]
    sources = {source for each in copied for source in each}
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert sources == {line[1:] for line in lines if line.startswith("!")}


def test_links_in_it_lead_to_what_is_in_it() -> None:
    inside = {path.resolve() for path in ingredients(ROOT)}
    for link in (path for path in ingredients(ROOT) if path.is_symlink()):
        target = link.resolve()
        assert target in inside or any(target in path.parents for path in inside), f"{link} leads out"


@pytest.mark.parametrize("word", ["ADD", "latest", "curl", "sudo", "TOKEN", "PASSWORD", "index-url"])
def test_what_a_dockerfile_should_not_have(word: str) -> None:
    assert word not in (ROOT / "Dockerfile").read_text(encoding="utf-8")
