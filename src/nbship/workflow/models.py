"""Lists the published models: their versions, and which of them is the champion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nbship.errors import UsageError, suggestion
from nbship.package import MODEL
from nbship.versions import dvc, git, registry
from nbship.versions.registry import Version


@dataclass(frozen=True)
class PublishedModel:
    """A published model.

    Attributes:
        name: Its name.
        versions: The registered ones, newest first.
        champion: The version whose model is in `models/NAME/`; empty if that one is not registered.
    """

    name: str
    versions: tuple[Version, ...]
    champion: str


def list_models(root: Path, name: str = "") -> list[PublishedModel]:
    """Returns the models that were published here.

    Args:
        root: The project's folder, in a Git repository.
        name: One of them; all if empty.

    Raises:
        UsageError: There is no such model.
        NbshipError: There is no Git repository.
    """
    git.require_repository(root)
    names = sorted(tracking.parent.name for tracking in registry.model_folder(root, "").glob("*/*.dvc"))
    if name and name not in names:
        hint = suggestion(name, names) if names else f"publish it: nbship publish {name}"
        raise UsageError(f"there is no published model '{name}'", hint)
    return [_model(root, each) for each in names if name in ("", each)]


def _model(root: Path, name: str) -> PublishedModel:
    versions = registry.versions(root, name)
    tracking = dvc.tracking_file(registry.model_folder(root, name) / MODEL)
    current = tracking.read_text(encoding="utf-8")
    champions = (v.version for v in versions if v.active and git.read_at(root, v.commit, tracking) == current)
    return PublishedModel(name=name, versions=tuple(versions), champion=next(champions, ""))
