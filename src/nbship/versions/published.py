"""What Git's remote holds of a model's newest versions, read without a tag, a branch or a file changing here.

What stands in a description is the business of `package`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nbship.package import DESCRIPTION
from nbship.versions import git, registry, upstream

# Others may have published meanwhile; so many not.
_NEWEST = 3


def newest_descriptions(root: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yields version and description of a model, the newest first; nothing where Git has no remote.

    Args:
        root: The project's folder; it may be a part of the repository.
        name: The model.

    Raises:
        NbshipError: The remote cannot be reached.
    """
    remote = upstream.default_remote(root) if git.in_repository(root) else ""
    if not remote:
        return
    listed = upstream.ask(root, remote, "ls-remote", "--refs", remote, f"refs/tags/{name}@v*")
    rows = (line.split("\t") for line in listed.splitlines())
    tags = {reference.removeprefix("refs/tags/"): made for made, reference in rows}
    path = registry.model_folder(root, name) / DESCRIPTION
    for tag in upstream.newest_first(name, list(tags))[:_NEWEST]:
        upstream.ask(root, remote, "fetch", "--quiet", "--no-tags", remote, f"refs/tags/{tag}")
        text = git.read_at(root, tags[tag], path)
        if text is not None:
            yield tag.removeprefix(f"{name}@"), text
