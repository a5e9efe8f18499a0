"""This repository is what `nbship init` makes of one, with the tool's own job beside it."""

from __future__ import annotations

from pathlib import Path

import yaml

from nbship.config import json_schemas
from nbship.templates.project import Wish, ignored_by_git, project_texts
from nbship.workflow.init import RECORD, plan_update

ROOT = Path(__file__).parent.parent
# Its own Dockerfile takes nbship from this tree; its lock comes from pyproject.toml; its page has models.
OWN = {".gitlab-ci.yml", "requirements.in", "kubernetes/client/models.json"}


def test_its_files_are_what_init_writes():
    options = yaml.safe_load((ROOT / RECORD).read_text())["options"]
    schemas = {f"pipelines/{name}": schema for name, schema in json_schemas().items()}
    texts = project_texts(Wish(**options, kubernetes=True), "", schemas)
    assert {".gitlab/nbship/jobs.yml", "kubernetes/client/page/app.js", "nbship.yaml"} <= set(texts)
    assert not [name for name, text in texts.items() if name not in OWN and (ROOT / name).read_text() != text]


def test_an_update_would_change_nothing():
    assert plan_update(ROOT).revised == ()


def test_its_own_file_for_gitlab_adds_one_job_to_them():
    tree = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
    assert tree["include"] == [{"local": ".gitlab/nbship/jobs.yml"}]
    assert set(tree) == {"include", "test"}


def test_git_leaves_alone_what_init_says():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert set(ignored_by_git().splitlines()[1:]) <= set(ignored)
