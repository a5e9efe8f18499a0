"""Inputs stay what they were, outputs are plain files and folders."""

from __future__ import annotations

import mmap
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from nbship.files import content_hash
from nbship.local import artifacts
from nbship.local.artifacts import Contents, Input, check_outputs, unaltered
from nbship.local.execute import StepError
from nbship.notebook import Notebook, read_notebook
from tests.projects import write_notebook

OLD = (0, 10**18)


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    text = 'rows: "Input[Dataset]" = "rows.csv"\nout: "Output[Dataset]" = "build/out"\n'
    return read_notebook(write_notebook(tmp_path / "step.ipynb", text, "1"))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A folder that has not been touched for a while, as far as one can tell from it."""
    folder = tmp_path / "rows"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/a.csv").write_text("1,2\n")
    (folder / "b.csv").write_text("3,4\n")
    return folder


def write_through_memory(path: Path) -> None:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[0:1] = b"9"


def write_and_set_the_time_back(path: Path) -> None:
    times = path.stat()
    path.write_text("9" + path.read_text()[1:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace_by_one_of_the_same_times(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("9" + path.read_text()[1:])
    shutil.copystat(path, other)
    other.replace(path)


ALTERATIONS: dict[str, Any] = {
    "written": lambda path: path.write_text("9,2\n"),
    "appended": lambda path: path.open("a").write("5"),
    "emptied": lambda path: path.write_text(""),
    "removed": lambda path: path.unlink(),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "mapped": write_through_memory,
    "time set back": write_and_set_the_time_back,
    "replaced": replace_by_one_of_the_same_times,
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
@pytest.mark.parametrize("whole", ["file", "folder"])
@pytest.mark.parametrize("fresh", [True, False])
def test_an_altered_input_fails_its_step(notebook, rows, monkeypatch, alteration, whole, fresh):
    if not fresh:  # as if it had been hashed long after it was written, so that its looks count
        monkeypatch.setattr(artifacts, "_TOO_FRESH", -(10**18))
    file = rows / "deep/a.csv"
    path = file if whole == "file" else rows
    contents = Contents()
    given = {"rows": Input(path, contents.hash(path), "artifacts/rows", "run again")}
    with unaltered(notebook, given, contents):
        file.read_text()
    with pytest.raises(StepError) as caught, unaltered(notebook, given, contents):
        ALTERATIONS[alteration](file)
    assert caught.value.message == "step.ipynb: its input 'rows' (artifacts/rows) was altered while it ran"
    assert caught.value.hint == "write to an output, or to a copy of the input; run again"
    with (
        pytest.raises(StepError, match=r"its input 'rows' \(artifacts/rows\) was altered before it ran"),
        unaltered(notebook, given, contents),
    ):
        pytest.fail("ran on it")


@pytest.mark.parametrize(
    "touch",
    [
        lambda path: path.chmod(0o444),
        lambda path: os.link(path, path.with_suffix(".link")),
        lambda path: path.touch(),
        lambda path: path.write_text(path.read_text()),
    ],
    ids=["read-only", "linked", "touched", "written as it was"],
)
def test_the_same_content_is_no_alteration(notebook, rows, touch):
    path = rows / "b.csv"
    contents = Contents()
    given = {"rows": Input(path, contents.hash(path), "rows", "")}
    with unaltered(notebook, given, contents):
        touch(path)


def test_what_looks_the_same_is_not_read_again(notebook, rows, monkeypatch):
    monkeypatch.setattr(artifacts, "_TOO_FRESH", -(10**18))
    contents = Contents()
    given = {"rows": Input(rows, contents.hash(rows), "rows", "")}
    monkeypatch.setattr(artifacts, "content_hash", lambda path: pytest.fail(f"read {path}"))
    with unaltered(notebook, given, contents):
        pass


def test_a_failure_tells_of_the_altered_input_as_well(notebook, rows):
    path = rows / "b.csv"
    contents = Contents()
    given = {"rows": Input(path, contents.hash(path), "data.csv", "get it back: dvc checkout")}
    with pytest.raises(StepError) as caught, unaltered(notebook, given, contents):
        path.write_text("9")
        raise StepError("cell 3: ValueError", "see there", "failing cell:")
    assert (caught.value.message, caught.value.hint) == ("cell 3: ValueError", "see there")
    assert caught.value.details.splitlines()[0] == "failing cell:"
    assert "its input 'rows' (data.csv) was altered while it ran" in caught.value.details
    assert caught.value.details.endswith("get it back: dvc checkout")


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


SPECIAL: dict[str, tuple[Any, str]] = {
    "a pipe": (os.mkfifo, "is a named pipe"),
    "an endless file": (lambda path: path.symlink_to("/dev/zero"), "is a device"),
    "a socket": (a_socket, "is a socket"),
    "a dangling link": (
        lambda path: path.symlink_to(path.parent / "nothing"),
        "is a link that leads nowhere",
    ),
    "a link to itself": (lambda path: path.symlink_to(path), "is a link that leads nowhere"),
}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("inside", [False, True])
def test_an_output_is_made_of_files_and_folders(notebook, tmp_path, kind, inside):
    make, told = SPECIAL[kind]
    out = tmp_path / "out"
    if inside:
        (out / "deep").mkdir(parents=True)
        (out / "a.csv").write_text("1")
    make(out / "deep/odd" if inside else out)
    with pytest.raises(StepError) as caught:
        check_outputs(notebook, {"out": out})
    where = " holds deep/odd, which " if inside else " "
    assert caught.value.message == f"step.ipynb: its output 'out'{where}{told}"
    assert caught.value.hint


def test_a_folder_does_not_hold_itself(notebook, tmp_path):
    (tmp_path / "out/deep").mkdir(parents=True)
    (tmp_path / "out/deep/up").symlink_to("..")
    with pytest.raises(StepError, match=r"'out' holds a link to a folder that it is in: .*/deep/up"):
        check_outputs(notebook, {"out": tmp_path / "out"})


def test_what_an_output_links_to_becomes_its_own(notebook, tmp_path, rows):
    out = tmp_path / "out"
    (out / "real").mkdir(parents=True)
    (out / "real/c.csv").write_text("5,6\n")
    (out / "file").symlink_to(rows / "b.csv")
    (out / "folder").symlink_to(rows)
    (out / "inner").symlink_to("real")
    (rows / "nested").symlink_to(out / "real")
    os.link(rows / "b.csv", out / "hard")
    before = content_hash(out)
    check_outputs(notebook, {"out": out})
    assert content_hash(out) == before
    assert not [path for path in out.rglob("*") if path.is_symlink()]
    shutil.rmtree(rows)
    assert content_hash(out) == before
    assert (out / "folder/nested/c.csv").read_text() == "5,6\n"


@pytest.mark.parametrize("link", [os.link, lambda source, path: path.symlink_to(source)])
def test_an_output_that_is_a_link_becomes_a_file(notebook, tmp_path, rows, link):
    link(rows / "b.csv", tmp_path / "out")
    check_outputs(notebook, {"out": tmp_path / "out"})
    (rows / "b.csv").write_text("other")
    assert (tmp_path / "out").read_text() == "3,4\n"


def declared(tmp_path: Path, kind: str) -> Any:
    return read_notebook(
        write_notebook(tmp_path / "step.ipynb", f'out: "Output[{kind}]" = "build/out"\n', "1")
    )


def test_a_missing_output_is_told(tmp_path):
    with pytest.raises(StepError, match="did not write its output 'out'"):
        check_outputs(declared(tmp_path, "Dataset"), {"out": tmp_path / "none.csv"})


@pytest.mark.parametrize("text", ["", "[1]", '{"a": {"b": 1}}', "\0", '{"a": null}', '{"a": [1]}', "3"])
def test_metrics_that_are_none_are_told(tmp_path, text):
    (tmp_path / "out").write_text(text)
    with pytest.raises(StepError, match="'out' is not a flat JSON object"):
        check_outputs(declared(tmp_path, "Metrics"), {"out": tmp_path / "out"})


def test_a_folder_is_no_metrics_file(tmp_path):
    with pytest.raises(StepError, match="not a flat JSON object"):
        check_outputs(declared(tmp_path, "Metrics"), {"out": tmp_path})


def test_metrics_are_read(tmp_path):
    (tmp_path / "out").write_text('{"rmse": 2.5, "rows": 3, "kind": "SVR", "converged": true}')
    metrics = check_outputs(declared(tmp_path, "Metrics"), {"out": tmp_path / "out"})
    assert metrics == {"rmse": 2.5, "rows": 3, "kind": "SVR", "converged": True}
