"""The questions to Git, on real repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbship.errors import NbshipError
from nbship.versions import git
from tests.repositories import git as run_git


def test_revision_is_none_without_a_repository(folder_without_git: Path) -> None:
    assert git.revision(folder_without_git) is None
    with pytest.raises(NbshipError, match="no Git repository"):
        git.require_repository(folder_without_git)


def test_revision_before_the_first_commit(folder_without_git: Path) -> None:
    run_git(folder_without_git, "init", "--quiet")
    assert git.revision(folder_without_git) == git.Revision("", dirty=False)


def test_revision_is_dirty_when_a_tracked_file_differs(project: Path) -> None:
    head = run_git(project, "rev-parse", "HEAD").strip()
    (project / "new.txt").write_text("not tracked")
    assert git.revision(project) == git.Revision(head, dirty=False)
    (project / ".dvcignore").write_text("changed")
    assert git.revision(project) == git.Revision(head, dirty=True)


def test_revision_is_found_from_a_folder_of_the_repository(project: Path) -> None:
    assert git.revision(project / "pipelines") == git.revision(project)


def test_a_failure_of_git_shows_what_git_says(project: Path) -> None:
    (project / ".git/HEAD").write_text("nonsense")
    with pytest.raises(NbshipError, match="git status failed with exit code 128") as failure:
        git.revision(project)
    assert "fatal" in failure.value.details


def test_without_the_program(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NbshipError, match="git is not installed"):
        git.revision(project)


def test_commit_takes_exactly_the_given_files(project: Path) -> None:
    (project / "staged.txt").write_text("the user's own business")
    run_git(project, "add", "staged.txt")
    (project / ".dvcignore").write_text("changed, not staged")
    (project / "models").mkdir()
    names = ["a[1]*.json", "-b: c.dvc"]
    for name in names:
        (project / "models" / name).write_text(name)
    (project / "models" / "a1x.json").write_text("what a pattern would take as well")

    paths = [project / "models" / name for name in names]
    assert not git.committed(project, paths)
    commit = git.commit(project, paths, "Two files")

    shown = run_git(project, "show", "-z", "--format=%s", "--name-only", commit).strip("\0\n")
    assert shown.replace("\n", "").split("\0") == ["Two files", "models/-b: c.dvc", "models/a[1]*.json"]
    assert run_git(project, "diff", "--cached", "--name-only") == "staged.txt\n"
    assert git.committed(project, paths)
    assert git.last_change(project, paths) == commit


def test_committed_is_about_the_commit_and_not_the_index(project: Path) -> None:
    path = project / "model.json"
    path.write_text("1")
    run_git(project, "add", "model.json")
    assert not git.committed(project, [path])
    run_git(project, "commit", "--quiet", "--message", "Model")
    assert git.committed(project, [path])
    path.write_text("2")
    assert not git.committed(project, [path])
    path.unlink()
    assert not git.committed(project, [path])


def test_a_hook_that_refuses_is_reported(project: Path) -> None:
    hook = project / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'no commits on Fridays' >&2\nexit 1\n")
    hook.chmod(0o755)
    (project / "model.json").write_text("1")
    with pytest.raises(NbshipError, match="git commit failed") as failure:
        git.commit(project, [project / "model.json"], "Model")
    assert failure.value.details == "no commits on Fridays"


def test_identity_comes_from_git(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git.identity(project) == git.Identity("Ada Lovelace", "ada@example.org")
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Grace Hopper")
    assert git.identity(project).name == "Grace Hopper"


def test_without_an_identity(project: Path) -> None:
    run_git(project, "config", "user.name", "")
    with pytest.raises(NbshipError, match="does not know who you are") as failure:
        git.identity(project)
    assert "git config user.name" in failure.value.hint


def test_a_file_as_it_was(project: Path) -> None:
    path = project / "model.json"
    path.write_text("1")
    commit = git.commit(project, [path], "Model")
    path.write_text("2")
    assert git.read_at(project, commit, path) == "1"
    assert git.read_at(project, f"{commit}~1", path) is None


def test_ignored_files_are_those_that_git_would_not_take(project: Path) -> None:
    names = ["a [1].txt", "ignored ü.txt", "tracked.txt", "*.txt"]
    for name in names:
        (project / name).write_text("")
    run_git(project, "add", "tracked.txt")
    (project / ".gitignore").write_text("ignored*\ntracked.txt\n")
    assert git.ignored(project, [project / name for name in names]) == [project / "ignored ü.txt"]
    assert git.ignored(project, []) == []


def test_nothing_is_ignored_without_a_repository(folder_without_git: Path) -> None:
    assert git.ignored(folder_without_git, [folder_without_git / "runs"]) == []
