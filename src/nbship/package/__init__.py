"""The model package, `model.joblib`, `model.onnx` and `model.json`: what it takes to serve and judge a model.

Built from a run's model and the rows it was trained on; read by the model server, the registry and the page.
Not for answering requests, nor for where packages are kept.
"""

from typing import TYPE_CHECKING, Any

from nbship.package.description import (
    COMPILED,
    DESCRIPTION,
    MODEL,
    Golden,
    Origin,
    Package,
    write_description,
)
from nbship.package.load import (
    PackagedPipeline,
    find_package,
    load_compiled,
    load_model,
    open_package,
    parse_package,
    read_package,
)

if TYPE_CHECKING:
    from nbship.package.builder import build
    from nbship.package.wording import reworded, words

__all__ = [
    "COMPILED",
    "DESCRIPTION",
    "MODEL",
    "Golden",
    "Origin",
    "Package",
    "PackagedPipeline",
    "build",
    "find_package",
    "load_compiled",
    "load_model",
    "open_package",
    "parse_package",
    "read_package",
    "reworded",
    "words",
    "write_description",
]


def __getattr__(name: str) -> Any:
    """Imports what a model server does not need, and what would take it a fifth of its start."""
    if name == "build":
        from nbship.package.builder import build

        return build
    if name in ("reworded", "words"):
        from nbship.package import wording

        return getattr(wording, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
