"""pyproject.toml, requirements.lock and environment.yml describe one environment, the installed one."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.11", "3.12")
_PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9_.-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+))?", re.MULTILINE
)


def lock_text() -> str:
    return (ROOT / "requirements.lock").read_text(encoding="utf-8")


def pins(python: str) -> dict[str, str]:
    """The version of every package that the lock names for a Python on Linux."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    found = {}
    for pin in _PIN.finditer(lock_text()):
        line = f"{pin['name']}=={pin['version']}" + (f"; {pin['marker']}" if pin["marker"] else "")
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            found[canonicalize_name(requirement.name)] = pin["version"]
    return found


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [
        line for name, lines in project["optional-dependencies"].items() if name != "torch" for line in lines
    ]
    return [Requirement(line) for line in (*project["dependencies"], *extras)]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("requirement", declared(), ids=lambda requirement: requirement.name)
def test_the_lock_satisfies_pyproject(requirement: Requirement, python: str) -> None:
    pinned = pins(python)[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned)


@pytest.mark.parametrize("requirement", declared(), ids=lambda requirement: requirement.name)
def test_every_requirement_has_a_floor(requirement: Requirement) -> None:
    assert any(part.operator in (">=", "==", "~=") for part in requirement.specifier)


def test_every_pin_has_a_hash_and_no_address() -> None:
    for block in re.split(r"\n(?=\S)", lock_text().split("\n", 1)[1].strip()):
        assert "--hash=sha256:" in block, block
    assert "://" not in lock_text()
    assert "--index" not in lock_text()


def test_conda_installs_the_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *packages, pip = environment["dependencies"]
    assert pip == {"pip": ["-r requirements.lock"]}
    assert "pip" in packages
    (python,) = (Requirement(package) for package in packages if package.startswith("python"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert all(python.specifier.contains(f"{each}.0") for each in PYTHONS)
    assert not python.specifier.contains("3.10.0")
    assert project["requires-python"] == ">=3.11"


def test_what_is_installed_is_what_is_locked() -> None:
    import sys

    locked = pins(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert {r.name: version(r.name) for r in declared()} == {
        r.name: locked[canonicalize_name(r.name)] for r in declared()
    }


def test_no_tracked_file_names_a_registry_or_this_machine() -> None:
    hosts = [f"pypi.{'org'}", f"files.python{'hosted'}.org", f"registry.npm{'js'}.org"]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        for word in (*hosts, str(ROOT)):
            assert word.encode() not in content, f"{name} has {word}"
