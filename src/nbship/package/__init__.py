"""The model package, `model.joblib`, `model.onnx` and `model.json`: what it takes to serve and judge a model.

Built from a run's model and the rows it learnt from; read by the model server, the registry and the page. Not
for answering requests, nor for where packages are kept.
"""

from nbship.package.build import build
from nbship.package.description import (
    COMPILED,
    DESCRIPTION,
    MODEL,
    Golden,
    Origin,
    Package,
    reworded,
    words,
    write_description,
)
from nbship.package.load import (
    Pipeline,
    find_package,
    load_compiled,
    load_model,
    open_package,
    parse_package,
    read_package,
)

__all__ = [
    "COMPILED",
    "DESCRIPTION",
    "MODEL",
    "Golden",
    "Origin",
    "Package",
    "Pipeline",
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
