"""Brings a champion to everybody: its model to DVC's remote and the model store, its commit and tag to Git's.

In this order, so that what Git names is always there. Git's remote decides which version is whose: no branch
and no tag here moves before it has taken the commit, and a repeat goes on from what it holds.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nbship import files, package
from nbship.ci import SKIP_CI, current_job
from nbship.config import Publish
from nbship.errors import NbshipError, Report
from nbship.package import Package
from nbship.versions import dvc, git, hooks, registry, store, upstream
from nbship.versions.store import Store
from nbship.versions.upstream import Remote, Tag, Upstream

# Seconds to wait before each attempt to push, give or take a half.
_PAUSES = (0.0, 0.3, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Destination:
    """Where a model is pushed to.

    Attributes:
        upstream: The branch of Git's remote.
        store: The model store; None if there is none.
    """

    upstream: Upstream
    store: Store | None


@dataclass(frozen=True)
class Registration:
    """The version that a model has.

    Attributes:
        version: Such as `v1.2.0`.
        new: Whether this call registered it.
        followed: Whether the branch here has the commit that was pushed.
        stored: The address of the copy in the model store; empty if there is none.
    """

    version: str
    new: bool
    followed: bool = True
    stored: str = ""


@dataclass(frozen=True)
class _Release:
    """A champion on its way to everybody, with its description as it is in place, and what is said of it."""

    root: Path
    destination: Destination
    package: Package
    message: str

    @property
    def name(self) -> str:
        return self.package.name

    @property
    def folder(self) -> Path:
        return registry.model_folder(self.root, self.name)

    @property
    def files(self) -> list[Path]:
        """What Git keeps of it."""
        return registry.versioned_files(self.root, self.name)

    def texts_at(self, commit: str) -> list[str | None]:
        """What was in them in a commit."""
        return _texts(self.root, self.name, commit)


@dataclass(frozen=True)
class _Change:
    """What Git's remote is to get: a commit and its tag; or, if it has both already, what they are there."""

    commit: str
    tag: Tag
    version: str
    new: bool


def find_destination(root: Path, settings: Publish, branch: str = "") -> Destination:
    """Finds where to push, before anything is begun.

    Raises:
        NbshipError: Git or DVC has no remote, or the model store cannot be opened.
    """
    there = upstream.find(root, branch, current_job(os.environ).branch)
    if not dvc.default_remote(root):
        raise NbshipError(
            "no DVC remote is set to push to", "set one and commit it: dvc remote add --default NAME URL"
        )
    address = os.environ.get(store.ADDRESS) or settings.store
    return Destination(there, store.open_store(root, address) if address else None)


def check(root: Path, destination: Destination, name: str, sha256: str) -> None:
    """Checks that a model may take its place on Git's remote.

    Raises:
        NbshipError: The champion there is neither this one nor one that this one follows.
    """
    _check(root, destination.upstream, upstream.fetch_state(root, destination.upstream, name), name, sha256)


def push(
    root: Path, destination: Destination, description: Package, message: str, report: Report
) -> Registration:
    """Pushes the champion that is in place; again and again if others push to the branch meanwhile.

    Args:
        root: The project's folder.
        destination: Where to.
        description: The model's, as it is in place.
        message: What is said of it.
        report: Told in a line what is being waited for.

    Raises:
        NbshipError: DVC, the store or Git failed, or the champion on Git's remote has changed. Nothing is
            lost: what is in place stays there.
    """
    name, release = description.name, _Release(root, destination, description, message)
    there, previous, refused = destination.upstream, None, ""
    if not git.committed(root, release.files):
        hooks.check_files(root, release.files)
    for pause in _PAUSES:
        time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - two that collided must not do so again
        remote = upstream.fetch_state(root, there, name)
        if remote == previous and not upstream.is_race(refused):
            raise NbshipError(f"{there} rejected the push", "see what Git says above", refused)
        _check(root, there, remote, name, release.package.sha256)
        release = _adopt(release, remote)
        kept = (registry.trained_rows, registry.compiled, registry.reference_sample)
        beside = [each(root, name, report) for each in kept]
        dvc.push(root, release.folder / package.MODEL, *filter(None, beside))
        change = _change(release, remote)
        try:
            stored = _store(release, change.version)
        except store.TakenError as error:  # another publishing took the version; what it did will show
            if not change.new:
                raise
            refused, previous = error.message, None
            report(f"{name} {change.version} was taken by another publishing; checking again")
            continue
        tag = f"{name}@{change.version}"
        refused = upstream.push(root, there, change.commit, tag, change.tag) if change.new else ""
        if not refused:
            upstream.keep_tag(root, tag, change.tag)
            followed = _follow(release, change, report)
            return Registration(change.version, change.new, followed, stored)
        report(f"{there} rejected the push; checking whether others pushed first")
        previous = remote
    raise NbshipError(
        f"others pushed to {there} each of the {len(_PAUSES)} times that {name} was pushed",
        "nothing is lost; push it again",
        refused,
    )


def _store(release: _Release, version: str) -> str:
    """Copies the package to the model store, if there is one; returns its address there."""
    there = release.destination.store
    return store.put(there, release.name, version, release.folder, release.package.files) if there else ""


def next_version(description: Package, latest: str, before: str | None) -> str:
    """Finds the version of a model by what is new about it.

    A client must change, and so the major version, when it takes or gives something else. The patch version
    tells that only words about the same model have changed.

    Args:
        description: Of the model that needs a version.
        latest: The version before; empty if there is none.
        before: The `model.json` of that version; None if it had none.
    """
    there = package.parse_package(before, f"{description.name}@{latest}") if before else None
    if there is None or _interface(there) != _interface(description):
        return registry.next_version(latest, "major")
    return registry.next_version(latest, "patch" if there.sha256 == description.sha256 else "minor")


def _texts(root: Path, name: str, commit: str) -> list[str | None]:
    """The model's files as they were in a commit."""
    return [
        git.read_at(root, commit, path) if commit else None for path in registry.versioned_files(root, name)
    ]


def _sha256(texts: list[str | None]) -> str:
    description = texts[1]
    return package.parse_package(description, package.DESCRIPTION).sha256 if description else ""


def _check(root: Path, there: Upstream, remote: Remote, name: str, sha256: str) -> None:
    theirs = _texts(root, name, remote.head)
    # A model follows the champion that is checked out, or was before commits that are only here.
    known = [_texts(root, name, commit) for commit in ("HEAD", upstream.base(root, remote.head))]
    if theirs in known or _sha256(theirs) == sha256:
        return
    aside = f"git stash push --include-untracked -- models/{name}; "
    in_place = git.committed(root, registry.versioned_files(root, name))
    raise NbshipError(
        f"models/{name} has changed on {there} since this model was judged",
        f"judge it against the one there: {'' if in_place else aside}git pull --rebase; nbship run {name}",
    )


def _adopt(release: _Release, remote: Remote) -> _Release:
    """Takes over where this very model comes from, where another run brought it to the remote first."""
    theirs, ours = release.texts_at(remote.head), release.package
    if _sha256(theirs) != ours.sha256:
        return release
    for path, text in zip(release.files, theirs, strict=True):
        if text is not None and text != path.read_text(encoding="utf-8"):
            files.write_text(path, text)
    adopted = package.read_package(release.folder)
    reworded = package.reworded(adopted, package.words(ours), ours.description)
    if reworded != adopted:
        package.write_description(release.folder, reworded)
    return replace(release, package=reworded)


def _change(release: _Release, remote: Remote) -> _Change:
    root, name, message = release.root, release.name, release.message
    here = [path.read_text(encoding="utf-8") for path in release.files]
    latest = next(iter(upstream.newest_first(name, remote.tags)), "")
    if latest and f"{latest}!" not in remote.tags:
        known = remote.tags[latest]
        if release.texts_at(known.commit) == here == release.texts_at(remote.head):
            return _Change(known.commit, known, latest.removeprefix(f"{name}@"), new=False)
    version = _version(release, remote, here)
    if release.texts_at(remote.head) == here:
        commit = remote.head
    else:
        text = hooks.check_message(root, commit_message(name, version, message))
        commit = upstream.commit_onto(root, remote.head, release.files, text)
    return _Change(commit, upstream.make_tag(root, f"{name}@{version}", commit, message), version, new=True)


def commit_message(name: str, version: str, message: str) -> str:
    """Returns what the pushed commit says; CI systems read that they need not run."""
    return f"Publish {name} {version} {SKIP_CI}\n\n{message}"


def _version(release: _Release, remote: Remote, here: list[str]) -> str:
    """The version that this model has here, if the remote has none of that name; else the next one."""
    root, name, of_package = release.root, release.name, release.package.files
    known = registry.versions(root, name)
    if (
        known
        and known[0].active
        and f"{name}@{known[0].version}" not in remote.tags
        and release.texts_at(known[0].commit) == here
    ):
        version = known[0].version
    else:
        tags = upstream.newest_first(name, [*remote.tags, *(f"{name}@{each.version}" for each in known)])
        latest = tags[0].removeprefix(f"{name}@") if tags else ""
        commit = remote.tags[tags[0]].commit if tags and tags[0] in remote.tags else remote.head
        version = next_version(release.package, latest, release.texts_at(commit)[1])
    there = release.destination.store
    # A publishing that lost against another one may have left its model in the store.
    while there and not store.is_free(there, name, version, release.folder, of_package):
        version = registry.next_version(version, "minor")
    return version


def _follow(release: _Release, change: _Change, report: Report) -> bool:
    name, there = release.name, release.destination.upstream
    message = commit_message(name, change.version, release.message)
    try:
        return upstream.follow(release.root, there, change.commit, release.files, message)
    except NbshipError as error:  # what was to be done is done; a hook or a merge of the user's is in the way
        report(f"{name} {change.version} is on {there}, but not in the branch here: {error.message}")
        return False


def _interface(description: Package) -> Mapping[str, object]:
    output = description.output
    types = {column.name: column.type for column in description.inputs}
    return {"inputs": types, "kind": output.kind, "target": output.target, "classes": output.classes}
