"""Names the container image that steps and model servers run in: its tag is the hash of what it is made of.

The same files give the same tag on every machine, so CI builds an image only when there is none of that tag.
Compiled pipelines are committed without it, so that they change when the pipeline does and not with every
line of code; it is put in when they are submitted. Builds nothing itself.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from nbship import __version__
from nbship.errors import UsageError

DOCKERFILE = "Dockerfile"
# Lists what the image is made of: everything is ignored but its `!` lines.
INGREDIENTS = ".dockerignore"
_LENGTH = 16


def image_reference(root: Path, image: str) -> str:
    """Returns an image with its tag; one that has a tag or a digest already stays as it is.

    Raises:
        UsageError: The project has a Dockerfile, but what it is made of cannot be told.
    """
    return image if is_exact(image) else f"{image}:{image_tag(root)}"


def is_exact(image: str) -> bool:
    """Returns whether an image has a tag or a digest, so that it gets none."""
    last = image.rpartition("/")[2]
    return ":" in last or "@" in last


def with_image(compiled: str, image: str, exact: str) -> tuple[str, int]:
    """Puts an exact image in the place of the project's.

    Args:
        compiled: A compiled pipeline; one of earlier days may name the image with a tag.
        image: The image as the pipeline file has it.
        exact: What takes its place: with a tag or a digest.

    Returns:
        The compiled pipeline, and how many steps that concerned.
    """
    tag = "" if is_exact(image) else "(:[0-9A-Za-z_.-]+)?"
    pattern = rf"(?m)^( *image: ){re.escape(image)}{tag}$"
    return re.subn(pattern, lambda line: line[1] + exact, compiled)


def image_tag(root: Path) -> str:
    """Returns the tag of the project's image; without a Dockerfile, it is the version of nbship.

    Raises:
        UsageError: What the image is made of is not listed, or not there.
    """
    if not (root / DOCKERFILE).is_file():
        return __version__
    whole = hashlib.sha256()
    for path in ingredients(root):
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        name = path.relative_to(root).as_posix()
        whole.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return whole.hexdigest()[:_LENGTH]


def ingredients(root: Path) -> list[Path]:
    """Returns the files that an image is made of, in an order that no machine decides.

    Reads `.dockerignore` as far as this project writes it: `*` first, then `!path` for what goes in, then
    patterns of names, with or without `**/`, for what stays out of it.

    Raises:
        UsageError: It is not written so, or a path is not there.
    """
    try:
        text = (root / INGREDIENTS).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{INGREDIENTS} is missing", "it lists what the image is made of") from None
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    taken = [line[1:] for line in lines if line.startswith("!")]
    left_out = [line.removeprefix("**/") for line in lines[1:] if not line.startswith("!")]
    if lines[:1] != ["*"] or not taken:
        raise UsageError(f"{INGREDIENTS}: not a list of what goes in", "ignore everything first: *")
    missing = [path for path in taken if not (root / path).exists()]
    if missing:
        raise UsageError(f"{INGREDIENTS}: there is no {missing[0]}", "correct the list")
    found = {file for path in (DOCKERFILE, *taken) for file in _files(root, root / path, left_out)}
    return sorted(found, key=lambda file: file.relative_to(root).as_posix())


def _files(root: Path, path: Path, left_out: list[str]) -> Iterator[Path]:
    """The files at and below a path; links are not followed, as Docker does not."""
    name = path.relative_to(root).as_posix()
    if any(fnmatch.fnmatchcase(path.name, p) or fnmatch.fnmatchcase(name, p) for p in left_out):
        return
    if path.is_dir() and not path.is_symlink():
        for entry in path.iterdir():
            yield from _files(root, entry, left_out)
    else:
        yield path
