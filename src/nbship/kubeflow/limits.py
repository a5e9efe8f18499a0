"""How much Kubeflow can carry: what it hands to a driver as one argument must fit into one.

Linux allows 128 KiB for an argument. A container is one, and so are a part of the pipeline and the values of
all parameters: as JSON, to which KFP adds some lines of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nbship.errors import UsageError

_LONGEST_ARGUMENT = 127 * 1024
# Of a container, this is left for the source; the rest is KFP's command, and the step's settings.
LONGEST_SOURCE = 124 * 1024


def size_of(content: Any) -> int:
    """Returns the bytes of something as JSON, which Go writes with `<`, `>` and `&` as escapes of six."""
    text = json.dumps(content, ensure_ascii=False)
    return len(text.encode()) + 5 * sum(map(text.count, "<>&"))


def check_together(values: Mapping[str, Any]) -> None:
    """Checks that Kubeflow can take the values of all parameters of a run.

    Raises:
        UsageError: It cannot.
    """
    size = size_of(values)
    if size > _LONGEST_ARGUMENT:
        largest = max(values, key=lambda name: size_of(values[name]))
        raise UsageError(
            f"all parameters together have {size // 1024} KiB, most of it in {largest}; Kubeflow can carry "
            f"{_LONGEST_ARGUMENT // 1024} KiB",
            "declare what is large as an Input[…], and track it with DVC",
        )


def check_parts(specification: Mapping[str, Any]) -> None:
    """Checks that Kubeflow can take the containers and the wiring of a compiled pipeline.

    Raises:
        UsageError: It cannot.
    """
    executors = specification["deploymentSpec"]["executors"]
    parts = {name.removeprefix("exec-"): part["container"] for name, part in executors.items()}
    wiring = {**specification["components"], "the pipeline": specification["root"]}
    parts |= {f"the wiring of {name.removeprefix('comp-')}": part for name, part in wiring.items()}
    for name, part in parts.items():
        size = size_of(part)
        if size > _LONGEST_ARGUMENT:
            raise UsageError(
                f"{name}: {size // 1024} KiB; Kubeflow can carry {_LONGEST_ARGUMENT // 1024} KiB",
                "use fewer or shorter settings, or fewer combinations of a sweep at a time",
            )
