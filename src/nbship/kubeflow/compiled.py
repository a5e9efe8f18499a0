"""Reads a compiled pipeline: its documents, and the tasks in it that have a container.

What compiles it is `compile`; how two differ is the business of `compare`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

# The pure loader takes ten times as long.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_documents(path: Path) -> list[dict[str, Any]]:
    """Returns the documents of a compiled file: the pipeline, and what is for Kubernetes alone, if any is."""
    return parse(path.read_text(encoding="utf-8"))


def parse(text: str) -> list[dict[str, Any]]:
    """Returns the documents of a compiled text; see `read_documents`."""
    return list(yaml.load_all(text, _LOADER))


def task_names(specification: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the tasks that run a container, in any part of a pipeline; groups and drivers are none."""
    components = specification["components"]
    parts = [specification["root"], *components.values()]
    tasks = [task for part in parts for task in part.get("dag", {}).get("tasks", {}).items()]
    return tuple(name for name, task in tasks if "executorLabel" in components[task["componentRef"]["name"]])
