"""Which version went to which stage, when, by whom: GTO's tags `NAME#STAGE#N`, shared by Git's remote.

A record of what was done, not the doing: what serves is what the cluster says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nbship.errors import NbshipError
from nbship.versions import git, registry, upstream

_FIELDS = "%(refname:short)%00%(taggername)%00%(taggerdate:unix)%00%(*objectname)%00%(contents:subject)"
_ATTEMPTS = 4


@dataclass(frozen=True)
class Assignment:
    """A version that was given to a stage.

    Attributes:
        stage: Such as `production`.
        version: Such as `v1.2.0`; empty if the commit has no version any more.
        number: Of the assignments of this model and stage, from 1.
        created: When.
        author: Who did it.
        message: What was said of it.
        tag: The Git tag.
    """

    stage: str
    version: str
    number: int
    created: datetime
    author: str
    message: str
    tag: str


def history(root: Path, name: str, stage: str = "") -> list[Assignment]:
    """Returns a model's assignments, the newest first: to one stage, or to all.

    Raises:
        NbshipError: There is no Git repository.
    """
    git.require_repository(root)
    listed = git.output(root, "for-each-ref", f"--format={_FIELDS}", f"refs/tags/{name}#*")
    versions = {version.commit: version.version for version in reversed(registry.versions(root, name))}
    found = []
    for line in listed.splitlines():
        tag, author, seconds, commit, message = line.split("\0")
        match = re.fullmatch(re.escape(name) + r"#([^#!]+)#(\d+)", tag)
        if not match or stage not in ("", match[1]) or not seconds:
            continue
        said = re.fullmatch(r".*\((v\d+\.\d+\.\d+)\).*", message)
        version = said[1] if said else versions.get(commit, "")
        created = datetime.fromtimestamp(int(seconds), UTC)
        found.append(Assignment(match[1], version, int(match[2]), created, author, message, tag))
    return sorted(found, key=lambda each: (each.created, each.number), reverse=True)


def assign(root: Path, name: str, stage: str, version: registry.Version, message: str) -> str:
    """Records that a version went to a stage, and pushes the record if Git has a remote.

    Args:
        root: The project's folder.
        name: The model.
        stage: Where it went.
        version: What went there.
        message: What is said of it; the version is added.

    Returns:
        The tag.

    Raises:
        NbshipError: Git refuses, or the remote rejected the tag; then there is none here either.
    """
    remote = upstream.default_remote(root)
    for _ in range(_ATTEMPTS):
        fetch(root, name)
        number = max((each.number for each in history(root, name, stage)), default=0) + 1
        tag = f"{name}#{stage}#{number}"
        made = upstream.make_tag(root, tag, version.commit, f"{message} ({version.version})")
        if not remote:
            upstream.keep_tag(root, tag, made)
            return tag
        refused = _push(root, remote, made.object, tag)
        if not refused:
            upstream.keep_tag(root, tag, made)
            return tag
    raise NbshipError(f"{remote} rejected the tag {tag}", "see what Git says above", refused)


def fetch(root: Path, name: str) -> None:
    """Brings the remote's record of a model here, if Git has a remote.

    Raises:
        NbshipError: The remote cannot be reached.
    """
    remote = upstream.default_remote(root)
    if remote:
        refs = f"refs/tags/{name}#*:refs/tags/{name}#*"
        environment = upstream.credentials(root, remote)
        git.output(root, "fetch", "--quiet", "--no-tags", remote, refs, environment=environment)


def _push(root: Path, remote: str, tag_object: str, tag: str) -> str:
    """Pushes a tag, never by force; returns what Git says if the remote did not take it."""
    # What it says is looked into, so it must say it in English.
    environment = {**upstream.credentials(root, remote), "LC_ALL": "C"}
    for options in (["--push-option=ci.skip"], []):
        command = ["push", "--porcelain", *options, remote, f"{tag_object}:refs/tags/{tag}"]
        result = git.call(root, *command, environment=environment)
        if result.returncode == 0 or "does not support push options" not in result.stderr:
            break
    return "" if result.returncode == 0 else git.said(result)
