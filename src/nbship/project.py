"""Where the project is and which pipelines it has; nothing of what is in them."""

from __future__ import annotations

import re
from pathlib import Path

from nbship.errors import UsageError

PIPELINES = "pipelines"
NOTEBOOKS = "notebooks"
SETTINGS = "nbship.yaml"
NAME_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
LONGEST_NAME = 50


def project_root(start: Path | None = None) -> Path:
    """Returns the folder of the project: the nearest one upwards with `nbship.yaml` or `pipelines`.

    Args:
        start: Where to look first; the working directory if not given.

    Raises:
        UsageError: There is none.
    """
    found = find_project(start)
    if found is None:
        here = (start or Path.cwd()).absolute()
        raise UsageError(f"{here}: no project here or in a parent folder", "create one here: nbship init")
    return found


def find_project(start: Path | None = None) -> Path | None:
    """Returns what `project_root` does, or None if there is no project."""
    here = (start or Path.cwd()).absolute()
    folders = (here, *here.parents)
    return next((f for f in folders if (f / SETTINGS).is_file() or (f / PIPELINES).is_dir()), None)


def pipeline_names(root: Path) -> list[str]:
    """Returns the names of the project's pipelines.

    Raises:
        UsageError: A file there has a name that no pipeline can have, such as `--help.yaml`.
    """
    names = sorted(path.stem for path in (root / PIPELINES).glob("*.yaml"))
    for name in names:
        if len(name) > LONGEST_NAME or not re.fullmatch(NAME_PATTERN, name):
            raise UsageError(
                f"{PIPELINES}/{name}.yaml: no pipeline can be called '{name}'",
                f"rename it: at most {LONGEST_NAME} lower-case letters and digits, with - between",
            )
    return names
