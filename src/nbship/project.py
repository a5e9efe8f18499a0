"""Where the project is and which pipelines it has; nothing of what is in them."""

from __future__ import annotations

import re
from pathlib import Path

from nbship.errors import UsageError

PIPELINES = "pipelines"
NAME_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
LONGEST_NAME = 50


def project_root(start: Path | None = None) -> Path:
    """Returns the folder of the project: the nearest one upwards that has a `pipelines` folder.

    Args:
        start: Where to look first; the working directory if not given.

    Raises:
        UsageError: There is none.
    """
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / PIPELINES).is_dir():
            return folder
    raise UsageError(f"{here}: no project here or above", f"change to a folder that has {PIPELINES}/")


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
