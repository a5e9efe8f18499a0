"""Hands a published model over to what others serve with: a folder in the form of their tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nbship import files
from nbship.config import Pipeline
from nbship.errors import NbshipError, Report, UsageError, suggestion
from nbship.export import bento, oci
from nbship.package import Package
from nbship.workflow.models import list_models
from nbship.workflow.packages import find_package


@dataclass(frozen=True)
class Form:
    """A form of a model for another tool.

    Attributes:
        model_folder: Where it has the package.
        write: Writes what is around that, given the folder, the model's description and its version.
        next_command: What to type in the folder.
    """

    model_folder: str
    write: Callable[[Path, Package, str], None]
    next_command: str


# By the option of `nbship package`.
FORMS: Mapping[str, Form] = {
    "bento": Form(bento.MODEL_FOLDER, bento.write, "bentoml serve"),
    "oci": Form(oci.MODEL_FOLDER, oci.write, "docker build --tag REGISTRY/{name}:{version} ."),
}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        name: The model.
        version: Its version.
        form: One of `FORMS`.
        folder: Where it is.
        next_command: What to type there.
    """

    name: str
    version: str
    form: str
    folder: Path
    next_command: str


def export(
    root: Path,
    pipeline: Pipeline,
    form: str,
    folder: Path,
    version: str = "",
    report: Report = lambda _: None,
) -> Exported:
    """Writes a version of a model in the form of another tool.

    Args:
        root: The project's folder, in a Git repository.
        pipeline: The model's.
        form: One of `FORMS`.
        folder: Where to; it is made, and must be empty.
        version: A registered version; the champion if empty.
        report: Told in a line what is being waited for.

    Raises:
        UsageError: There is no such version, or something is in the folder.
        NbshipError: The package of the version cannot be had, or the disk is full.
    """
    (model,) = list_models(root, pipeline.name)
    wanted = version or model.champion
    found = {each.version: each for each in model.versions}
    if wanted not in found:
        hint = (
            suggestion(version, found) if version else f"register it: nbship publish {pipeline.name} --commit"
        )
        raise UsageError(
            f"{pipeline.name} has no version '{version}'"
            if version
            else f"{pipeline.name} has no registered champion",
            hint,
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty", "name another folder: --to FOLDER")
    with find_package(root, pipeline, found[wanted], report) as package:
        if package is None:
            raise NbshipError(
                f"neither DVC nor a model store has {pipeline.name} {wanted}",
                "see where it was published: dvc remote list; name the store that has it: publish.store",
            )
        for file in package.description.files:
            files.copy(package.folder / file, folder / FORMS[form].model_folder / file)
        FORMS[form].write(folder, package.description, wanted)
    command = FORMS[form].next_command.format(name=pipeline.name, version=wanted)
    return Exported(pipeline.name, wanted, form, folder, command)
