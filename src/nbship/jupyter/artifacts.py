"""Loads what a run made, by what it is: a table, a model, arrays, plain data; any other file is a path.

Only a file that is what the record of the run says is loaded, for to load a model is to run what is in it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nbship.errors import NbshipError
from nbship.files import content_hash
from nbship.record import Artifact


def load(artifact: Artifact, path: Path) -> Any:
    """Loads an artifact.

    Args:
        artifact: What the record says of it.
        path: Where it is.

    Returns:
        A pandas DataFrame for CSV and Parquet, NumPy's arrays for `.npy` and `.npz`, the object for `.joblib`
        and pickles, plain data for JSON, something that a cell displays for HTML, Markdown and pictures; the
        path for anything else, and for folders.

    Raises:
        NbshipError: It is gone, is not what the run made, or cannot be read here.
    """
    read = _READERS.get(path.suffix.lower())
    try:
        if path.is_dir() or read is None:
            _check(artifact, path, content_hash(path))
            return path
        # What is hashed is what is loaded, even if the file is replaced in between.
        content = path.read_bytes()
    except OSError as error:
        raise NbshipError(f"{path}: {error.strerror}", "run again: it comes from the cache") from None
    _check(artifact, path, hashlib.sha256(content).hexdigest())
    try:
        return read(content)
    except Exception as error:  # unpickling runs code, which may raise anything
        raise NbshipError(
            f"{path}: cannot be loaded here: {type(error).__name__}: {error}",
            "load it in the environment, and with the modules, that it was made with",
        ) from error


def _check(artifact: Artifact, path: Path, digest: str) -> None:
    if digest != artifact.hash:
        raise NbshipError(f"{path}: is not what the run made", "run again: nbship run NAME --force")


def _csv(content: bytes) -> Any:
    import pandas as pd

    return pd.read_csv(io.BytesIO(content))


def _parquet(content: bytes) -> Any:
    import pandas as pd

    return pd.read_parquet(io.BytesIO(content))


def _arrays(content: bytes) -> Any:
    import numpy as np

    return np.load(io.BytesIO(content), allow_pickle=False)


def _object(content: bytes) -> Any:
    import joblib

    return joblib.load(io.BytesIO(content))


def _displayed(kind: str) -> Callable[[bytes], Any]:
    def read(content: bytes) -> Any:
        from IPython import display

        picture = kind == "Image"
        return getattr(display, kind)(data=content if picture else content.decode())

    return read


_READERS: Mapping[str, Callable[[bytes], Any]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".pq": _parquet,
    ".npy": _arrays,
    ".npz": _arrays,
    ".json": json.loads,
    ".joblib": _object,
    ".pkl": _object,
    ".pickle": _object,
    ".html": _displayed("HTML"),
    ".md": _displayed("Markdown"),
    ".svg": _displayed("SVG"),
    ".png": _displayed("Image"),
}
