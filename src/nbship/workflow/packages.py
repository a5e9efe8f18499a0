"""Brings the package of any version of a model: out of DVC by its commit, or from the model store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nbship.config import Pipeline
from nbship.errors import NbshipError, Report
from nbship.files import write_bytes, write_text
from nbship.package import COMPILED, DESCRIPTION, MODEL, Package, read_package
from nbship.versions import git, registry, store
from nbship.versions.content import read_content
from nbship.versions.registry import Version


@dataclass(frozen=True)
class FoundPackage:
    """A package that is here.

    Attributes:
        description: Its `model.json`.
        folder: Where it is.
        stored: Its address in the model store; empty if the pipeline names none.
    """

    description: Package
    folder: Path
    stored: str = ""


@contextmanager
def find_package(
    root: Path, pipeline: Pipeline, version: Version, report: Report = lambda _: None
) -> Iterator[FoundPackage | None]:
    """Yields the package of a version; None where neither DVC nor the model store has it.

    Args:
        root: The project's folder.
        pipeline: Its `publish.store` is where a version may be that DVC does not have.
        version: A registered version.
        report: Told in a line what is being waited for.

    Raises:
        NbshipError: The package is damaged, or its place cannot be read.
    """
    name = pipeline.name
    address = (pipeline.publish.store if pipeline.publish else None) or ""
    stored = f"{address.rstrip('/')}/{name}/{version.version}" if address else ""
    tracking = registry.versioned_files(root, name)[0]
    here = tracking.read_text(encoding="utf-8") if tracking.is_file() else None
    is_champion = here is not None and git.read_at(root, version.commit, tracking) == here
    if is_champion and registry.champion(root, name, report):
        registry.compiled(root, name, report)
        folder = registry.model_folder(root, name)
        yield FoundPackage(read_package(folder), folder, stored)
        return
    with tempfile.TemporaryDirectory(prefix="nbship-") as temporary:
        folder = Path(temporary)
        if not _from_dvc(root, version, folder, report) and not _from_store(root, address, version, folder):
            yield None
            return
        yield FoundPackage(read_package(folder), folder, stored)


def _from_dvc(root: Path, version: Version, folder: Path, report: Report) -> bool:
    """Writes the files that the version's commit names; returns whether DVC has them."""
    tracking, description = registry.versioned_files(root, version.name)
    texts = [git.read_at(root, version.commit, path) for path in (tracking, description)]
    if texts[0] is None or texts[1] is None:
        return False
    try:
        contents = {file: read_content(root, texts[0], file, report) for file in (MODEL, COMPILED)}
    except NbshipError:
        return False
    write_text(folder / DESCRIPTION, texts[1])
    for file, content in contents.items():
        if content is not None:
            write_bytes(folder / file, content)
    return True


def _from_store(root: Path, address: str, version: Version, folder: Path) -> bool:
    """Copies a version from the model store; returns whether it is there."""
    if not address:
        return False
    opened = store.open_store(root, address)
    for file in (DESCRIPTION, MODEL, COMPILED):
        content = store.read(opened, version.name, version.version, file)
        if content is not None:
            write_bytes(folder / file, content)
        elif file != COMPILED:
            return False
    return True
