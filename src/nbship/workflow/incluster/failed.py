"""The executed notebook of a step that failed on Kubeflow, which reaches people by the step's log.

After a failure, Kubeflow keeps nothing of a step but its log. So the step writes the notebook into it, packed
into lines with a mark. Who looks at the run reads it there.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbship.errors import NbshipError, UsageError, suggestion
from nbship.notebook import read_content

if TYPE_CHECKING:
    from nbship.kubeflow.api import Connection
    from nbship.kubeflow.records import RemoteRun

_MARK = "nbship-notebook "
# Characters in a line: a container's runtime cuts lines of 16 KiB.
_LINE = 8000
# Characters in all: beside other lines, a log must still be short enough to be read.
_MOST = 2**20
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# Where Kubeflow keeps an output: below the pipeline, the run and the task.
_PLACE = re.compile(rf"/(?P<pipeline>[^/]+)/(?P<run>{_UUID})/(?P<task>[^/]+)/")


def command(uri: str) -> str:
    """Returns the command that brings the notebook back; empty where Kubeflow's place tells no run.

    Args:
        uri: Where Kubeflow would keep an output of the step.
    """
    found = _PLACE.search(uri)
    if not found:
        return ""
    return f"nbship runs notebook {found['run']} {found['task']} --pipeline {found['pipeline']}"


def tell(executed: Path) -> None:
    """Writes an executed notebook into the log of this step; without what it shows, if that is too much."""
    packed = _packed(read_content(executed, executed.name))
    lines = textwrap.wrap(packed, _LINE)
    for number, line in enumerate(lines, start=1):
        sys.stdout.write(f"{_MARK}{number}/{len(lines)} {line}\n")
    sys.stdout.flush()


def read(connection: Connection, run: RemoteRun, step: str) -> str:
    """Reads the notebook of a step that failed, up to the cell where it stopped.

    Returns:
        The notebook's JSON.

    Raises:
        UsageError: The run has no such step, or it did not fail.
        NbshipError: Its log cannot be read, or has no notebook.
    """
    from nbship.kubeflow.logs import marked_lines

    failed = [task for task in run.tasks if task.state == "FAILED"]
    tasks = [task for task in failed if task.name == step]
    if not tasks:
        raise UsageError(
            f"run {run.id}: no step '{step}' has failed", suggestion(step, {t.name for t in failed})
        )
    for task in reversed(tasks):
        text = _unpacked(marked_lines(connection, run.id, task.pods, _MARK))
        if text:
            return text
    raise NbshipError(
        f"run {run.id}: the log of '{step}' has no notebook, or cannot be read",
        "look at the log on the run's page: the failing cell and its error are at its end",
    )


def _packed(notebook: dict[str, Any]) -> str:
    packed = ""
    for kept in (lambda _: True, _is_text, _is_error):
        text = json.dumps(_showing(notebook, kept), ensure_ascii=False)
        packed = base64.b64encode(bz2.compress(text.encode("utf-8"))).decode("ascii")
        if len(packed) <= _MOST:
            break
    return packed


def _showing(notebook: dict[str, Any], kept: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    cells = [
        {**cell, "outputs": [output for output in cell["outputs"] if kept(output)]}
        if "outputs" in cell
        else cell
        for cell in notebook["cells"]
    ]
    return {**notebook, "cells": cells}


def _is_text(output: dict[str, Any]) -> bool:
    return set(output.get("data", {})) <= {"text/plain"}


def _is_error(output: dict[str, Any]) -> bool:
    return bool(output["output_type"] == "error")


def _unpacked(lines: list[str]) -> str:
    """The notebook of a log; empty if not all of its lines are there."""
    pieces = dict(_numbered(lines))
    try:
        return bz2.decompress(base64.b64decode("".join(pieces[n] for n in sorted(pieces)))).decode("utf-8")
    except (ValueError, OSError, binascii.Error, EOFError):
        return ""


def _numbered(lines: list[str]) -> Iterator[tuple[int, str]]:
    for line in lines:
        number, _, piece = line.partition(" ")
        yield int(number.partition("/")[0]), piece
