"""Git's remote: what it holds of a model, and putting a commit with its version tag on top of it.

The commit is made beside the user's branch, on the remote's head, so that nothing of the user's own goes with
it and nothing here moves before the remote has it. Credentials come from Git's own helpers or from the
environment.
"""

from __future__ import annotations

import base64
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from nbship.errors import NbshipError, suggestion
from nbship.versions import git

TOKEN = "NBSHIP_GIT_TOKEN"  # noqa: S105 - the name of a variable
USER = "NBSHIP_GIT_USER"
# In the words of Git's servers (refs.c, builtin/receive-pack.c) and of its client.
_RACES = (
    "cannot lock ref",
    "failed to update ref",
    "failed to lock",
    "reference already exists",
    "(fetch first)",
    "(non-fast-forward)",
    "atomic transaction failed",
)


@dataclass(frozen=True)
class Upstream:
    """A branch of a remote repository."""

    remote: str
    branch: str

    def __str__(self) -> str:
        return f"{self.remote}/{self.branch}"


@dataclass(frozen=True)
class Tag:
    """An annotated tag: its object, and the commit that it names."""

    object: str
    commit: str


@dataclass(frozen=True)
class Remote:
    """What a remote holds of a model.

    Attributes:
        head: The commit at the head of the branch.
        tags: The model's tags by name.
    """

    head: str
    tags: dict[str, Tag]


def find(root: Path, branch: str = "", built: str = "") -> Upstream:
    """Finds where to push: the branch given, else the one checked out, the one CI builds, or the default one.

    Args:
        root: The project's folder.
        branch: The branch that a person names.
        built: The branch that a CI job builds, which has checked out a commit.

    Raises:
        NbshipError: There is no remote, or it cannot be asked.
    """
    current = git.branch(root)
    remote = _setting(root, f"branch.{current}.remote")
    if remote not in git.output(root, "remote").split():
        remote = default_remote(root)
    if not remote:
        raise NbshipError(
            "Git has no remote to push to", "add one: git remote add origin URL; or publish without --push"
        )
    tracked = _setting(root, f"branch.{current}.merge").removeprefix("refs/heads/") if current else ""
    chosen = branch or tracked or current or built
    return Upstream(remote, chosen or _default_branch(root, remote))


def fetch_state(root: Path, upstream: Upstream, model: str) -> Remote:
    """Fetches the head of the branch and the newest version of a model, and lists the model's tags.

    Raises:
        NbshipError: The remote cannot be reached, or does not have the branch.
    """
    head = f"refs/heads/{upstream.branch}"
    listed = ask(root, upstream.remote, "ls-remote", upstream.remote, head, f"refs/tags/{model}@*")
    rows = (line.split("\t") for line in listed.splitlines())
    objects = {name: made for made, name in rows}
    if head not in objects:
        heads = ask(root, upstream.remote, "ls-remote", "--heads", upstream.remote).split()[1::2]
        known = [name.removeprefix("refs/heads/") for name in heads]
        raise NbshipError(
            f"{upstream.remote} has no branch '{upstream.branch}'",
            suggestion(upstream.branch, known) if known else "push the first commit: git push",
        )
    prefix = "refs/tags/"
    tags = {
        name.removeprefix(prefix): Tag(made, objects.get(f"{name}^{{}}", made))
        for name, made in objects.items()
        if name.startswith(f"{prefix}{model}@") and not name.endswith("^{}")
    }
    wanted = [head, *(f"{prefix}{tag}" for tag in newest_first(model, tags)[:1])]
    ask(root, upstream.remote, "fetch", "--quiet", "--no-tags", upstream.remote, *wanted)
    return Remote(objects[head], tags)


def newest_first(model: str, tags: Sequence[str] | dict[str, Tag]) -> list[str]:
    """Returns those of a model's tags that are versions, in GTO's form, the newest first."""
    found = {tag: re.fullmatch(re.escape(model) + r"@v(\d+)\.(\d+)\.(\d+)", tag) for tag in tags}
    numbers = {tag: tuple(map(int, match.groups())) for tag, match in found.items() if match}
    return sorted(numbers, key=lambda tag: numbers[tag], reverse=True)


def base(root: Path, head: str) -> str:
    """Returns the last commit that the remote's head and the checkout have in common; empty if none."""
    result = git.call(root, "merge-base", "HEAD", head)
    return result.stdout.strip() if result.returncode == 0 else ""


def commit_onto(root: Path, head: str, paths: Sequence[Path], message: str) -> str:
    """Makes a commit of these files, as they are on disk, on top of another commit; no branch moves.

    Where the commit that is checked out adds the very same, and nothing else, it is that commit.
    """
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git.output(root, "read-tree", head, environment=index)
        git.output(root, "add", "--", *(str(path.absolute()) for path in paths), environment=index)
        tree = git.output(root, "write-tree", environment=index).strip()
    if tree == git.output(root, "rev-parse", "HEAD^{tree}").strip() and _is_ancestor(root, head, "HEAD"):
        return git.output(root, "rev-parse", "HEAD").strip()
    signed = ["-S"] if _setting(root, "commit.gpgSign", "--type=bool") == "true" else []
    return git.output(root, "commit-tree", *signed, "-p", head, tree, text=message + "\n").strip()


def make_tag(root: Path, name: str, commit: str, message: str) -> Tag:
    """Makes the object of an annotated tag, unless it is here; it has no name here until `keep_tag`."""
    if git.succeeds(root, "cat-file", "-e", f"refs/tags/{name}^{{tag}}"):
        known = git.output(root, "rev-parse", f"refs/tags/{name}", f"refs/tags/{name}^{{}}").split()
        if known[1] == commit:
            return Tag(*known)
    who = git.output(root, "var", "GIT_COMMITTER_IDENT").strip()
    text = f"object {commit}\ntype commit\ntag {name}\ntagger {who}\n\n{message}\n"
    return Tag(git.output(root, "mktag", text=text).strip(), commit)


def is_race(refused: str) -> bool:
    """Returns whether what Git says of a push is that somebody else was writing at the same moment."""
    return any(words in refused for words in _RACES)


def keep_tag(root: Path, name: str, tag: Tag) -> None:
    """Gives a tag that the remote has its name here as well."""
    git.output(root, "update-ref", f"refs/tags/{name}", tag.object)


def push(root: Path, upstream: Upstream, commit: str, name: str, tag: Tag) -> str:
    """Pushes a commit and its tag, both or neither, never by force; asks the server not to start its CI.

    Returns:
        What Git says if they were not taken; empty if they were.
    """
    refs = [f"{commit}:refs/heads/{upstream.branch}", f"{tag.object}:refs/tags/{name}"]
    # What it says is looked into, so it must say it in English.
    environment = {**credentials(root, upstream.remote), "LC_ALL": "C"}
    for options in (["--push-option=ci.skip"], []):
        command = ["push", "--porcelain", "--atomic", *options, upstream.remote, *refs]
        result = git.call(root, *command, environment=environment)
        if result.returncode == 0 or "does not support push options" not in result.stderr:
            break
    if result.returncode == 0:
        return ""
    return "\n".join(line for line in (result.stdout.strip(), git.said(result)) if line)


def commit_texts(root: Path, head: str, texts: Mapping[Path, str], message: str) -> str:
    """Makes a commit of these texts, by their files' paths, on top of another; nothing on disk is read."""
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git.output(root, "read-tree", head, environment=index)
        top = Path(git.output(root, "rev-parse", "--show-toplevel").strip())
        for path, text in texts.items():
            blob = git.output(root, "hash-object", "-w", "--stdin", text=text).strip()
            name = path.resolve().relative_to(top.resolve()).as_posix()
            entry = f"100644,{blob},{name}"
            git.output(root, "update-index", "--add", "--cacheinfo", entry, environment=index)
        tree = git.output(root, "write-tree", environment=index).strip()
    signed = ["-S"] if _setting(root, "commit.gpgSign", "--type=bool") == "true" else []
    return git.output(root, "commit-tree", *signed, "-p", head, tree, text=message + "\n").strip()


def branch_head(root: Path, remote: str, branch: str) -> str:
    """Returns the commit that a branch of a remote is at, which is then here too; empty if there is none.

    Raises:
        NbshipError: The remote cannot be reached.
    """
    reference = f"refs/heads/{branch}"
    listed = ask(root, remote, "ls-remote", remote, reference).split()
    if listed:
        ask(root, remote, "fetch", "--quiet", "--no-tags", remote, reference)
    return listed[0] if listed else ""


def push_branch(root: Path, remote: str, branch: str, commit: str) -> None:
    """Pushes a commit as a new branch, never by force.

    Raises:
        NbshipError: The remote did not take it.
    """
    reference = f"{commit}:refs/heads/{branch}"
    result = git.call(root, "push", "--porcelain", remote, reference, environment=credentials(root, remote))
    if result.returncode != 0:
        raise NbshipError(
            f"{remote} rejected the branch {branch}",
            f"give this job a token that may push: {TOKEN}",
            git.said(result),
        )


def follow(root: Path, upstream: Upstream, commit: str, paths: Sequence[Path], message: str) -> bool:
    """Brings the commit that is checked out forward to a pushed one, if no work of the user's is in the way.

    If there is, the files are committed here too: a rebase onto the remote's branch drops that second commit.

    Returns:
        Whether the pushed commit is part of what is checked out now.
    """
    if _is_ancestor(root, commit, "HEAD"):
        return True
    current = git.branch(root)
    tracked = _setting(root, f"branch.{current}.merge").removeprefix("refs/heads/") or current
    git.output(root, "add", "--", *(str(path.absolute()) for path in paths))
    if (not current or tracked == upstream.branch) and git.succeeds(
        root, "merge", "--quiet", "--ff-only", commit
    ):
        return True
    if not git.committed(root, paths):
        git.commit(root, paths, message)
    return False


def default_remote(root: Path) -> str:
    """Returns the remote that records go to: `origin`, or the first one; empty if there is none."""
    remotes = git.output(root, "remote").split()
    return "origin" if "origin" in remotes else "".join(remotes[:1])


def ask(root: Path, remote: str, *arguments: str) -> str:
    """Runs a Git command that talks to the remote, and returns what it prints.

    Raises:
        NbshipError: The remote cannot be reached, or refuses.
    """
    try:
        return git.output(root, *arguments, environment=credentials(root, remote))
    except NbshipError as error:
        raise NbshipError(
            f"Git cannot read from the remote '{remote}'",
            f"see that its address and your credentials are right: git remote -v; a token goes into {TOKEN}",
            error.details,
        ) from None


def credentials(root: Path, remote: str) -> dict[str, str]:
    """Returns Git settings, as variables, that show the environment's token to the remote's server alone.

    The token takes the place of credentials in the remote's address, such as those of a CI job.
    """
    token = os.environ.get(TOKEN, "")
    address = git.output(root, "remote", "get-url", "--push", remote).strip()
    parts = urlsplit(address)
    if not token or parts.scheme not in ("http", "https"):
        return {}
    login = f"{os.environ.get(USER) or 'oauth2'}:{token}"
    encoded = base64.b64encode(login.encode()).decode()
    user, at, host = parts.netloc.rpartition("@")
    server = f"{parts.scheme}://{host}/"
    settings = {f"http.{server}.extraHeader": f"Authorization: Basic {encoded}"}
    if at:
        settings[f"url.{server}.insteadOf"] = f"{parts.scheme}://{user}@{host}/"
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    variables = {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (key, value) in enumerate(settings.items(), first):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def _default_branch(root: Path, remote: str) -> str:
    listed = ask(root, remote, "ls-remote", "--symref", remote, "HEAD")
    match = re.match(r"ref: refs/heads/(\S+)\tHEAD", listed)
    if not match:
        raise NbshipError(f"the remote '{remote}' names no default branch", "name the branch: --branch NAME")
    return match[1]


def _setting(root: Path, key: str, *options: str) -> str:
    return git.call(root, "config", *options, "--get", key).stdout.strip()


def _is_ancestor(root: Path, ancestor: str, commit: str) -> bool:
    return git.succeeds(root, "merge-base", "--is-ancestor", ancestor, commit)
