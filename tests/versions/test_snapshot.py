import pytest

from nbship.errors import NbshipError, UsageError
from nbship.versions.git import branch
from nbship.versions.snapshot import export, resolve
from tests.repositories import git


def test_branch(project):
    assert branch(project) == "main"
    git(project, "switch", "--quiet", "--create", "feature/ä")
    assert branch(project) == "feature/ä"
    git(project, "switch", "--quiet", "--detach")
    assert branch(project) == ""


def test_resolve(project):
    head = git(project, "rev-parse", "HEAD").strip()
    git(project, "tag", "--annotate", "--message", "First", "v1")
    assert {resolve(project, name) for name in ("HEAD", "main", "v1", head, head[:8])} == {head}


@pytest.mark.parametrize("name", ["nowhere", "", "--all", "HEAD:pipelines"])
def test_resolve_what_is_no_revision(project, name):
    with pytest.raises(UsageError, match="Git knows no revision"):
        resolve(project, name)


def test_export_is_the_commit_and_changes_nothing(project, tmp_path):
    path = project / "part/ä file.txt"
    path.parent.mkdir()
    path.write_text("as committed")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Add")
    path.write_text("as changed")
    (project / "new.txt").touch()
    export(project, "HEAD", tmp_path / "whole")
    assert (tmp_path / "whole/part/ä file.txt").read_text() == "as committed"
    assert not (tmp_path / "whole/new.txt").exists()
    assert path.read_text() == "as changed"
    export(path.parent, "HEAD", tmp_path / "part")
    assert [child.name for child in (tmp_path / "part").iterdir()] == ["ä file.txt"]


def test_export_of_what_is_not_there(project, tmp_path):
    with pytest.raises(NbshipError, match="git archive of 0000 failed") as failed:
        export(project, "0000", tmp_path)
    assert failed.value.details
