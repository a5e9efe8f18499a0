"""The CI files that `nbship init --chatops` writes: forges accept them; a request's code meets no secret."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from nbship.chatops.events import Comment
from nbship.chatops.work import PART
from nbship.errors import UsageError
from nbship.templates.project import Wish, project_texts
from nbship.workflow.init import initialize

VARIABLES = {*Comment("github", "o/n", "1", "2", "ada", "/run", datetime.now(UTC)).variables, PART}
WORKFLOW = ".github/workflows/nbship-chatops.yml"


def written(ci: Any, below: str = "", **wish: Any) -> dict[str, str]:
    return project_texts(Wish(name="cars", ci=ci, branch="main", chatops=True, **wish), below, {})


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    return yaml.safe_load(written("github", image=True)[WORKFLOW])


def accepted(folder: Path, schema: str, *texts: str) -> None:
    paths = [folder / f"{schema}-{number}.yml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    command = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*command, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_forges_accept_them(tmp_path: Path) -> None:
    texts = written("github", "teams/ml", image=True)
    (path,) = (path for path in texts if "chatops" in path)
    assert path == "../../.github/workflows/nbship-chatops-cars.yml"
    accepted(tmp_path, "github-workflows", texts[path], written("github")[WORKFLOW])
    texts = written("gitlab")
    accepted(tmp_path, "gitlab-ci", *(texts[f".gitlab/nbship/{name}.yml"] for name in ("chatops", "jobs")))


def test_a_workflow_of_comments_takes_what_a_comment_tells(workflow: dict[Any, Any]) -> None:
    assert workflow[True]["issue_comment"] == {"types": ["created"]}  # YAML takes `on` for true
    assert {*workflow[True]["workflow_dispatch"]["inputs"]} == VARIABLES
    assert workflow["env"] == {name: f"${{{{ inputs.{name} }}}}" for name in VARIABLES}


def test_rights_are_checked_before_anything_is_checked_out(workflow: dict[Any, Any]) -> None:
    first, *others = workflow["jobs"]["answer"]["steps"]
    assert "permission" in first["run"]
    assert all(step["if"] == "steps.author.outputs.member" for step in others)


def test_only_one_job_has_the_code_of_a_request_and_no_secret(workflow: dict[Any, Any]) -> None:
    jobs = workflow["jobs"]
    code = jobs.pop("code")
    assert "secrets." not in yaml.safe_dump(code)
    assert "environment" not in code
    assert "contents: write" not in yaml.safe_dump(code)
    # It is a run of the branch, whose caches no other branch reads.
    assert code["if"].startswith("github.event_name == 'workflow_dispatch'")
    for name, job in jobs.items():
        first = next(step for step in job["steps"] if "checkout" in step.get("uses", ""))
        assert first["with"]["ref"] == "${{ github.event.repository.default_branch }}", name


def test_no_text_of_an_event_is_a_part_of_a_script(workflow: dict[Any, Any]) -> None:
    text = written("github", image=True)[WORKFLOW]
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert all("${{" not in step.get("run", "") for step in job["steps"])
    pinned = re.findall(r"(?m)^ +(?:- )?uses: (?!\./)(\S+)", text)
    assert pinned
    assert all(re.search("@[0-9a-f]{40}$", each) for each in pinned)


def test_other_jobs_do_not_run_for_a_comment() -> None:
    texts = written("gitlab", image=True)
    jobs = yaml.safe_load(texts[".gitlab/nbship/jobs.yml"])
    for name in ("check", ".production", ".image", "deployments"):
        assert all("$NBSHIP_COMMENT_ID == null" in rule["if"] for rule in jobs[name]["rules"]), name
    without = project_texts(Wish(name="cars", ci="gitlab", branch="main"), "", {})
    assert "COMMENT" not in "".join(without.values())


def test_they_can_be_added_later(tmp_path: Path) -> None:
    initialize(tmp_path, Wish(ci="gitlab"))
    done = initialize(tmp_path, Wish(chatops=True))
    assert done.written == (".gitlab/nbship/chatops.yml",)
    assert done.renewed == (".gitlab/nbship/jobs.yml",)


def test_comments_need_a_forge(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="forge's CI"):
        initialize(tmp_path, Wish(chatops=True))
