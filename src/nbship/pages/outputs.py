"""Reads what an executed notebook shows: its pictures, the cell it failed in, and the defaults it declares.

Reads the notebook's JSON alone, without Jupyter's libraries. Everything in it is somebody's text: nothing
of it may be put on a page unescaped. A notebook that cannot be read shows nothing; it is no error of the run.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbship.errors import UsageError
from nbship.notebook import (
    ADDED_TAGS,
    ANSI,
    PARAMETERS_TAG,
    Variable,
    read_content,
    read_signature,
    whole_text,
)

_IMAGES = ("image/svg+xml", "image/png", "image/jpeg")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True)
class Picture:
    """An image that a cell showed.

    Attributes:
        source: A data URI.
        caption: The heading that it stands under.
        cell: The number of its cell.
        width: In pixels; 0 if not known.
        height: In pixels; 0 if not known.
    """

    source: str
    caption: str
    cell: int
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Failure:
    """The cell that ended a notebook, and how."""

    cell: int
    source: str
    error: str
    traceback: str


@dataclass(frozen=True)
class Shown:
    """What an executed notebook shows; cells are counted as in its source, from 1."""

    pictures: tuple[Picture, ...] = ()
    failure: Failure | None = None
    parameters: Mapping[str, Variable] = field(default_factory=dict)


def read_shown(path: Path) -> Shown:
    """Reads an executed notebook; one that is missing or damaged shows nothing."""
    pictures: list[Picture] = []
    failure: Failure | None = None
    parameters: Mapping[str, Variable] = {}
    caption = ""
    try:
        for number, cell in _cells(path):
            source = whole_text(cell["source"])
            if cell["cell_type"] == "markdown":
                headings = _HEADING.findall(source)
                caption = _plain(headings[-1]) if headings else caption
                continue
            if PARAMETERS_TAG in cell.get("metadata", {}).get("tags", ()):
                parameters = read_signature(source).parameters
            for output in cell.get("outputs", ()):
                if output["output_type"] == "error":
                    failure = _failure(number, source, output)
                picture = _picture(number, caption, output)
                pictures += [picture] if picture else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError):
        pass
    return Shown(tuple(pictures), failure, parameters)


def _cells(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The notebook's cells with the numbers that they have in its source."""
    number = 0
    for cell in read_content(path, path.name)["cells"]:
        added = ADDED_TAGS.intersection(cell.get("metadata", {}).get("tags", ()))
        number += not added
        yield number, cell


def _plain(heading: str) -> str:
    return re.sub(r"[*`]", "", _LINK.sub(r"\1", heading)).strip()


def _failure(number: int, source: str, output: Mapping[str, Any]) -> Failure:
    name, value = output.get("ename", "Error"), ANSI.sub("", output.get("evalue", ""))
    return Failure(
        cell=number,
        source=source,
        error=f"{name}: {value}" if value else name,
        traceback=ANSI.sub("", "\n".join(output.get("traceback", ()))),
    )


def _picture(number: int, caption: str, output: Mapping[str, Any]) -> Picture | None:
    data = output.get("data", {})
    kind = next((kind for kind in _IMAGES if kind in data), None)
    if kind is None:
        return None
    content = whole_text(data[kind])
    if kind == "image/svg+xml":
        encoded = base64.b64encode(content.encode()).decode()
    else:
        encoded = "".join(content.split())
        if not _BASE64.fullmatch(encoded):
            return None
    size = output.get("metadata", {}).get(kind, {})
    width, height = size.get("width"), size.get("height")
    if not (isinstance(width, int) and isinstance(height, int)):
        width, height = _png_size(encoded) if kind == "image/png" else (0, 0)
    return Picture(f"data:{kind};base64,{encoded}", caption, number, width, height)


def _png_size(encoded: str) -> tuple[int, int]:
    """Width and height from the first chunk of a PNG, so that a page keeps its room before it is drawn."""
    if len(encoded) < 32:
        return 0, 0
    head = base64.b64decode(encoded[:32])
    return struct.unpack(">II", head[16:24]) if head[12:16] == b"IHDR" else (0, 0)
