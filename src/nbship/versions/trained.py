"""Which commit of a pipeline was trained last: `refs/nbship/trained/NAME` at Git's remote.

Kept there, a job that fails, is cancelled or never starts loses nothing: the next one compares with what was
trained. It is neither a branch nor a tag, so it starts no CI and stands in no list.
"""

from __future__ import annotations

from pathlib import Path

from nbship.errors import NbshipError
from nbship.versions import git, upstream

_PREFIX = "refs/nbship/trained/"


def last_trained(root: Path) -> dict[str, str]:
    """Fetches the commits that were trained last, by pipeline; empty where Git has no remote.

    Raises:
        NbshipError: The remote cannot be reached.
    """
    remote = upstream.default_remote(root)
    if not remote:
        return {}
    # What Git kept here of an earlier look must not outlive what the remote says.
    upstream.ask(root, remote, "fetch", "--quiet", "--no-tags", "--prune", remote, f"+{_PREFIX}*:{_PREFIX}*")
    listed = git.output(root, "for-each-ref", "--format=%(refname) %(objectname)", _PREFIX)
    rows = (line.split() for line in listed.splitlines())
    return {name.removeprefix(_PREFIX): commit for name, commit in rows}


def record_trained(root: Path, name: str, commit: str) -> None:
    """Says at Git's remote that a pipeline was trained at a commit, unless a later one was trained meanwhile.

    Raises:
        NbshipError: The remote cannot be reached, or did not take it.
    """
    remote = upstream.default_remote(root)
    if not remote:
        raise NbshipError("Git has no remote to push to", "add one: git remote add origin URL")
    before = last_trained(root).get(name, "")
    if before and git.succeeds(root, "merge-base", "--is-ancestor", commit, before):
        return
    # After a rewritten history the commit before is no ancestor; the lease keeps what others wrote meanwhile.
    reference = f"{_PREFIX}{name}"
    command = ["push", "--porcelain", f"--force-with-lease={reference}:{before}", remote]
    result = git.call(root, *command, f"{commit}:{reference}", environment=upstream.credentials(root, remote))
    if result.returncode != 0 and last_trained(root).get(name) != commit:
        raise NbshipError(
            f"{remote} rejected the record that {name} was trained at {commit[:12]}",
            f"give this job a token that may push: {upstream.TOKEN}; until then {name} is trained again",
            git.said(result),
        )
