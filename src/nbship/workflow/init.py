"""Makes a folder a project: Git, DVC, settings, and what CI, the image and the cluster need if asked for.

A file that is there is never overwritten. What was written is recorded by its Git blob, so that an update can
tell the user's changes from nbship's own: Git keeps what the file was, and merges the three.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nbship import __version__, config, files
from nbship.errors import NbshipError, UsageError
from nbship.project import NOTEBOOKS, PIPELINES, SETTINGS
from nbship.templates.project import (
    REQUIREMENTS,
    Wish,
    ignored_by_dvc,
    ignored_by_git,
    project_name,
    project_texts,
)
from nbship.versions import git, setup
from nbship.workflow.libraries import find_uv_lock

RECORD = ".nbship-init.yaml"
_ABOUT = "# By this `nbship init --update` tells your changes from what `nbship init` wrote. Commit it.\n"
_MOST_CONFLICTS = 127


@dataclass(frozen=True)
class Initialized:
    """What was done.

    Attributes:
        made: Repositories that were made.
        written: New files, from the project's folder.
        extended: Files that got lines.
        renewed: Files of nbship's own that changed with what is asked for, such as the job for an image.
        outdated: Those of them that the user changed, so that they were left as they are.
        kept: Files that nbship would have written, and that the user has in his own way.
        strange: Files that were among the pipelines before, and are no pipeline of nbship's.
        ci: The forge; empty if none.
        image: Whether there is an image to build.
        branch: That CI trains production from.
    """

    made: tuple[str, ...]
    written: tuple[str, ...]
    extended: tuple[str, ...]
    renewed: tuple[str, ...]
    outdated: tuple[str, ...]
    kept: tuple[str, ...]
    strange: tuple[str, ...]
    ci: str
    image: bool
    branch: str


@dataclass(frozen=True)
class Revised:
    """A file that an update writes.

    Attributes:
        path: From the project's folder.
        before: Its text; empty if it is new.
        after: What it will be.
        conflicts: Whether the user and nbship changed the same lines; they are marked.
    """

    path: str
    before: str
    after: str
    conflicts: bool = False


@dataclass(frozen=True)
class Update:
    """What an update would do.

    Attributes:
        revised: The files that it writes.
        left: Files that stay as they are although nbship's changed, with the reason.
        wish: What the project asks for.
        texts: All files as this version writes them.
    """

    revised: tuple[Revised, ...]
    left: Mapping[str, str]
    wish: Wish
    texts: Mapping[str, str]


@dataclass(frozen=True)
class _Record:
    """What was written when: the version of nbship, the wish, and the Git blob of each file."""

    version: str = ""
    wish: Wish = field(default_factory=Wish)
    files: Mapping[str, str] = field(default_factory=dict)


def missing(root: Path) -> list[str]:
    """Returns the repositories that a project in this folder would need made: of Git, of DVC.

    Raises:
        UsageError: The folder is inside of another project.
    """
    for folder in root.absolute().parents:
        if (folder / SETTINGS).is_file():
            raise UsageError(
                f"{root} is inside of the project {folder}",
                f"go there; or, for a second project, move {SETTINGS} away",
            )
    return setup.missing(root)


def initialize(root: Path, wish: Wish) -> Initialized:
    """Makes a folder a project; repeated, it changes nothing.

    Args:
        root: The folder.
        wish: What is asked for, besides what was asked for before.

    Raises:
        UsageError: The folder is inside of another project, or asks for another forge than before.
        NbshipError: Something cannot be written.
    """
    made = missing(root)
    record = _read_record(root)
    if setup.GIT in made:
        setup.make(root, setup.GIT)
    wish = _joined(record.wish, wish, root)
    texts = _texts(root, wish)
    if setup.DVC in made:
        setup.make(root, setup.DVC)
    new = {path: text for path, text in texts.items() if not _is_there(root / path)}
    # What the user deleted stays deleted.
    new = {path: text for path, text in new.items() if path not in record.files}
    renewed, outdated = _changed_by_wish(root, record, texts)
    others = {path: text for path, text in texts.items() if path not in {*new, *record.files}}
    kept = [path for path, text in others.items() if not _says(root / path, text)]
    for folder in (PIPELINES, NOTEBOOKS):
        _make_folder(root / folder)
    for path, text in (new | renewed).items():
        files.write_text(root / path, text)
    extended = _extend(root)
    ours = {path: _blob(text) for path, text in texts.items() if path not in (*record.files, *kept)}
    ours |= {path: _blob(text) for path, text in renewed.items()}
    if ours or wish != record.wish:
        _write_record(root, _Record(record.version or __version__, wish, {**record.files, **ours}))
        new |= {} if record.version else {RECORD: ""}
    return Initialized(
        made=tuple(made),
        written=tuple(new),
        extended=tuple(extended),
        renewed=tuple(renewed),
        outdated=tuple(outdated),
        kept=tuple(kept),
        strange=() if record.version else tuple(_strange(root)),
        ci=wish.ci,
        image=wish.image,
        branch=wish.branch,
    )


def plan_update(root: Path) -> Update:
    """Compares the files that were written with those that this version writes; changes nothing.

    Raises:
        UsageError: Nothing was written here.
        NbshipError: Git cannot merge.
    """
    record = _read_record(root)
    if not record.version:
        raise UsageError(f"{root}: there is no {RECORD}, so nothing to update", "begin with: nbship init")
    texts = _texts(root, record.wish)
    revised, left = [], {}
    for path, text in texts.items():
        known = record.files.get(path, "")
        if known == _blob(text):
            continue
        if not _is_there(root / path):
            if known:
                left[path] = "it was deleted here"
            else:
                revised.append(Revised(path, "", text))
            continue
        yours = _read(root / path)
        base = yours if _blob(yours) == known else _content(root, known)
        if yours == text:
            continue
        if base is None:
            left[path] = "it was changed before Git had it" if known else "it is not nbship's"
            continue
        after, conflicts = _merge(base, yours, text)
        if after != yours:
            revised.append(Revised(path, yours, after, conflicts))
    return Update(tuple(revised), left, record.wish, texts)


def apply_update(root: Path, update: Update) -> None:
    """Writes what was planned.

    Raises:
        NbshipError: Something cannot be written.
    """
    for each in update.revised:
        files.write_text(root / each.path, each.after)
    _extend(root)
    blobs = {path: _blob(text) for path, text in update.texts.items() if path not in update.left}
    _write_record(root, _Record(__version__, update.wish, {**_read_record(root).files, **blobs}))


def _texts(root: Path, wish: Wish) -> dict[str, str]:
    schemas = {f"{PIPELINES}/{name}": schema for name, schema in config.json_schemas().items()}
    texts = project_texts(wish, setup.below(root), schemas)
    if find_uv_lock(root):  # what is needed is declared and pinned there
        texts.pop(REQUIREMENTS, None)
    return texts


def _changed_by_wish(
    root: Path, record: _Record, texts: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """What a new wish changes: the texts of files that are as nbship wrote them, and the other files."""
    if not record.version:
        return {}, []
    before = _texts(root, record.wish)
    there = [p for p in texts if p in before and texts[p] != before[p] and p in record.files]
    there = [path for path in there if _is_there(root / path)]
    ours = [path for path in there if _blob(_read(root / path)) == record.files[path]]
    left = [path for path in there if path not in ours and not _says(root / path, texts[path])]
    return {path: texts[path] for path in ours}, left


def _strange(root: Path) -> list[str]:
    strange = []
    for path in sorted((root / PIPELINES).glob("*.yaml")):
        try:
            config.load_pipeline(root, path.stem)
        except NbshipError:
            strange.append(f"{PIPELINES}/{path.name}")
    return strange


def _joined(before: Wish, now: Wish, root: Path) -> Wish:
    """What was asked for at any time."""
    if before.ci and now.ci and before.ci != now.ci:
        raise UsageError(
            f"this project has CI for {before.ci}", f"to change it, delete its files, and `ci` in {RECORD}"
        )
    both = {key: value or getattr(before, key) for key, value in asdict(now).items()}
    if both["chatops"] and not both["ci"]:
        raise UsageError("comments hold commands for a forge's CI", "add --ci gitlab or --ci github")
    found = {"name": project_name(root.resolve().name), "branch": setup.default_branch(root)}
    return Wish(**both | {key: both[key] or value for key, value in found.items()})


def _extend(root: Path) -> list[str]:
    """Adds the entries that are not in `.gitignore` and `.dvcignore` yet; what is there stays to the byte."""
    extended = []
    for name, block in ((".gitignore", ignored_by_git()), (".dvcignore", ignored_by_dvc())):
        path = root / name
        before = _bytes(path) if path.exists() else b""
        there = {line.strip() for line in before.splitlines()}
        about, *entries = block.splitlines()
        lacking = [entry for entry in entries if entry.encode() not in there]
        if lacking:
            end = b"\r\n" if b"\r\n" in before else b"\n"
            gap = (b"" if before.endswith(b"\n") else end) + end if before.strip() else b""
            lines = [line.encode() + end for line in (about, *lacking)]
            files.write_bytes(path, before + gap + b"".join(lines))
            extended.append(name)
    return extended


def _merge(base: str, yours: str, new: str) -> tuple[str, bool]:
    """Three texts as Git merges them, and whether any lines are in conflict."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("yours", "base", "nbship")]
        for path, text in zip(paths, (yours, base, new), strict=True):
            path.write_text(text, encoding="utf-8", newline="")
        labels = [part for name in ("yours", "as written", f"nbship {__version__}") for part in ("-L", name)]
        merged = subprocess.run(
            ["git", "merge-file", "--stdout", *labels, *map(str, paths)], capture_output=True, check=False
        )
    if merged.returncode < 0 or merged.returncode > _MOST_CONFLICTS:
        said = merged.stderr.decode(errors="replace")
        raise NbshipError("git merge-file failed", "see what Git says above", said)
    return merged.stdout.decode("utf-8"), merged.returncode > 0


def _read_record(root: Path) -> _Record:
    path = root / RECORD
    if not path.exists():
        return _Record()
    try:
        tree: dict[str, Any] = yaml.safe_load(_read(path))
        return _Record(str(tree["version"]), Wish(**tree["options"]), dict(tree["files"]))
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise NbshipError(f"{path}: not what `nbship init` writes", "bring it back from Git") from None


def _write_record(root: Path, record: _Record) -> None:
    options = {key: value for key, value in asdict(record.wish).items() if value}
    tree = {"version": record.version, "options": options, "files": dict(sorted(record.files.items()))}
    files.write_text(root / RECORD, _ABOUT + yaml.safe_dump(tree, sort_keys=False))


def _blob(text: str) -> str:
    """The name by which Git knows a text."""
    content = text.encode()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _content(root: Path, blob: str) -> str | None:
    """The text of a blob; None if this repository does not have it."""
    found = git.call(root, "cat-file", "blob", blob) if blob else None
    return found.stdout if found and found.returncode == 0 else None


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise files.disk_error(error, path) from None


def _says(path: Path, text: str) -> bool:
    """Whether a file is what nbship writes; what is no text file is not."""
    try:
        return _read(path) == text
    except NbshipError:
        return False


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _read(path: Path) -> str:
    try:
        return _bytes(path).decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise NbshipError(f"{path}: cannot be read as text: {error}", "see what it is") from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NbshipError(f"{path}: cannot be read: {error.strerror}", "see what it is") from None
