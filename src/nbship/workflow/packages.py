"""Brings the package of any version of a model: the champion's from DVC, an older one's from the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nbship.config import Pipeline
from nbship.errors import Report
from nbship.package import COMPILED, DESCRIPTION, MODEL, Package, read_package
from nbship.versions import registry, store
from nbship.versions.registry import Version
from nbship.workflow.models import list_models


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
    """Yields the package of a version; None where only the model store would have it, and does not.

    Args:
        root: The project's folder.
        pipeline: Its `publish.store` is where older versions are.
        version: A registered version.
        report: Told in a line what is being waited for.

    Raises:
        NbshipError: The package is damaged, or its place cannot be read.
    """
    name = pipeline.name
    address = (pipeline.publish.store if pipeline.publish else None) or ""
    stored = f"{address.rstrip('/')}/{name}/{version.version}" if address else ""
    champion = list_models(root, name)[0].champion
    if version.version == champion and registry.champion(root, name, report):
        registry.compiled(root, name, report)
        folder = registry.model_folder(root, name)
        yield FoundPackage(read_package(folder), folder, stored)
        return
    with tempfile.TemporaryDirectory(prefix="nbship-") as temporary:
        folder = Path(temporary)
        if not address or not _fetch(root, address, name, version.version, folder):
            yield None
            return
        yield FoundPackage(read_package(folder), folder, stored)


def _fetch(root: Path, address: str, name: str, version: str, folder: Path) -> bool:
    """Copies a package from the store; returns whether it is there."""
    opened = store.open_store(root, address)
    for file in (DESCRIPTION, MODEL, COMPILED):
        content = store.read(opened, name, version, file)
        if content is not None:
            (folder / file).write_bytes(content)
        elif file != COMPILED:
            return False
    return True
