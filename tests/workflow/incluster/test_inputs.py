"""What a run reads of its repository: versions as parameters, and content from whatever commit has it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nbship.graph import CHAMPION
from nbship.kubeflow.plan import CHAMPION_FACTS, FILE
from nbship.workflow.incluster.inputs import fetch, resolve
from tests.repositories import git, md5, put_in_remote, track

OLD, NEW = b"x\n1\n", b"x\n2\n"
PIPELINE = "name: line\ndata: {table: {path: data/points.csv}}\nsteps: {only: {notebook: n.ipynb}}\n"
CONFIG = "[core]\n    analytics = false\n    remote = shared\n['remote \"shared\"']\n    url = URL\n"


@dataclass
class Artifact:
    """What KFP hands to a step."""

    path: str
    metadata: dict[str, Any] = field(default_factory=dict)


def commit(root: Path, message: str) -> str:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", message)
    return git(root, "rev-parse", "HEAD").strip()


@pytest.fixture(params=["", "teams/cars"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project, at the top of a repository or in a folder of it, whose DVC remote has old and new data."""
    top = tmp_path / "repository"
    root = top / request.param
    (root / "pipelines").mkdir(parents=True)
    (root / "pipelines/line.yaml").write_text(PIPELINE)
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text(CONFIG.replace("URL", str(tmp_path / "dvc")))
    for content in (OLD, NEW):
        put_in_remote(tmp_path / "dvc", content)
    track(root, "data/points.csv", OLD)
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", str(top))
    return root


def resolved(project: Path, tmp_path: Path, revision: str = "") -> dict[str, Any]:
    names = {name: str(tmp_path / name) for name in ("table", CHAMPION)}
    top = git(project, "rev-parse", "--show-toplevel").strip()
    resolve(str(tmp_path / "commit"), names, pipeline="line", repository=top, revision=revision)
    versions = {name: json.loads(Path(path).read_text()) for name, path in names.items()}
    return {"commit": (tmp_path / "commit").read_text(), **versions}


def fetched(project: Path, tmp_path: Path, version: Any, name: str = "table") -> tuple[bytes, str, dict]:
    top = git(project, "rev-parse", "--show-toplevel").strip()
    file = Artifact(str(tmp_path / "file"))
    facts = {fact: Artifact(str(tmp_path / fact)) for fact in CHAMPION_FACTS} if name == CHAMPION else {}
    fetch(
        str(tmp_path / "sha256"),
        {FILE: file, **facts},
        pipeline="line",
        version=version,
        repository=top,
    )
    assert all(Path(artifact.path).exists() for artifact in facts.values())
    return Path(file.path).read_bytes(), (tmp_path / "sha256").read_text(), file.metadata


def test_content_that_no_branch_has_any_more_is_fetched_from_the_history(project, tmp_path):
    first = commit(project, "Begin")
    old = resolved(project, tmp_path)
    track(project, "data/points.csv", NEW)
    second = commit(project, "New data")

    assert (old["commit"], resolved(project, tmp_path)["commit"]) == (first, second)
    assert resolved(project, tmp_path, first) == old
    assert resolved(project, tmp_path)["table"] == {**old["table"], "md5": md5(NEW)}
    content, digest, metadata = fetched(project, tmp_path, old["table"])
    assert content == OLD
    assert metadata == {"path": "data/points.csv", "sha256": digest, "md5": md5(OLD)}


def test_another_commit_with_the_same_data_is_the_same_version(project, tmp_path):
    commit(project, "Begin")
    before = resolved(project, tmp_path)
    (project / "README.md").write_text("Words")
    commit(project, "Say more")
    assert resolved(project, tmp_path)["table"] == before["table"]


def test_data_that_git_has_too_needs_no_dvc(project, tmp_path):
    (project / ".dvc/config").unlink()
    (project / "data/points.csv").write_bytes(OLD)
    commit(project, "Begin")
    assert fetched(project, tmp_path, resolved(project, tmp_path)["table"])[0] == OLD


def test_a_pipeline_that_the_default_branch_has_not_yet(project, tmp_path):
    """Nor a name for the data file: it has the content alone."""
    settings = project / "pipelines/line.yaml"
    settings.unlink()
    (project / ".dvc/config").write_text("")
    commit(project, "Data")
    git(project, "switch", "--quiet", "--create", "feature")
    (tmp_path / "source.csv").write_bytes(OLD)
    source = f"data/points.csv, source: {{file: {tmp_path / 'source.csv'}}}"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(PIPELINE.replace("data/points.csv", source))
    commit(project, "A pipeline")
    git(project, "switch", "--quiet", "main")
    version = resolved(project, tmp_path, "feature")["table"]
    assert fetched(project, tmp_path, version)[0] == OLD


def test_the_newest_settings_of_dvc_are_used(project, tmp_path):
    """The data is older than the remote that has it."""
    config = (project / ".dvc/config").read_text()
    (project / ".dvc/config").write_text("[core]\n    analytics = false\n")
    commit(project, "Data, and no remote")
    (project / ".dvc/config").write_text(config)
    commit(project, "A remote")
    assert fetched(project, tmp_path, resolved(project, tmp_path)["table"])[0] == OLD


def test_where_there_is_no_champion_its_files_are_empty(project, tmp_path):
    commit(project, "Begin")
    version = resolved(project, tmp_path)[CHAMPION]
    assert version == {}
    assert fetched(project, tmp_path, version, CHAMPION) == (b"", "", {})


def test_a_version_that_is_nowhere(project, tmp_path, capsys):
    commit(project, "Begin")
    version = {**resolved(project, tmp_path)["table"], "md5": md5(NEW)}
    with pytest.raises(SystemExit):
        fetched(project, tmp_path, version)
    path = f"{version['project']}data/points.csv.dvc"
    assert f"error: no commit of the repository has this version of {path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "data/points.csv.dvc").unlink(), "there is no data/points.csv.dvc at this"),
        (
            lambda root: (root / "pipelines/line.yaml").write_text(PIPELINE.replace("table", "other")),
            "the pipeline file of this revision has no data file 'table'",
        ),
    ],
)
def test_a_revision_without_the_data(project, tmp_path, capsys, change, message):
    change(project)
    (project / "README.md").write_text("Words")
    commit(project, "Begin")
    with pytest.raises(SystemExit):
        resolved(project, tmp_path)
    assert message in capsys.readouterr().err
