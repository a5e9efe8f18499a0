"""Publishing as users meet it: on the command line, killed half-way, and with a disk that is full."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from nbship import package
from nbship.cli import data
from nbship.cli import publish as publish_command
from nbship.errors import NbshipError
from nbship.versions import registry
from nbship.workflow.publish import publish
from tests.repositories import git, put_in_remote, track
from tests.runs import NAME, make_pipeline, make_run, model_hash

pytestmark = pytest.mark.e2e
FILES = ["models/line/model.joblib.dvc", "models/line/model.json"]
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.chmod")


def changes_something(root: Path, event: str, arguments: tuple[Any, ...]) -> bool:
    """Returns whether an audit event is a change to a project, or a program that may make one."""
    if event == "subprocess.Popen":
        return True
    if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
        return False
    path = root / str(arguments[0]) if event in (*_CHANGES, "open") else Path()
    passing = event == "os.mkdir" and path.is_dir()
    return path.is_relative_to(root) and not path.is_relative_to(root / ".dvc/tmp") and not passing


def in_a_process_of_its_own(root: Path, *, kill_at: int = 0) -> int:
    """Publishes in a forked process, which is killed before its nth change to the project.

    Returns:
        How many changes it made; -1 if it was killed.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        changes = 0

        def audit(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal changes
            if changes_something(root, event, arguments):
                changes += 1
                if changes == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(audit)
        try:
            publish(root, make_pipeline(), commit=True)
            os.write(writer, str(changes).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        made = answer.read()
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        return -1
    assert made, "publishing failed"
    return int(made)


@pytest.fixture
def judged(project: Path) -> Path:
    """A project with a champion, and a run that was judged against it and passed."""
    first = make_run(project, "20250101-000000-aaaa")
    publish(project, make_pipeline(), commit=True)
    make_run(project, "20250102-000000-bbbb", slope=3.0, champion=model_hash(first))
    return project


def slope_of_champion(root: Path) -> float:
    """Asks the champion for the slope of its line; a mix of two packages has none."""
    model = registry.champion(root, NAME)
    assert model is not None
    package.read_package(model.parent)
    return round(float(package.load_model(model.parent).coef_[0]), 6)


def assert_published(root: Path) -> None:
    assert slope_of_champion(root) == 3.0
    assert sorted(git(root, "tag").split()) == ["line@v1.0.0", "line@v1.1.0"]
    assert git(root, "show", "--format=", "--name-only", "line@v1.1.0^{}").split() == FILES
    assert git(root, "rev-list", "--count", "HEAD") == "3\n"
    assert git(root, "status", "--porcelain") == ""
    assert sorted(path.name for path in (root / "models/line").iterdir()) == [
        "model.joblib",
        "model.joblib.dvc",
        "model.json",
        "model.onnx",
        "reference.json",
        "trained_rows.npz",
    ]
    assert registry.trained_rows(root, NAME) is not None


def test_killed_before_every_change_it_makes(judged: Path, tmp_path: Path) -> None:
    counted = shutil.copytree(judged, tmp_path / "counted", symlinks=True)
    changes = in_a_process_of_its_own(counted)
    assert_published(counted)
    slopes = []
    for number in range(1, changes + 1):
        root = shutil.copytree(judged, tmp_path / "killed", symlinks=True)
        assert in_a_process_of_its_own(root, kill_at=number) == -1
        seen = shutil.copytree(root, tmp_path / "seen", symlinks=True)
        slopes.append(slope_of_champion(seen))
        publish(root, make_pipeline(), commit=True)
        assert_published(root)
        shutil.rmtree(root)
        shutil.rmtree(seen)
    old = slopes.count(2.0)
    assert slopes == [2.0] * old + [3.0] * (changes - old), (
        "the old champion, and from some change on the new one"
    )
    assert 0 < old < changes


@pytest.mark.parametrize("limit", [400, 1600, 4000], ids=["model", "description", "DVC's state"])
def test_a_disk_that_is_full(judged: Path, limit: int) -> None:
    """A limit on the size of files fails a write as a full disk does, here or there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(NbshipError, match=r"File too large|disk I/O error"):
            publish(judged, make_pipeline())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert slope_of_champion(judged) == 2.0
    assert git(judged, "status", "--porcelain") == ""
    publish(judged, make_pipeline(), commit=True)
    assert_published(judged)


@pytest.mark.skipif(os.geteuid() == 0, reason="to root, nothing is read-only")
def test_a_folder_that_is_read_only(judged: Path) -> None:
    folder = judged / "models/line"
    folder.chmod(0o555)
    with pytest.raises(NbshipError, match="models/line: Permission denied"):
        publish(judged, make_pipeline())
    folder.chmod(0o755)
    assert slope_of_champion(judged) == 2.0


def test_a_folder_that_cannot_be_made(project: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    (project / "models").write_text("a file is in its place")
    with pytest.raises(NbshipError, match="models/line: Not a directory"):
        publish(project, make_pipeline())
    assert (project / "models").read_text() == "a file is in its place"


@pytest.fixture
def nbship(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command in the project, and returns what it prints."""
    app = typer.Typer()
    data.register(app)
    publish_command.register(app)
    (project / "pipelines/line.yaml").write_text(
        yaml.safe_dump(make_pipeline().model_dump(exclude_unset=True))
    )
    git(project, "add", "pipelines")
    git(project, "commit", "--quiet", "--message", "Pipeline")
    monkeypatch.chdir(project / "pipelines")

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_the_commands_say_what_happened_and_what_is_next(nbship: Callable[..., str], project: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    assert nbship("publish", "line") == (
        "models/line is the model of run 20250101-000000-aaaa\n"
        "next:\n"
        "  git add models/line/model.joblib.dvc models/line/model.json\n"
        "  git commit -m 'Publish line v1.0.0' -- models/line/model.joblib.dvc models/line/model.json\n"
        "  nbship publish line\n"
    )
    assert "not registered yet: nbship publish line" in nbship("models")
    assert nbship("publish", "line", "--commit") == "registered as line@v1.0.0\n"
    assert nbship("publish", "line", "--commit") == (
        "nothing to do: the model of run 20250101-000000-aaaa is the champion, registered as v1.0.0\n"
    )
    commit = git(project, "rev-parse", "--short=8", "HEAD").strip()
    listed = nbship("models", "line").splitlines()
    assert listed[0] == "line"
    assert listed[1].startswith("→ v1.0.0  ")
    assert listed[1].endswith(f"  {commit}  rmse 0.5 (run 20250101-000000-aaaa)")


def test_the_commands_speak_json(nbship: Callable[..., str], project: Path) -> None:
    make_run(project, "20250101-000000-aaaa")
    published = json.loads(nbship("publish", "line", "--commit", "--json"))
    assert (published["version"], published["registered"], published["next_commands"]) == ("v1.0.0", True, [])
    (model,) = json.loads(nbship("models", "--json"))
    assert (model["champion"], model["versions"][0]["version"]) == ("v1.0.0", "v1.0.0")
    (status,) = json.loads(nbship("data", "status", "--json"))
    assert (status["path"], status["state"], status["exists"]) == ("data.csv", "untracked", False)


def test_data_commands(nbship: Callable[..., str], project: Path, remote: Path) -> None:
    put_in_remote(remote, b"x,y\n1,2\n")
    path = track(project, "data.csv", b"x,y\n1,2\n")
    assert nbship("data", "status") == (
        "line  table  data.csv  missing\nbring what is missing here: nbship data pull\n"
    )
    assert nbship("data", "pull", "line").endswith("data.csv is here\n")
    assert nbship("data", "status", "line") == "line  table  data.csv  up to date\n"
    path.write_bytes(b"edited")
    assert "edited since dvc add\nkeep an edited file: dvc add FILE" in nbship("data", "status")
    said = nbship("data", "pull", "--force")
    assert "data.csv: the edited file is kept as data.csv.edited-" in said
    assert path.read_bytes() == b"x,y\n1,2\n"
