"""Adds libraries to a project: declared, pinned in the lock, installed here, and by the lock in the image.

uv resolves and installs; where it is declared is decided here. If uv finds no solution, nothing has changed.
A project with a `uv.lock` keeps to it: nbship is in a dependency group there, and the lock is exported by uv.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from nbship import files
from nbship.errors import NbshipError, Report, UsageError, without_credentials
from nbship.templates.project import LOCK, REQUIREMENTS, nbship_requirement, requirements

PROJECT = "pyproject.toml"
UV_LOCK = "uv.lock"
GROUP = "nbship"
# The image's Python; the lock is for every platform from there on.
_PYTHON = "3.11"
_ABOUT = "# Pinned with hashes. Renewed by `nbship add`; do not edit by hand.\n"


@dataclass(frozen=True)
class Added:
    """What was done.

    Attributes:
        declared: The file that names the libraries; empty if there was nothing to add.
        lock: The lock.
        changed: Lines such as `seaborn 0.13.2`: what the lock has now and had not, or in another version.
        installed: Whether they are installed here too.
    """

    declared: str
    lock: str
    changed: tuple[str, ...]
    installed: bool


def add(
    root: Path,
    libraries: Sequence[str],
    upgrade: bool = False,
    install: bool = True,
    report: Report = lambda _: None,
) -> Added:
    """Adds libraries; without any, renews the lock from what is declared.

    Args:
        root: The project's folder.
        libraries: Requirements such as `seaborn` or `lightgbm>=4`.
        upgrade: Take the newest version of everything; else what is pinned stays as far as it can.
        install: Install here what was added.
        report: Told in a line what takes long.

    Raises:
        UsageError: A library is no requirement.
        NbshipError: uv is not there, or found no solution.
    """
    wanted = [_requirement(text) for text in libraries]
    uv = _uv()
    path = _declaring(root)
    lock, uv_lock = root / LOCK, find_uv_lock(root)
    before = _pins(lock)
    by_uv = uv_lock is not None and not (root / REQUIREMENTS).exists()
    with _unless_it_fails(path, root / REQUIREMENTS, lock, *([uv_lock] if uv_lock else [])):
        if not by_uv and not (root / REQUIREMENTS).exists():
            files.write_text(root / REQUIREMENTS, requirements())
        report(f"resolving {LOCK}")
        if wanted and path.name == PROJECT:
            _run([uv, "add", "--quiet", "--no-sync" if uv_lock else "--frozen", *map(str, wanted)], root)
        elif wanted:
            files.write_text(path, _declared(path.read_text(encoding="utf-8"), wanted))
        (_export if by_uv else _lock)(uv, root, upgrade)
    after = _pins(lock)
    changed = tuple(f"{name} {version}" for name, version in after.items() if before.get(name) != version)
    if wanted and install:
        report(f"installing into {sys.prefix}")
        pip = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--constraints", LOCK]
        _run([*pip, *map(str, wanted)], root)
    return Added(path.name if wanted else "", LOCK, changed, bool(wanted and install))


def find_uv_lock(root: Path) -> Path | None:
    """Returns the `uv.lock` of a project that uv manages, its own or its workspace's; None of any other."""
    if not (root / PROJECT).is_file():
        return None
    for folder in (root, *root.absolute().parents):
        if (folder / UV_LOCK).is_file():
            return folder / UV_LOCK
        if (folder / ".git").exists():
            break
    return None


def _requirement(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement:
        raise UsageError(
            f"'{text}' is not a library", "write it as pip does: seaborn, 'lightgbm>=4'"
        ) from None


def _uv() -> str:
    """The program, on the path or beside this Python."""
    beside = Path(sys.executable).parent
    found = shutil.which("uv") or shutil.which("uv", path=str(beside))
    if not found:
        raise NbshipError("uv, which writes the lock, is not installed", "pip install uv")
    return found


def _declaring(root: Path) -> Path:
    """The file in which a project declares its libraries."""
    return root / (PROJECT if "project" in _read_project(root) else REQUIREMENTS)


def _read_project(root: Path) -> dict[str, Any]:
    path = root / PROJECT
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{PROJECT}: {error}", "correct the TOML") from None


def _declared(text: str, wanted: Sequence[Requirement]) -> str:
    """The requirements with new ones; one of the same library takes the old one's place."""
    new = {canonicalize_name(each.name): str(each) for each in wanted}
    lines = []
    for line in text.splitlines():
        try:
            name = canonicalize_name(Requirement(line.partition(" #")[0]).name)
        except InvalidRequirement:
            name = canonicalize_name("")
        lines.append(new.pop(name, line))
    return "\n".join([*lines, *new.values()]) + "\n"


def _lock(uv: str, root: Path, upgrade: bool) -> None:
    """Resolves what is declared into the lock, beginning from what it pins."""
    sources = list(dict.fromkeys([REQUIREMENTS, _declaring(root).name]))
    command = [uv, "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-annotate"]
    command += ["--no-header", "--python-version", _PYTHON, "--output-file", LOCK]
    command += ["--upgrade"] if upgrade else []
    _run([*command, *sources], root)
    _say_whose(root / LOCK)


def _export(uv: str, root: Path, upgrade: bool) -> None:
    """Writes what `uv.lock` pins for the project and for nbship; the project's own code travels by itself."""
    if GROUP not in _read_project(root).get("dependency-groups", {}):
        _run([uv, "add", "--quiet", "--no-sync", "--group", GROUP, nbship_requirement()], root)
    _run([uv, "lock", "--quiet", *(["--upgrade"] if upgrade else [])], root)
    command = [uv, "export", "--quiet", "--frozen", "--no-default-groups", "--group", GROUP]
    _run([*command, "--no-emit-workspace", "--no-header", "--no-annotate", "--output-file", LOCK], root)
    _say_whose(root / LOCK)


def _say_whose(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    files.write_text(lock, _ABOUT + text.removeprefix(_ABOUT))


def _run(command: Sequence[str], root: Path) -> None:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        what = " ".join(command[1:3] if command[1] == "pip" else command[1:2])
        said = without_credentials(done.stderr.strip())
        raise NbshipError(
            f"uv {what} failed with exit code {done.returncode}", "see what uv says above", said
        )


@contextmanager
def _unless_it_fails(*paths: Path) -> Iterator[None]:
    """Puts files back as they were if anything goes wrong."""
    before = {path: path.read_bytes() if path.exists() else None for path in paths}
    try:
        yield
    except BaseException:
        for path, content in before.items():
            if content is None:
                files.remove(path)
            elif path.read_bytes() != content:
                files.write_bytes(path, content)
        raise


def _pins(lock: Path) -> dict[str, str]:
    """The versions in a lock."""
    if not lock.exists():
        return {}
    lines = (line.partition(" ")[0] for line in lock.read_text(encoding="utf-8").splitlines())
    return {name: version for name, is_pin, version in (line.partition("==") for line in lines) if is_pin}
