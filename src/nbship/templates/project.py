"""What `nbship init` writes into a project: settings, lists of what Git leaves alone, CI, image, Kubernetes.

Renders texts by their path; knows nothing of the disk beyond its own templates.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nbship import __version__
from nbship.errors import UsageError
from nbship.project import SETTINGS
from nbship.rendering import template_environment

if TYPE_CHECKING:
    from jinja2 import Environment


REQUIREMENTS = "requirements.in"
LOCK = "requirements.lock"
GITLAB = ".gitlab-ci.yml"
# What runs in jobs and in containers needs, beside the tool: each forge's client, stores, servers.
EXTRAS = "gitlab,monitor,s3,serve,sql"
_TEMPLATES = Path(__file__).parent / "project"
# The page is here once; servers show it too.
_PAGE = Path(__file__).parent.parent / "serving" / "page"
_PYTHON = "python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b"
# What `nbship.chatops.events` reads of a comment, after NBSHIP_COMMENT_.
_COMMENT = ("FORGE", "PROJECT", "NUMBER", "ID", "AUTHOR", "TEXT", "WRITTEN", "PART")
_KUBERNETES = ("pipelines", "serving", "client", "chatops", "monitoring")
# Folders that YAML, GitHub's expressions and both forges' patterns take as they are.
_NAMEABLE = re.compile(r"\w[\w .@+&=/-]*")
# The namespace of runs and models, wherever the manifests name it.
_NAMESPACE = re.compile(r"(?<=namespace: )nbship$|(?<=--namespace )nbship\b", re.MULTILINE)


@dataclass(frozen=True)
class Wish:
    """What a project asks for, besides its pipelines.

    Attributes:
        name: Of the project, as Kubernetes takes it; that of its folder if empty.
        ci: The forge that trains and deploys; empty for none.
        image: Whether an image of its own is built.
        kubernetes: Whether it has manifests for a cluster.
        branch: That production is trained from.
        setup: The command by which a CI job makes `.venv`; from the lock if empty.
        check: The command of CI's first job; nbship's checks if empty.
        chatops: Whether comments on merge requests may hold commands.
    """

    name: str = ""
    ci: Literal["", "gitlab", "github"] = ""
    image: bool = False
    kubernetes: bool = False
    branch: str = ""
    setup: str = ""
    check: str = ""
    chatops: bool = False


def project_name(folder: str) -> str:
    """Returns the name of a folder as Kubernetes takes names; letters lose their accents."""
    plain = unicodedata.normalize("NFKD", folder.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:50].strip("-") or "models"


def project_texts(wish: Wish, below: str, schemas: Mapping[str, Any]) -> dict[str, str]:
    """Returns the files of a project by their path from its folder.

    Args:
        wish: What it asks for.
        below: Its folder, from the repository's; empty if it is the same.
        schemas: JSON schemas by their path.

    Raises:
        UsageError: The files of CI cannot name that folder.
    """
    if wish.ci and below and not _NAMEABLE.fullmatch(below):
        raise UsageError(
            f"{below}: a name that CI's files cannot hold",
            "rename the folder: letters, digits, spaces and .-_+&=@ do; it begins with one of the first two",
        )
    values = {"name": wish.name, "image": wish.name, "python_image": _PYTHON} | {
        "at": f"{below}/" if below else "",
        "at_in_shell": shlex.quote(f"{below}/"),
        "suffix": f"-{wish.name}" if below else "",
        "branch": wish.branch,
        "image_job": wish.image,
        "setup": wish.setup,
        "check": wish.check,
        "chatops": wish.chatops,
        "keys": _COMMENT,
    }
    texts = {SETTINGS: _rendered("nbship.yaml.j2", values)}
    texts |= {path: json.dumps(s, indent=2, ensure_ascii=False) + "\n" for path, s in schemas.items()}
    if wish.image or wish.ci:
        texts[REQUIREMENTS] = requirements()
    if wish.image:
        texts["Dockerfile"] = _rendered("Dockerfile.txt", values)
        texts[".dockerignore"] = _rendered("dockerignore.txt", values)
    if wish.ci == "gitlab":
        texts |= {
            f".gitlab/nbship/{name}.yml": _rendered(f"gitlab/{name}.yml", values)
            for name in ("default", "deploy", "jobs", *(["chatops"] if wish.chatops else []))
        }
        texts["../" * len(Path(below).parts) + GITLAB] = _rendered("gitlab/gitlab-ci.yml", values)
    if wish.ci == "github":
        top = "../" * len(Path(below).parts) + ".github"
        own = f"nbship{values['suffix']}"
        texts[f"{top}/workflows/{own}.yml"] = _rendered("github/nbship.yml", values)
        if wish.chatops:
            own_comments = f"nbship-chatops{values['suffix']}"
            texts[f"{top}/workflows/{own_comments}.yml"] = _rendered("github/chatops.yml", values)
        texts[f"{top}/actions/{own}/action.yml"] = _rendered("github/action.yml", values)
    if wish.kubernetes:
        texts |= dict(_manifests(wish.name))
    return texts


def requirements() -> str:
    """Returns what a project needs before it has any library of its own."""
    return _rendered("requirements.txt", {"nbship": nbship_requirement()})


def nbship_requirement() -> str:
    """Returns nbship itself as jobs and containers need it, in the version that is installed."""
    return f"nbship[{EXTRAS}]=={__version__}"


def ignored_by_git() -> str:
    """Returns the entries of `.gitignore`."""
    return _rendered("gitignore.txt", {})


def ignored_by_dvc() -> str:
    """Returns the entries of `.dvcignore`."""
    return _rendered("dvcignore.txt", {})


def _manifests(name: str) -> Iterator[tuple[str, str]]:
    """The kustomize folders, in the project's own namespace, with no model on the page yet."""
    folder = _TEMPLATES.parent / "kubernetes"
    for part in _KUBERNETES:
        for path in sorted((folder / part).rglob("*")):
            if path.is_file():
                yield (
                    f"kubernetes/{path.relative_to(folder).as_posix()}",
                    _named(path.read_text("utf-8"), name),
                )
    yield "kubernetes/client/models.json", '{\n  "models": []\n}\n'
    for path in sorted(_PAGE.iterdir()):
        yield f"kubernetes/client/page/{path.name}", path.read_text("utf-8")


def _named(text: str, name: str) -> str:
    kind = re.search(r"^kind: Namespace$", text, re.M)
    return _NAMESPACE.sub(name, re.sub(r"(?<=name: )nbship$", name, text, flags=re.M) if kind else text)


def _rendered(template: str, values: Mapping[str, Any]) -> str:
    return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> Environment:
    # What CI systems write with braces is theirs.
    return template_environment(
        _TEMPLATES,
        False,  # settings for programs, no pages
        variable_start_string="((",
        variable_end_string="))",
        comment_start_string="(#",
        comment_end_string="#)",
    )
