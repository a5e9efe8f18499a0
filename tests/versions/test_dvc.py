"""Data files under a real DVC: with a remote, without one, with wrong bytes, and edited by hand."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from nbship.config import FileSource, Source
from nbship.errors import NbshipError
from nbship.versions import dvc
from nbship.versions.dvc import FileState
from tests.conftest import ROOT
from tests.repositories import git, md5, put_in_remote, set_remote, track

CONTENT = b"x,y\n1,2\n"
CARS = "b6cb4ea6a069a5a588596dd9e12de293"
SHARED_REMOTE = ROOT.parent / "shared" / "data-remote"


@pytest.fixture
def tracked(project: Path) -> Path:
    """A file of which there is only the `.dvc` file, as in a fresh clone."""
    return track(project, "data.csv", CONTENT)


@pytest.fixture
def source(project: Path) -> Source:
    (project / "published.csv").write_bytes(CONTENT)
    return FileSource(file="published.csv")


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file of a project but Git's and DVC's own."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.relative_to(root).parts[0] not in (".git", ".dvc")
    }


def run_dvc(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return result.stdout


def test_the_repository_tracks_the_table_of_cars() -> None:
    assert dvc.read(ROOT / "data.csv") == dvc.Tracked(CARS, 17444)
    configuration = (ROOT / ".dvc/config").read_text()
    assert "remote" not in configuration
    assert "url" not in configuration


def test_dvc_itself_writes_and_reads_the_same(project: Path) -> None:
    """What `dvc add` writes is what `store` and `tracking_text` give, and `dvc status` is content with it."""
    (project / "data.csv").write_bytes(CONTENT)
    run_dvc(project, "add", "--quiet", "data.csv")
    written = (project / "data.csv.dvc").read_text()

    copy = project / "copy" / "data.csv"
    copy.parent.mkdir()
    copy.write_bytes(CONTENT)
    stored = dvc.store(project, copy)
    assert dvc.tracking_text(copy, stored) == written
    assert dvc.state(project / "data.csv") is FileState.SAME
    dvc.tracking_file(copy).write_text(written)
    copy.unlink()
    run_dvc(project, "checkout", "--quiet", "copy/data.csv.dvc")
    assert copy.read_bytes() == CONTENT
    assert "up to date" in run_dvc(project, "status")


def test_state(project: Path, tracked: Path) -> None:
    assert dvc.state(tracked) is FileState.MISSING
    tracked.write_bytes(CONTENT)
    assert dvc.state(tracked) is FileState.SAME
    tracked.write_bytes(CONTENT.replace(b"1", b"3"))
    assert dvc.state(tracked) is FileState.EDITED
    tracked.write_bytes(CONTENT + b"3,4\n")
    assert dvc.state(tracked) is FileState.EDITED
    assert dvc.state(project / "other.csv") is FileState.UNTRACKED


def test_state_is_told_without_dvc(project: Path, tracked: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from nbship.versions import dvc\n"
        "print(dvc.state(Path(sys.argv[1])), 'dvc' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(tracked)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "missing False\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<<<<<<< HEAD\n", "not a .dvc file"),
        ("outs: []\n", "not a .dvc file"),
        ("outs:\n- path: other.csv\n  md5: abc\n", "not a .dvc file"),
        ("outs:\n- path: data.csv\n", "not a .dvc file"),
        ("outs: 3", "not a .dvc file"),
        ("[]", "not a .dvc file"),
        ("outs:\n- md5: abc.dir\n  nfiles: 2\n  hash: md5\n  path: data.csv\n", "tracks a folder"),
        ("outs:\n- md5: abc\n  size: 3\n  path: data.csv\n", "hash of DVC 2"),
    ],
)
def test_a_dvc_file_that_is_not_understood(project: Path, text: str, message: str) -> None:
    (project / "data.csv.dvc").write_text(text)
    with pytest.raises(NbshipError, match=message):
        dvc.state(project / "data.csv")


def test_pull_from_the_remote(project: Path, remote: Path, tracked: Path) -> None:
    put_in_remote(remote, CONTENT)
    said: list[str] = []
    assert dvc.pull(project, tracked, report=said.append) is None
    assert tracked.read_bytes() == CONTENT
    assert said == ["data.csv: fetching it from the DVC remote 'shared'"]
    assert git(project, "status", "--porcelain") == "?? data.csv.dvc\n"

    said.clear()
    tracked.unlink()
    dvc.pull(project, tracked, report=said.append)
    assert tracked.read_bytes() == CONTENT
    assert said == [], "the second time it is in DVC's cache"


@pytest.mark.skipif(not SHARED_REMOTE.exists(), reason="this machine has no ../shared/data-remote")
def test_pull_the_table_of_cars_from_the_shared_remote(project: Path) -> None:
    set_remote(project, str(SHARED_REMOTE))
    (project / "data.csv.dvc").write_bytes((ROOT / "data.csv.dvc").read_bytes())
    dvc.pull(project, project / "data.csv")
    assert md5((project / "data.csv").read_bytes()) == CARS
    assert "up to date" in run_dvc(project, "status")


@pytest.mark.parametrize("remote_is", ["not set", "empty", "not there", "without its extra"])
def test_pull_from_the_source_when_no_remote_answers(
    project: Path, tmp_path: Path, tracked: Path, source: Source, remote_is: str
) -> None:
    if remote_is == "empty":
        (tmp_path / "remote").mkdir()
        set_remote(project, str(tmp_path / "remote"))
    elif remote_is == "not there":
        set_remote(project, "http://127.0.0.1:9/remote")
    elif remote_is == "without its extra":
        set_remote(project, "azure://container/remote")
    said: list[str] = []
    dvc.pull(project, tracked, source, report=said.append)
    assert tracked.read_bytes() == CONTENT
    assert said[-1].endswith("fetching it from file published.csv")
    tracked.unlink()
    dvc.pull(project, tracked, FileSource(file="gone.csv"))
    assert tracked.read_bytes() == CONTENT, "what came from the source is in DVC's cache"
    assert "up to date" in run_dvc(project, "status")


def test_pull_with_neither_remote_nor_source(project: Path, tracked: Path) -> None:
    with pytest.raises(NbshipError, match=r"data\.csv: no DVC remote is set") as failure:
        dvc.pull(project, tracked)
    assert "dvc remote add" in failure.value.hint


def test_a_source_with_other_bytes_changes_nothing(project: Path, tracked: Path) -> None:
    (project / "published.csv").write_bytes(b"x,y\n9,9\n")
    before = snapshot(project)
    with pytest.raises(NbshipError, match=r"file published\.csv is not what data\.csv\.dvc names: md5 "):
        dvc.pull(project, tracked, FileSource(file="published.csv"))
    assert snapshot(project) == before
    left = [path for path in (project / ".dvc/tmp").rglob("*") if path.name.startswith("data.csv")]
    assert left == []


def test_a_remote_with_other_bytes_changes_nothing(
    project: Path, remote: Path, tracked: Path, source: Source
) -> None:
    # A read-only object is one that DVC itself trusts unseen.
    put_in_remote(remote, b"x,y\n9,9\n", under=CONTENT).chmod(0o444)
    before = snapshot(project)
    with pytest.raises(NbshipError, match=r"what the DVC remote 'shared' has for data\.csv is not"):
        dvc.pull(project, tracked, source)
    assert snapshot(project) == before
    with pytest.raises(NbshipError, match="is not what"):
        dvc.pull(project, tracked, source)


def test_a_damaged_cache_is_filled_anew(project: Path, remote: Path, tracked: Path) -> None:
    put_in_remote(remote, CONTENT)
    dvc.pull(project, tracked)
    (cached,) = [path for path in (project / ".dvc/cache").rglob("*") if path.is_file()]
    cached.chmod(0o644)
    cached.write_bytes(b"damaged")
    cached.chmod(0o444)
    tracked.unlink()
    dvc.pull(project, tracked)
    assert tracked.read_bytes() == CONTENT


def test_an_edited_file_is_an_error_and_stays(project: Path, tracked: Path, source: Source) -> None:
    tracked.write_bytes(b"edited")
    before = snapshot(project)
    with pytest.raises(NbshipError, match=r"data\.csv was edited since `dvc add`") as failure:
        dvc.pull(project, tracked, source)
    assert failure.value.hint == (
        "keep the edited one: dvc add data.csv; restore the tracked one: nbship data pull --force"
    )
    assert snapshot(project) == before


def test_force_brings_the_tracked_one_back_and_keeps_the_edited_one(
    project: Path, tracked: Path, source: Source
) -> None:
    tracked.write_bytes(b"edited")
    kept = dvc.pull(project, tracked, source, force=True)
    assert tracked.read_bytes() == CONTENT
    assert kept is not None
    assert kept.name.startswith("data.csv.edited-")
    assert kept.read_bytes() == b"edited"


def test_force_that_fails_changes_nothing(project: Path, tracked: Path) -> None:
    tracked.write_bytes(b"edited")
    before = snapshot(project)
    with pytest.raises(NbshipError, match="no DVC remote is set"):
        dvc.pull(project, tracked, force=True)
    assert snapshot(project) == before


def test_another_version_that_dvc_knows_is_replaced_without_a_word(
    project: Path, tracked: Path, source: Source
) -> None:
    """As after `git checkout` of another revision, when the file is still the old one."""
    dvc.pull(project, tracked, source)
    track(project, "data.csv", b"newer")
    (project / "published.csv").write_bytes(b"newer")
    assert dvc.pull(project, tracked, source) is None
    assert tracked.read_bytes() == b"newer"


def test_a_disk_that_is_full(project: Path, remote: Path) -> None:
    """A limit on the size of files fails a write as a full disk does."""
    content = b"x" * 3_000_000
    put_in_remote(remote, content)
    path = track(project, "data.csv", content)
    path.write_bytes(b"edited")
    (project / "published.csv").write_bytes(content)
    before = snapshot(project)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    try:
        with pytest.raises(NbshipError, match="File too large"):
            dvc.pull(project, path, FileSource(file="published.csv"), force=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert snapshot(project) == before
    dvc.pull(project, path, force=True)
    assert path.read_bytes() == content


def test_the_link_type_that_the_user_chose(project: Path, remote: Path, tracked: Path) -> None:
    put_in_remote(remote, CONTENT)
    with (project / ".dvc/config.local").open("a") as file:
        file.write("[cache]\n    type = symlink\n")
    dvc.pull(project, tracked)
    assert tracked.is_symlink()
    assert dvc.state(tracked) is FileState.SAME


def test_without_git(folder_without_git: Path) -> None:
    root = folder_without_git
    (root / "published.csv").write_bytes(CONTENT)
    path = track(root, "data.csv", CONTENT)
    dvc.pull(root, path, FileSource(file="published.csv"))
    assert path.read_bytes() == CONTENT


def test_without_a_dvc_repository(tmp_path: Path) -> None:
    path = track(tmp_path, "data.csv", CONTENT)
    with pytest.raises(NbshipError, match="no DVC repository") as failure:
        dvc.pull(tmp_path, path)
    assert failure.value.hint == "make one: nbship init"


def test_a_configuration_that_is_wrong(project: Path, tracked: Path) -> None:
    (project / ".dvc/config.local").write_text("[core\n")
    with pytest.raises(NbshipError, match="DVC: config file error") as failure:
        dvc.pull(project, tracked)
    assert ".dvc/config.local" in failure.value.hint


def test_nothing_is_printed(
    project: Path, tmp_path: Path, tracked: Path, source: Source, capfd: pytest.CaptureFixture[str]
) -> None:
    set_remote(project, str(tmp_path / "empty"))
    dvc.pull(project, tracked, source)
    assert capfd.readouterr() == ("", "")


def test_nothing_is_printed_on_a_terminal(project: Path, remote: Path, tracked: Path) -> None:
    """DVC draws progress bars where it finds a terminal."""
    put_in_remote(remote, CONTENT)
    script = (
        "import sys; from pathlib import Path; from nbship.versions import dvc\n"
        "root = Path(sys.argv[1]); dvc.pull(root, root / 'data.csv'); dvc.push(root, root / 'data.csv')"
    )
    leader, follower = os.openpty()
    command = [sys.executable, "-c", script, str(project)]
    subprocess.run(command, stdout=follower, stderr=follower, check=True)
    os.write(follower, b"end")
    printed = b""
    while not printed.endswith(b"end"):
        printed += os.read(leader, 10_000)
    os.close(follower)
    os.close(leader)
    assert printed.replace(b"\x1b[0m", b"") == b"end"  # colorama, on whom DVC builds, resets colours at exit
    assert tracked.read_bytes() == CONTENT


def test_push(project: Path, remote: Path, tracked: Path) -> None:
    tracked.write_bytes(CONTENT)
    dvc.store(project, tracked)
    dvc.push(project, tracked)
    digest = md5(CONTENT)
    assert (remote / "files/md5" / digest[:2] / digest[2:]).read_bytes() == CONTENT


def test_push_without_a_remote(project: Path, tracked: Path) -> None:
    tracked.write_bytes(CONTENT)
    dvc.store(project, tracked)
    with pytest.raises(NbshipError, match=r"could not push data\.csv: .*no remote") as failure:
        dvc.push(project, tracked)
    assert failure.value.hint == (
        "check the remote and its keys (on Kubeflow, the secret); see why: dvc push data.csv.dvc"
    )


def test_default_remote(project: Path, tmp_path: Path) -> None:
    assert dvc.default_remote(project) == ""
    set_remote(project, str(tmp_path))
    assert dvc.default_remote(project) == "shared"
