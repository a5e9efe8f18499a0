"""The model package, `model.joblib` and `model.json`: all that one must know to serve and judge a model.

Built from a run's model and the rows it learnt from; read by the model server, the registry and the page. Not
for answering requests, nor for where packages are kept.
"""

from nbship.package.build import build
from nbship.package.description import (
    DESCRIPTION,
    MODEL,
    Golden,
    Origin,
    Package,
    reworded,
    words,
    write_description,
)
from nbship.package.load import find_package, load_model, parse_package, read_package

__all__ = [
    "DESCRIPTION",
    "MODEL",
    "Golden",
    "Origin",
    "Package",
    "build",
    "find_package",
    "load_model",
    "parse_package",
    "read_package",
    "reworded",
    "words",
    "write_description",
]
