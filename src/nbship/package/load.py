"""Reads a model package. A pickle is code: none is unpickled before its hash is the one that is described.

Nor before it is needed: a package with a compiled form can be served without the pipeline's libraries.
"""

from __future__ import annotations

import hashlib
import io
import threading
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nbship.errors import NbshipError
from nbship.files import content_hash
from nbship.package.compiled import Compiled, describe, open_compiled
from nbship.package.description import COMPILED, DESCRIPTION, MODEL, Package


class PackagedPipeline:
    """The pipeline of a package, unpickled when it is first asked for.

    Args:
        content: The pickle, whose hash is the one that is described.
        path: Where it was read.

    Attributes:
        size: Of the pickle, in bytes.
    """

    def __init__(self, content: bytes, path: Path) -> None:
        self.size = len(content)
        self._content, self._path = content, path
        self._estimator: Any = None
        self._lock = threading.Lock()

    @property
    def loaded(self) -> bool:
        """Whether it has been unpickled; importing what it is made of takes seconds."""
        return self._estimator is not None

    def estimator(self) -> Any:
        """Returns the fitted estimator.

        Raises:
            NbshipError: It cannot be loaded here.
        """
        with self._lock:
            if self._estimator is None:
                self._estimator = unpickle(self._content, self._path)
                self._content = b""
            return self._estimator


def parse_package(text: str, where: str) -> Package:
    """Reads the content of a `model.json`.

    Raises:
        NbshipError: It is not one, or one of another format.
    """
    try:
        return Package.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise NbshipError(
            f"{where}: not a model's description: {place}: {problem['msg']}", "publish the model again"
        ) from None


def read_package(folder: Path) -> Package:
    """Reads the description of a package and checks that the model beside it is the one described.

    Raises:
        NbshipError: A file is missing or damaged, or the two do not belong together.
    """
    package = _read_description(folder)
    try:
        digest = content_hash(folder / MODEL)
    except OSError as error:
        raise NbshipError(f"{folder / MODEL}: {error.strerror}", "fetch it: dvc pull") from None
    _check_hash(package, digest, folder)
    return package


def find_package(folder: Path) -> Package | None:
    """Returns the description of the model in a folder; None if there is none that fits it."""
    try:
        return read_package(folder)
    except NbshipError:
        return None


def load_model(folder: Path) -> Any:
    """Loads the model of a package; nothing is unpickled unless it is the one described.

    Raises:
        NbshipError: See `open_package`; or it cannot be loaded here.
    """
    return open_package(folder)[1].estimator()


def open_package(folder: Path) -> tuple[Package, PackagedPipeline]:
    """Reads a package and checks that its pipeline can be loaded here, without loading it.

    Raises:
        NbshipError: A file is missing or damaged; the model is not the one described, was fitted with another
            scikit-learn, or is made of modules that are not installed here.
    """
    package = _read_description(folder)
    path = folder / MODEL
    try:
        # What is hashed is what is unpickled, even if the file is replaced in between.
        content = path.read_bytes()
    except OSError as error:
        raise NbshipError(f"{path}: {error.strerror}", "fetch it: dvc pull") from None
    _check_hash(package, hashlib.sha256(content).hexdigest(), folder)
    fitted, here = package.libraries.get("scikit-learn", ""), version("scikit-learn")
    if fitted.split(".")[:2] != here.split(".")[:2]:
        raise NbshipError(
            f"{path}: fitted with scikit-learn {fitted}, and this is {here}",
            f"use the environment it was fitted in: pip install scikit-learn=={fitted}",
        )
    for module in package.compiled.modules if package.compiled else ():
        if find_spec(module) is None:
            raise NbshipError(
                f"{path}: the model is made of '{module}', which is not installed here",
                "serve it in the image that it was trained in, or install what is missing",
            )
    return package, PackagedPipeline(content, path)


def load_compiled(folder: Path, package: Package) -> Compiled:
    """Opens the compiled form of a package; where it cannot be used, says why, for the pipeline can."""
    if package.compiled is None:
        return Compiled()
    try:
        content = (folder / COMPILED).read_bytes()
        if hashlib.sha256(content).hexdigest() != package.compiled.sha256:
            return Compiled(why_not=f"{COMPILED} is not the one that {DESCRIPTION} describes")
        return replace(open_compiled(content), content=b"")
    except Exception as error:  # ONNX Runtime may raise anything
        return Compiled(why_not=describe(error))


def _read_description(folder: Path) -> Package:
    path = folder / DESCRIPTION
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NbshipError(f"{path}: cannot be read: {error}", "publish a model: nbship publish") from None
    return parse_package(text, str(path))


def _check_hash(package: Package, digest: str, folder: Path) -> None:
    if digest != package.sha256:
        raise NbshipError(
            f"{folder / MODEL}: is not the model that {DESCRIPTION} describes",
            f"restore the one that belongs there: dvc checkout --force {folder.name}/{MODEL}.dvc, "
            "or let a publishing that was cut off finish: nbship publish",
        )


def unpickle(content: bytes, path: Path) -> Any:
    """Returns the estimator that a file holds, whose origin the caller has checked.

    Raises:
        NbshipError: It cannot be loaded here, or cannot predict.
    """
    import joblib

    try:
        model = joblib.load(io.BytesIO(content))
    except Exception as error:  # unpickling runs the model's own code, which may raise anything
        raise NbshipError(
            f"{path}: the model cannot be loaded outside its notebook: {error}",
            "define what it is made of in an importable module, not in the notebook",
        ) from None
    if not hasattr(model, "predict"):
        raise NbshipError(f"{path}: a {type(model).__name__} cannot predict", "publish a fitted estimator")
    return model
