"""This repository is what `nbship init` makes of one, with the tool's own job beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nbship.config import json_schemas
from nbship.templates.project import Wish, ignored_by_git, project_texts
from nbship.workflow.init import RECORD, plan_update

ROOT = Path(__file__).parent.parent
# Its own Dockerfile takes nbship from this tree; its lock comes from pyproject.toml; its page has models.
OWN = {".gitlab-ci.yml", "Dockerfile", ".dockerignore", "requirements.in", "kubernetes/client/models.json"}


def texts_for(ci: str) -> dict[str, str]:
    """What `init` writes with every wish."""
    options = yaml.safe_load((ROOT / RECORD).read_text())["options"]
    schemas = {f"pipelines/{name}": schema for name, schema in json_schemas().items()}
    return project_texts(Wish(**{**options, "ci": ci, "kubernetes": True, "image": False}), "", schemas)


@pytest.mark.parametrize("ci", ["gitlab", "github"])
def test_its_files_are_what_init_writes(ci):
    texts = texts_for(ci)
    jobs = {"gitlab": ".gitlab/nbship/jobs.yml", "github": ".github/workflows/nbship.yml"}[ci]
    assert {jobs, "kubernetes/client/page/app.js", "nbship.yaml"} <= set(texts)
    differ = [name for name, text in texts.items() if name not in OWN and (ROOT / name).read_text() != text]
    assert not differ


def test_an_update_would_change_nothing():
    assert plan_update(ROOT).revised == ()


# Templates are links to these folders: what has no link would be missing from every project.
@pytest.mark.parametrize(
    "folder", [f"kubernetes/{it}" for it in ("pipelines", "serving", "client", "chatops")]
)
def test_init_writes_every_file_of_its_manifests(folder):
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
    assert here == {path for path in texts_for("gitlab") if path.startswith(f"{folder}/")}


def test_its_own_file_for_gitlab_adds_one_job_to_them():
    tree = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
    job = tree.pop("test")
    assert job["script"] == [".ci/run"]
    assert tree == yaml.safe_load(texts_for("gitlab")[".gitlab-ci.yml"])


def test_github_has_nothing_else_to_do():
    """The files of a second forge, which `.nbship-init.yaml` does not know."""
    of_init = {path for path in texts_for("github") if path.startswith(".github/")}
    assert of_init == {p.relative_to(ROOT).as_posix() for p in (ROOT / ".github").rglob("*") if p.is_file()}


def test_its_image_is_that_of_any_project_with_nbship_from_this_tree():
    ours = (ROOT / "Dockerfile").read_text()
    theirs = project_texts(Wish(image=True), "", {})["Dockerfile"]
    base, build, final = (part.splitlines() for part in ours.split("\nFROM "))
    their_base, their_build, their_final = (part.splitlines() for part in theirs.split("\nFROM "))
    assert final == their_final
    assert base[-1] == their_base[-1]  # Python's image
    common = [line for line in their_build if not line.startswith("#")][:4]
    assert build[:4] == common


def test_git_leaves_alone_what_init_says():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert set(ignored_by_git().splitlines()[1:]) <= set(ignored)
