"""Publishing to remotes, for tests: a colleague who pushes too, and what must be true of all remotes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nbship import package
from nbship.config import Pipeline, Publish
from nbship.workflow.publish import Published, publish
from tests.repositories import git, set_remote
from tests.runs import make_pipeline

FILES = ["models/line/model.joblib.dvc", "models/line/model.json"]
RECEIVE = "POST /origin.git/git-receive-pack"
ALL_WRITES = [
    "PUT /models/{0}/dvc/files/md5/…",  # the model
    "PUT /models/{0}/dvc/files/md5/…",  # the rows that it was trained on
    "PUT /models/{0}/dvc/files/md5/…",  # its compiled form
    "PUT /models/{0}/dvc/files/md5/…",  # the sample to compare with
    "PUT /models/{0}/store/line/v1.1.0/model.joblib",
    "PUT /models/{0}/store/line/v1.1.0/model.onnx",
    "PUT /models/{0}/store/line/v1.1.0/model.json",
    RECEIVE,
]


def pipeline(**publishing: str) -> Pipeline:
    return make_pipeline(publish=Publish(target="y", store=publishing.get("store", "../store")))


def push(root: Path, **arguments: Any) -> Published:
    return publish(root, pipeline(), push=True, **arguments)


def origin_of(root: Path) -> Path:
    return root.parent / "origin.git"


def slope(folder: Path) -> float:
    return round(float(package.load_model(folder).coef_[0]), 6)


def assert_whole(root: Path) -> None:
    """What the remotes hold is whole: what Git names, the DVC remote and the model store have."""
    origin = origin_of(root)
    for tag in git(origin, "tag").split():
        git(origin, "merge-base", "--is-ancestor", tag, "main")
        stored = root.parent / "store/line" / tag.removeprefix("line@")
        described = package.read_package(stored)
        assert package.load_compiled(stored, described).session or not described.compiled
        assert (stored / "model.json").read_text() == git(origin, "show", f"{tag}:models/line/model.json")
        hashes = re.findall("md5: (.*)", git(origin, "show", f"{tag}:models/line/model.joblib.dvc"))
        assert hashes
        for md5 in hashes:
            assert (root.parent / "dvc/files/md5" / md5[:2] / md5[2:]).is_file()


def assert_published(root: Path, version: str = "v1.1.0", expected: float = 3.0) -> None:
    origin = origin_of(root)
    assert_whole(root)
    assert slope(root.parent / "store/line" / version) == expected
    assert slope(root / "models/line") == expected
    tagged = git(origin, "rev-parse", f"line@{version}^{{}}")
    assert git(root, "rev-parse", f"line@{version}^{{}}") == tagged
    assert git(origin, "show", "--format=", "--name-only", tagged.strip()).split() == FILES
    assert git(root, "merge-base", "HEAD", tagged.strip()) == tagged
    assert git(root, "status", "--porcelain", "--untracked-files=no") == ""


def set_s3_remote(root: Path, server: str, prefix: str) -> None:
    # One file after the other, so that tests know what was written when the process was killed.
    set_remote(root, f"s3://models/{prefix}/dvc\n    endpointurl = {server}\n    jobs = 1")


def writes(requests: list[str]) -> list[str]:
    """The requests that change something, without hashes."""
    found = [r for r in requests if r.startswith("PUT /models/") or r == RECEIVE]
    return [re.sub(r"md5/.*", "md5/…", request) for request in found]


def colleague(root: Path, name: str = "colleague") -> Path:
    """Another clone of the remote, with the same settings."""
    clone = root.parent / name
    git(root.parent, "clone", "--quiet", "origin.git", str(clone))
    set_remote(clone, "../../dvc")
    return clone


def push_something(clone: Path, name: str, text: str = "") -> None:
    git(clone, "pull", "--quiet", "--rebase")
    (clone / name).write_text(text)
    git(clone, "add", name)
    git(clone, "commit", "--quiet", "--message", f"Change {name}")
    git(clone, "push", "--quiet")
