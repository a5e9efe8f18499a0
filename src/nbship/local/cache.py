"""Remembers what a step made, by the content of everything it depends on.

The one invariant: an entry is written after all it refers to, and both are checked by hash before they are
used; so a half-written, missing or altered one is a miss, never a wrong answer.

Keys hold no folder, time, run or machine. Not for deciding which steps may be skipped.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nbship.files import content_hash, copy, link, remove, write_text
from nbship.graph import Step
from nbship.record import StepFiles

CACHE = ".nbship/cache"
LOCK = "requirements.lock"
_FORMAT = 2


class Stored(BaseModel):
    """A file or folder in the cache."""

    hash: str
    path: str


class Entry(BaseModel):
    """What a step made.

    Attributes:
        outputs: Artifacts by name, with the path they have in a run's folder.
        notebook: The executed notebook.
        html: The same for a browser.
        metrics: Content of the metrics files.
        results: Scalar results.
        cells: How many code cells ran.
        seconds: How long it took.
    """

    outputs: dict[str, Stored]
    notebook: Stored
    html: Stored
    metrics: dict[str, Any]
    results: dict[str, Any]
    cells: int
    seconds: float


def code_hash(root: Path, step: Step, files: Iterable[Path]) -> str:
    """Returns the hash of a step's code: its cells, and the project's modules and files that they use."""
    own = [[path.relative_to(root.absolute()).as_posix(), content_hash(path)] for path in files]
    return _digest([step.notebook.code, own])


def step_key(
    step: Step,
    code: str,
    inputs: Mapping[str, str],
    values: Mapping[str, Any],
    names: Mapping[str, str],
    lock: str,
) -> str:
    """Returns the key of a step.

    Args:
        step: The step.
        code: Its `code_hash`.
        inputs: Content hash by input artifact.
        values: Value by parameter, wired ones included.
        names: File name by input and output artifact, since libraries go by it: `.csv`, `.csv.gz`.
        lock: Content hash of the lock file, or what stands for the environment.
    """
    return _digest(
        {
            "format": _FORMAT,
            "python": sys.version_info[:2],
            "lock": lock,
            "code": code,
            "signature": [(v.name, v.declaration) for v in step.notebook.signature.variables],
            "inputs": dict(inputs),
            "names": dict(names),
            "parameters": dict(values),
            "settings": step.settings.model_dump(exclude={"inputs", "parameters", "cache"}),
        }
    )


def environment_hash(root: Path) -> str:
    """Returns the hash of the project's lock file, or of the installed packages where there is none."""
    lock = root / LOCK
    if lock.is_file():
        return content_hash(lock)
    from importlib.metadata import distributions

    return _digest(sorted(f"{d.metadata['Name']}=={d.version}" for d in distributions()))


def look_up(root: Path, key: str) -> Entry | None:
    """Returns the entry of a key if it and all that it refers to are unaltered; removes what is not."""
    path = _entry_path(root, key)
    try:
        digest, _, text = path.read_text(encoding="utf-8").partition("\n")
        entry = Entry.model_validate_json(text) if digest == _digest([key, text]) else None
    except (OSError, ValueError):
        entry = None
    if entry is None:
        return None
    stored = (entry.notebook, entry.html, *entry.outputs.values())
    # All are looked at, for whatever is stored next does not replace what it finds there.
    intact = [_is_intact(root, each.hash) for each in stored]
    if not all(intact):
        remove(path)
        return None
    return entry


def for_step(entry: Entry, name: str) -> Entry:
    """Returns an entry with the paths of a step; it was found by content, whichever step made it."""
    files = StepFiles(name)
    outputs = {
        key: Stored(hash=stored.hash, path=files.artifact(Path(stored.path).name))
        for key, stored in entry.outputs.items()
    }
    notebook = Stored(hash=entry.notebook.hash, path=files.notebook)
    html = Stored(hash=entry.html.hash, path=files.html)
    return entry.model_copy(update={"outputs": outputs, "notebook": notebook, "html": html})


def restore(root: Path, entry: Entry, folder: Path) -> None:
    """Puts what an entry refers to into a run's folder.

    Artifacts share their bytes with the cache; notebooks are copied, since people open and save them.
    """
    for stored in entry.outputs.values():
        link(_object_path(root, stored.hash), folder / stored.path)
    for stored in (entry.notebook, entry.html):
        copy(_object_path(root, stored.hash), folder / stored.path)


def store(root: Path, key: str, entry: Entry, folder: Path) -> None:
    """Keeps what a step made, and then the entry.

    Args:
        root: The project's folder.
        key: The step's key.
        entry: What to keep; its paths are relative to `folder`.
        folder: The run's folder.
    """
    for stored in entry.outputs.values():
        link(folder / stored.path, _object_path(root, stored.hash))
    for stored in (entry.notebook, entry.html):
        copy(folder / stored.path, _object_path(root, stored.hash))
    text = entry.model_dump_json()
    write_text(_entry_path(root, key), f"{_digest([key, text])}\n{text}")


def _is_intact(root: Path, digest: str) -> bool:
    kept = _object_path(root, digest)
    try:
        if content_hash(kept) == digest:
            return True
    except OSError:
        pass
    remove(kept)
    return False


def _entry_path(root: Path, key: str) -> Path:
    return root / CACHE / "steps" / f"{key}.json"


def _object_path(root: Path, digest: str) -> Path:
    return root / CACHE / "objects" / digest[:2] / digest[2:]


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
