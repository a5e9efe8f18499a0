"""Where a step finds the project's modules, as Python does: in the first folder that has one."""

from __future__ import annotations

import importlib.util
import site
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from nbship.errors import UsageError

SOURCES = "src"
_PACKAGE = "__init__.py"
# Runs the step, so it is there wherever a step runs.
_ALWAYS_THERE = "nbship"
# Where installers put packages, in any environment: one may lie over another, by `.pth` or PYTHONPATH.
_INSTALLED = {"site-packages", "dist-packages"}


@dataclass(frozen=True)
class Module:
    """A module of the project: its dotted name and its file; a package's is its `__init__.py`."""

    name: str
    file: Path

    @property
    def package(self) -> str:
        """What a relative import in it starts from."""
        return self.name if self.file.name == _PACKAGE else self.name.rpartition(".")[0]

    @property
    def is_compiled(self) -> bool:
        """Whether it is machine code."""
        return self.file.name.endswith(tuple(EXTENSION_SUFFIXES))


def python_path(root: Path, folder: Path) -> list[Path]:
    """Returns the folders in which a step finds the project's modules, in order.

    Args:
        root: The project's folder.
        folder: The notebook's.

    Raises:
        UsageError: A module there would hide one of Python's own, which kernels need.
    """
    root = root.absolute()
    folders = list(dict.fromkeys([folder.absolute(), root / SOURCES, root]))
    for folder in folders:
        for name in _names(folder):
            file = _regular(folder, name) if name in sys.stdlib_module_names else None
            if file is not None:
                shown = file.relative_to(root) if file.is_relative_to(root) else file
                raise UsageError(
                    f"{shown}: hides Python's own module '{name}' from steps",
                    "rename it, or move it into a package",
                )
    return folders


def find(name: str, folders: Sequence[Path]) -> list[Module]:
    """Returns the module of a dotted name and the packages it is in, as far as folders have them.

    Args:
        name: Such as `cars.features.add`; what follows the last module may be a name in it.
        folders: Where to look, in order.
    """
    found: list[Module] = []
    places, parts = list(folders), name.split(".")
    for count, part in enumerate(parts, start=1):
        file = next((file for place in places if part and (file := _regular(place, part))), None)
        if file is None:
            # Folders without `__init__.py` make one package together.
            places = [place / part for place in places if part and (place / part).is_dir()]
        else:
            found.append(Module(".".join(parts[:count]), file))
            places = [file.parent] if file.name == _PACKAGE else []
    return found


def elsewhere(name: str) -> Path | None:
    """Returns where Python finds a top-level module if it is none of the environment's; None if it is.

    One that is not found at all is for the notebook to meet, or to do without.
    """
    if name in sys.stdlib_module_names or name == _ALWAYS_THERE:
        return None
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or not spec.has_location or not spec.origin:
        return None
    origin = Path(spec.origin).absolute()
    installed = _INSTALLED.intersection(origin.parts)
    return None if installed or any(origin.is_relative_to(folder) for folder in _environment()) else origin


def _environment() -> list[str]:
    folders = [sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages()]
    return [*folders, site.getusersitepackages()]


def _names(folder: Path) -> set[str]:
    try:
        return {entry.name.partition(".")[0] for entry in folder.iterdir()}
    except OSError:
        return set()


def _regular(folder: Path, name: str) -> Path | None:
    """The file of a module in a folder, in the order in which Python prefers them."""
    package, plain = folder / name / _PACKAGE, folder / f"{name}.py"
    if package.is_file():
        return package
    for suffix in EXTENSION_SUFFIXES:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    # A link that leads nowhere is to be told of, not to be passed over.
    return plain if plain.is_file() or plain.is_symlink() else None
