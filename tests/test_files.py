import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.errors import NbshipError
from nbship.files import content_hash, copy, disk_error, link, remove, write_bytes, write_text

NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5)
TREES = st.dictionaries(st.tuples(NAMES, NAMES).map("/".join), st.binary(max_size=20), max_size=4)


@contextmanager
def disk_that_takes(size):
    """No file may grow beyond a size, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def folder(root, tree):
    root.mkdir(parents=True)
    for name, content in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


# Writing


@given(st.text(st.characters(exclude_categories=["Cs"])), st.binary())
def test_what_is_written_is_read(tmp_path_factory, text, content):
    path = tmp_path_factory.getbasetemp() / "written" / "deep" / "file"
    write_text(path, text)
    assert path.read_bytes() == text.encode()
    write_bytes(path, content)
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["file"]  # noqa: PTH208


def test_a_full_disk_leaves_the_old_file_whole_and_nothing_else(tmp_path):
    path = tmp_path / "run.json"
    write_text(path, "old")
    with disk_that_takes(500_000), pytest.raises(NbshipError) as error:
        write_bytes(path, b"x" * 1_000_000)
    assert error.value.message == f"{path}: File too large"
    assert contents(tmp_path) == {"run.json": b"old"}


@pytest.mark.parametrize(
    ("operation", "target"), [(copy, "target"), (link, "target"), (copy, "new/target"), (link, "new/target")]
)
def test_a_folder_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path, operation, target):
    source = folder(tmp_path / "source", {"a/small": b"x", "b/large": b"x" * 1_000_000})
    with disk_that_takes(500_000), pytest.raises(NbshipError, match="File too large"):
        operation(source, tmp_path / target)
    assert set(contents(tmp_path)) == {"source/a/small", "source/b/large"}


def test_a_file_that_does_not_fit_on_the_disk_leaves_the_old_one(tmp_path):
    (tmp_path / "source").write_bytes(b"x" * 1_000_000)
    (tmp_path / "target").write_bytes(b"old")
    with disk_that_takes(500_000), pytest.raises(NbshipError, match="File too large"):
        copy(tmp_path / "source", tmp_path / "target")
    assert contents(tmp_path)["target"] == b"old"
    assert len(contents(tmp_path)) == 2


READ_ONLY = """
import os, sys
from pathlib import Path
from nbship.errors import NbshipError
from nbship.files import copy, link, remove, write_text
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)  # root may write anywhere, nobody may not
old = Path("old")
for operation in (lambda: write_text(Path("new"), "x"), lambda: write_text(old, "x"),
                  lambda: copy(old, Path("new")), lambda: link(old, Path("new"))):
    try:
        operation()
    except NbshipError as error:
        print(error.message, "|", error.hint)
remove(old)
print(old.read_text())
"""


def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    (tmp_path / "old").write_text("whole")
    (tmp_path / "old").chmod(0o444)
    tmp_path.chmod(0o555)
    result = subprocess.run(
        [sys.executable, "-c", READ_ONLY, tmp_path], capture_output=True, text=True, check=False
    )
    tmp_path.chmod(0o755)
    hint = "check the path and its permissions"
    said = [f"{name}: Permission denied | {hint}" for name in ("new", "old", "new")]
    assert result.stdout.splitlines()[:3] == said, result.stderr
    assert result.stdout.splitlines()[-1] == "whole"
    assert contents(tmp_path) == {"old": b"whole"}


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("whole")
    target = tmp_path / "file" / "below"
    for operation in (lambda: write_text(target, "x"), lambda: copy(tmp_path / "file", target)):
        with pytest.raises(NbshipError, match=r"below: (Not a directory|File exists)"):
            operation()
    with pytest.raises(NbshipError):
        link(tmp_path / "file", target)
    assert contents(tmp_path) == {"file": b"whole"}


# Copies and links


@given(TREES)
@pytest.mark.parametrize("operation", [copy, link])
def test_a_folder_is_whole_at_its_second_place(tmp_path_factory, operation, tree):
    root = tmp_path_factory.mktemp("tree")
    source, target = folder(root / "source", tree), root / "deep" / "target"
    operation(source, target)
    assert contents(target) == contents(source) == tree
    assert sorted(p.name for p in target.parent.iterdir()) == ["target"]


def test_a_linked_file_shares_its_bytes_and_cannot_be_written(tmp_path):
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    source.write_text("content")
    link(source, target)
    assert target.samefile(source)
    assert target.stat().st_mode & 0o777 == 0o444


def test_a_copied_file_is_a_file_of_its_own(tmp_path):
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    source.write_text("content")
    source.chmod(0o444)
    copy(source, target)
    target.write_text("changed")
    assert source.read_text() == "content"


@pytest.mark.parametrize("is_folder", [False, True])
def test_linking_leaves_a_target_that_is_there(tmp_path, is_folder):
    for name in ("source", "target"):
        folder(tmp_path / name, {f"{name}/file": b""}) if is_folder else (tmp_path / name).write_text(name)
    before = contents(tmp_path)
    link(tmp_path / "source", tmp_path / "target")
    assert contents(tmp_path) == before


def test_a_symbolic_link_is_followed_and_its_file_stays_writable(tmp_path):
    (tmp_path / "data.csv").write_text("rows")
    (tmp_path / "output").symlink_to("data.csv")
    mode = (tmp_path / "data.csv").stat().st_mode
    link(tmp_path / "output", tmp_path / "cache" / "target")
    assert (tmp_path / "cache" / "target").read_text() == "rows"
    assert not (tmp_path / "cache" / "target").is_symlink()
    assert (tmp_path / "data.csv").stat().st_mode == mode


@pytest.mark.parametrize("operation", [copy, link])
def test_what_is_not_there_cannot_be_put_elsewhere(tmp_path, operation):
    with pytest.raises(NbshipError, match="No such file or directory"):
        operation(tmp_path / "gone", tmp_path / "target")
    assert contents(tmp_path) == {}


def test_removing(tmp_path):
    source = folder(tmp_path / "folder", {"a/file": b"x"})
    (tmp_path / "symbolic").symlink_to(source)
    remove(tmp_path / "symbolic")
    assert contents(source) == {"a/file": b"x"}
    remove(source / "a/file")
    remove(source)
    remove(source)
    assert list(tmp_path.iterdir()) == []


# Hashes


@given(TREES, TREES)
def test_two_folders_have_one_hash_exactly_if_names_and_contents_agree(tmp_path_factory, one, other):
    root = tmp_path_factory.mktemp("hash")
    hashes = [content_hash(folder(root / name, tree)) for name, tree in (("one", one), ("other", other))]
    assert (hashes[0] == hashes[1]) == (one == other)


def test_a_hash_is_of_content_alone(tmp_path):
    one = folder(tmp_path / "one", {"a/x": b"1", "b/y": b"2"})
    other = folder(tmp_path / "elsewhere" / "other", {"b/y": b"2", "a/x": b"1"})
    os.utime(other / "a/x", (0, 0))
    assert content_hash(one) == content_hash(other)
    (other / "a/x").write_bytes(b"2")
    assert content_hash(one) != content_hash(other)
    assert content_hash(one / "b/y") == content_hash(other / "a/x")


def test_moving_a_file_changes_the_hash_of_its_folder(tmp_path):
    root = folder(tmp_path / "root", {"a/x": b"1", "b/y": b"2"})
    before = content_hash(root)
    (root / "a/x").rename(root / "b/x")
    assert content_hash(root) != before


def test_links_are_followed_in_a_hash(tmp_path):
    outside = folder(tmp_path / "outside", {"a/x": b"1"})
    root = folder(tmp_path / "root", {"y": b"2"})
    (root / "linked").symlink_to(outside)
    before = content_hash(root)
    assert before == content_hash(folder(tmp_path / "same", {"y": b"2", "linked/a/x": b"1"}))
    (outside / "a/x").write_bytes(b"2")
    assert content_hash(root) != before
    (root / "twice").symlink_to(outside)
    content_hash(root)
    (outside / "up").symlink_to(outside)
    with pytest.raises(OSError, match="a link to a folder that it is in"):
        content_hash(root)


def test_what_may_have_no_end_is_not_hashed(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="neither a file nor a folder"):
            content_hash(path)


def test_a_name_that_is_no_utf8_can_be_hashed(tmp_path):
    (tmp_path / os.fsdecode(b"\xff")).write_text("x")
    assert len(content_hash(tmp_path)) == 64


def test_the_hash_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "empty").touch()
    assert content_hash(tmp_path / "empty").startswith("e3b0c44298fc1c14")
    with pytest.raises(FileNotFoundError):
        content_hash(tmp_path / "gone")


# Errors


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (OSError(28, "No space left on device"), "free some disk space"),
        (OSError(122, "Disk quota exceeded"), "free some disk space"),
        (OSError(13, "Permission denied"), "check the path and its permissions"),
        (OSError("unheard of"), "check the path and its permissions"),
    ],
)
def test_a_disk_error_says_what_to_do(tmp_path, error, hint):
    told = disk_error(error, tmp_path)
    assert told.message == f"{tmp_path}: {error.strerror or 'unheard of'}"
    assert told.hint == hint


def test_a_folder_that_fills_the_disk_is_told_in_a_line(tmp_path):
    import shutil

    reasons = [(f"source/{i}", f"target/{i}", f"[Errno 28] No space left on device: '{i}'") for i in range(9)]
    told = disk_error(shutil.Error(reasons), tmp_path)
    assert told.message.startswith(f"{tmp_path}: [Errno 28] No space left on device: '0'; ")
    assert len(told.message) < len(str(tmp_path)) + 200
    assert told.hint == "free some disk space"
