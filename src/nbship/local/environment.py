"""The environment variables of a step's kernel: the environment's own programs, the project's own modules.

Not for what the pipeline file sets on Kubeflow, which is the container's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nbship.own_code import python_path


def kernel_environment(project: Path | None, folder: Path) -> dict[str, str]:
    """Returns this process's variables, changed as activating its Python environment would change them.

    So `!pip` and `%%bash python` are those of the Python that runs the kernel, whether or not a person has
    activated it.

    Args:
        project: The project's folder, whose modules the kernel and what it starts can import, if any.
        folder: The notebook's.

    Raises:
        UsageError: A module of the project hides one of Python's own.
    """
    environment = dict(os.environ)
    _put_first(environment, "PATH", str(Path(sys.executable).parent))
    if sys.prefix != sys.base_prefix:
        environment["VIRTUAL_ENV"] = sys.prefix
    if project is not None:
        _put_first(environment, "PYTHONPATH", *map(str, python_path(project, folder)))
    return environment


def _put_first(environment: dict[str, str], variable: str, *folders: str) -> None:
    first, rest = os.pathsep.join(folders), environment.get(variable, "")
    if rest != first and not rest.startswith(first + os.pathsep):
        environment[variable] = os.pathsep.join(filter(None, [first, rest]))
