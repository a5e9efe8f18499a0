"""The registry: staging, recovery, the champion and GTO's versions, on real repositories."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.errors import NbshipError
from nbship.versions import dvc, git, registry
from tests.repositories import git as run_git


def stage(root: Path, content: bytes) -> None:
    """Publishes a content as the champion."""
    with registry.exclusive(root, "line"):
        registry.recover(root, "line")
        with registry.staged(root, "line") as staging:
            model = staging / "model.joblib"
            model.write_bytes(content)
            (staging / "model.json").write_text("{}")
            text = dvc.tracking_text(model, dvc.store(root, model))
            dvc.tracking_file(model).write_text(text)


def test_the_rows_that_a_champion_was_trained_on_come_with_it(project: Path, remote: Path) -> None:
    assert registry.trained_rows(project, "line") is None
    with registry.exclusive(project, "line"), registry.staged(project, "line") as staging:
        names = ("model.joblib", "trained_rows.npz")
        for name in names:
            (staging / name).write_text(f"content of {name}")
        tracked = {name: dvc.store(project, staging / name) for name in names}
        text = dvc.tracking_text(staging / names[0], tracked[names[0]], **{names[1]: tracked[names[1]]})
        dvc.tracking_file(staging / names[0]).write_text(text)
        (staging / "model.json").write_text("{}")
    model = registry.champion(project, "line")
    rows = registry.trained_rows(project, "line")
    assert model is not None
    assert rows is not None
    dvc.push(project, model, rows)
    assert len([path for path in remote.rglob("*") if path.is_file()]) == 2

    shutil.rmtree(project / ".dvc/cache")
    for path in (model, rows):
        path.unlink()
    assert registry.trained_rows(project, "line") == rows
    assert rows.read_text() == "content of trained_rows.npz"
    assert registry.champion(project, "line") == model
    rows.write_text("edited")
    with pytest.raises(NbshipError, match="edited"):
        registry.trained_rows(project, "line")


def test_a_champion_that_was_published_without_them_has_none(project: Path) -> None:
    stage(project, b"old")
    assert registry.trained_rows(project, "line") is None


def commit(root: Path, content: bytes) -> str:
    stage(root, content)
    return git.commit(root, registry.versioned_files(root, "line"), "Publish")


def test_there_is_no_champion_at_first(project: Path) -> None:
    assert registry.champion(project, "line") is None


def test_the_champion_is_what_was_staged(project: Path) -> None:
    stage(project, b"first")
    model = registry.champion(project, "line")
    assert model == project / "models/line/model.joblib"
    assert model.read_bytes() == b"first"
    names = {path.name for path in model.parent.iterdir()}
    assert names == {"model.joblib", "model.joblib.dvc", "model.json"}
    assert dvc.state(model) is dvc.FileState.SAME


def test_the_champion_of_a_fresh_clone_comes_from_the_remote(project: Path, remote: Path) -> None:
    stage(project, b"first")
    model = registry.model_folder(project, "line") / "model.joblib"
    dvc.push(project, model)
    model.unlink()
    subprocess.run(["rm", "-rf", project / ".dvc/cache"], check=True)
    assert registry.champion(project, "line") == model
    assert model.read_bytes() == b"first"


def test_a_champion_that_was_edited_is_an_error(project: Path) -> None:
    stage(project, b"first")
    (project / "models/line/model.joblib").write_bytes(b"tampered")
    with pytest.raises(NbshipError, match=r"models/line/model\.joblib was edited") as failure:
        registry.champion(project, "line")
    assert "dvc checkout --force models/line/model.joblib.dvc" in failure.value.hint


def test_an_error_while_staging_leaves_the_old_champion(project: Path) -> None:
    stage(project, b"first")
    with (
        pytest.raises(NbshipError, match="models/line: No space left on device") as failure,
        registry.staged(project, "line") as staging,
    ):
        (staging / "model.joblib").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert failure.value.hint == "free some disk space"
    assert (project / "models/line/model.joblib").read_bytes() == b"first"
    assert not (project / "models/line/.staging").exists()


def test_sealed_files_are_put_in_place_by_who_comes_next(project: Path) -> None:
    stage(project, b"first")
    staging = project / "models/line/.staging"
    staging.mkdir()
    (staging / "model.json").write_text('{"new": true}')
    (staging / "journal.json").write_text(json.dumps(["model.joblib", "model.json"]))
    model = registry.champion(project, "line")
    assert model is not None
    assert (model.parent / "model.json").read_text() == '{"new": true}'
    assert model.read_bytes() == b"first"
    assert not staging.exists()


def test_unsealed_files_are_thrown_away_by_who_comes_next(project: Path) -> None:
    stage(project, b"first")
    staging = project / "models/line/.staging"
    staging.mkdir()
    (staging / "model.joblib").write_bytes(b"half")
    model = registry.champion(project, "line")
    assert model is not None
    assert model.read_bytes() == b"first"
    assert not staging.exists()


def test_publishers_exclude_each_other_until_one_dies(project: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from nbship.versions import registry\n"
        "with registry.exclusive(Path(sys.argv[1]), 'line'): print('locked', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script, project], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    with other:
        assert other.stdout.readline() == "locked\n"
        killer = threading.Timer(0.1, other.kill)
        killer.start()
        said: list[str] = []
        with registry.exclusive(project, "line", said.append):
            assert other.wait() < 0
    assert said == ["waiting for another process that publishes line"]


def test_two_models_do_not_wait_for_each_other(project: Path) -> None:
    said: list[str] = []
    with registry.exclusive(project, "line"), registry.exclusive(project, "curve", said.append):
        assert said == []


def test_versions_are_gto_tags(project: Path) -> None:
    assert registry.versions(project, "line") == []
    first = commit(project, b"first")
    assert registry.register(project, "line", "v1.0.0", first, "rmse 3") == "line@v1.0.0"
    assert run_git(project, "cat-file", "-t", "line@v1.0.0") == "tag\n"
    assert run_git(project, "rev-parse", "line@v1.0.0^{}").strip() == first
    tagger = run_git(project, "for-each-ref", "refs/tags", "--format=%(taggername) %(taggeremail) %(subject)")
    assert tagger == "Ada Lovelace <ada@example.org> rmse 3\n"

    second = commit(project, b"second")
    registry.register(project, "line", "v1.10.0", second, "rmse 2")
    third = commit(project, b"third")
    registry.register(project, "line", "v1.9.0", third, "rmse 2.5")
    registry.register(project, "other", "v7.0.0", third, "another model")
    found = registry.versions(project, "line")
    assert [(v.version, v.commit, v.message) for v in found] == [
        ("v1.10.0", second, "rmse 2"),
        ("v1.9.0", third, "rmse 2.5"),
        ("v1.0.0", first, "rmse 3"),
    ]


def test_stages_and_deregistrations_are_read_as_gto_writes_them(project: Path) -> None:
    from gto import api

    first = commit(project, b"first")
    registry.register(project, "line", "v1.0.0", first, "rmse 3")
    api.assign(str(project), "line", "production", version="v1.0.0")
    (version,) = registry.versions(project, "line")
    assert (version.stages, version.active) == (("production",), True)
    api.deregister(str(project), "line", version="v1.0.0")
    (version,) = registry.versions(project, "line")
    assert not version.active


def test_a_version_is_registered_once(project: Path) -> None:
    first = commit(project, b"first")
    registry.register(project, "line", "v1.0.0", first, "rmse 3")
    with pytest.raises(NbshipError, match=r"GTO: .*v1\.0\.0"):
        registry.register(project, "line", "v1.0.0", commit(project, b"second"), "rmse 2")


def test_versions_need_git(folder_without_git: Path) -> None:
    with pytest.raises(NbshipError, match="no Git repository"):
        registry.versions(folder_without_git, "line")


def test_the_first_version() -> None:
    assert registry.next_version("", "minor") == "v1.0.0"


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_the_next_version_is_greater(major: int, minor: int, patch: int) -> None:
    latest = f"v{major}.{minor}.{patch}"
    assert registry.next_version(latest, "major") == f"v{major + 1}.0.0"
    assert registry.next_version(latest, "minor") == f"v{major}.{minor + 1}.0"
    assert registry.next_version(latest, "patch") == f"v{major}.{minor}.{patch + 1}"
