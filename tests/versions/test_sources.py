"""Sources of every kind, over real files, archives, an HTTP server and a database."""

from __future__ import annotations

import io
import resource
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from nbship.config import FileSource, PackageSource, SqlSource, UrlSource
from nbship.errors import NbshipError, UsageError
from nbship.versions import sources
from tests.repositories import md5
from tests.servers import http_server

CONTENT = b"x,y\n1,2\n"
Answers = list[tuple[int, dict[str, str], bytes]]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "here" / "data.csv"


@pytest.fixture
def answers() -> Answers:
    """What the server says, one after another; the last one for good."""
    return [(200, {}, CONTENT)]


@pytest.fixture
def server(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    monkeypatch.setattr(sources, "_PAUSES", (0.0, 0.0))
    with http_server(Handler) as address:
        yield address


def left_behind(target: Path) -> list[Path]:
    return list(target.parent.glob("*"))


def test_file_relative_to_the_project_and_absolute(tmp_path: Path, target: Path) -> None:
    (tmp_path / "original.csv").write_bytes(CONTENT)
    for written in ("original.csv", str(tmp_path / "original.csv")):
        sources.fetch(FileSource(file=written), target, tmp_path)
        assert target.read_bytes() == CONTENT
        target.unlink()


def test_missing_file_keeps_the_old_one(tmp_path: Path, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    with pytest.raises(NbshipError, match=r"gone\.csv: No such file"):
        sources.fetch(FileSource(file="gone.csv"), target, tmp_path)
    assert target.read_bytes() == b"old"
    assert left_behind(target) == [target]


def test_url(server: str, target: Path, tmp_path: Path) -> None:
    sources.fetch(UrlSource(url=f"{server}/data.csv"), target, tmp_path)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "first", [(503, {}, b"later"), (200, {"Content-Length": "100"}, b"cut off")], ids=["busy", "cut off"]
)
def test_url_is_tried_again(
    server: str, target: Path, tmp_path: Path, answers: Answers, first: tuple[int, dict[str, str], bytes]
) -> None:
    answers.insert(0, first)
    sources.fetch(UrlSource(url=f"{server}/data.csv"), target, tmp_path)
    assert target.read_bytes() == CONTENT


def test_url_without_the_file_is_not_tried_again(
    server: str, target: Path, tmp_path: Path, answers: Answers
) -> None:
    answers.insert(0, (404, {}, b"no"))
    secret = server.replace("http://", "http://ada:hunter2@")
    with pytest.raises(NbshipError, match="the server answers 404") as failure:
        sources.fetch(UrlSource(url=f"{server}/data.csv?token=hunter2"), target, tmp_path)
    assert "hunter2" not in str(failure.value) + sources.describe(UrlSource(url=f"{secret}/x?token=hunter2"))
    assert left_behind(target) == []


def test_url_that_stays_away(server: str, target: Path, tmp_path: Path, answers: Answers) -> None:
    answers[:] = [(503, {}, b"")]
    with pytest.raises(NbshipError, match="no answer after 3 attempts: 503"):
        sources.fetch(UrlSource(url=f"{server}/data.csv"), target, tmp_path)


def test_url_of_a_server_that_is_not_there(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_PAUSES", (0.0,))
    with pytest.raises(NbshipError, match=r"no answer after 2 attempts: .*refused"):
        sources.fetch(UrlSource(url="http://127.0.0.1:9/data.csv"), target, tmp_path)


def test_url_must_be_of_the_web(target: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not an http or https address"):
        sources.fetch(UrlSource(url="file:///etc/hostname"), target, tmp_path)


def make_wheel(folder: Path, version: str = "1.0") -> None:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"samples-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("samples/_data/table.csv", CONTENT)
        wheel.writestr("samples/__init__.py", "raise SystemExit('a package is never imported')")
        information = f"samples-{version}.dist-info"
        wheel.writestr(
            f"{information}/METADATA", f"Metadata-Version: 2.1\nName: samples\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{information}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip knows of; set as a user sets it, through pip's own configuration."""
    folder = tmp_path / "wheels"
    make_wheel(folder)
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\nno-index = true\nfind-links = {folder}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return folder


def test_package(index: Path, target: Path, tmp_path: Path) -> None:
    source = PackageSource(package="samples", version="1.0", file="samples/_data/table.csv")
    sources.fetch(source, target, tmp_path)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("package", "version", "message", "hint"),
    [
        ("samples", "9.9", "package samples has no version 9.9", "pipeline file"),
        ("simples", "1.0", "pip could not download simples 1.0", "network"),
        ("--pre samples", "1.0", "is not a package", "as pip does"),
    ],
)
def test_package_that_is_not_there(
    index: Path, target: Path, tmp_path: Path, package: str, version: str, message: str, hint: str
) -> None:
    with pytest.raises(NbshipError, match=message) as failure:
        sources.fetch(PackageSource(package=package, version=version, file="table.csv"), target, tmp_path)
    assert hint in failure.value.hint
    assert left_behind(target) == []


def test_package_without_the_file(index: Path, target: Path, tmp_path: Path) -> None:
    source = PackageSource(package="samples", version="1.0", file="samples/table.csv")
    with pytest.raises(NbshipError, match=r"holds no file samples/table\.csv") as failure:
        sources.fetch(source, target, tmp_path)
    assert failure.value.hint == "did you mean 'samples/_data/table.csv'?"


def test_member_of_a_source_distribution(tmp_path: Path) -> None:
    archive = tmp_path / "samples-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as distribution:
        for name in ("samples-1.0/src/samples/table.csv", "samples-1.0/samples/table.csv.txt"):
            info = tarfile.TarInfo(name)
            info.size = len(CONTENT)
            distribution.addfile(info, io.BytesIO(CONTENT))
    with sources._open_member(archive, "samples/table.csv") as member:
        assert member.read() == CONTENT


def test_damaged_archive(tmp_path: Path) -> None:
    for name in ("samples-1.0.tar.gz", "samples-1.0-py3-none-any.whl"):
        (tmp_path / name).write_bytes(b"no archive")
        with pytest.raises(NbshipError, match="damaged"), sources._open_member(tmp_path / name, "table.csv"):
            pass


def test_the_package_that_holds_the_table_of_cars(target: Path, tmp_path: Path) -> None:
    """The one test that asks the package index that this machine uses."""
    source = PackageSource(
        package="bokeh_sampledata", version="2026.1", file="bokeh_sampledata/_data/auto-mpg.csv"
    )
    try:
        sources.fetch(source, target, tmp_path)
    except NbshipError as error:
        if "network" in error.hint:
            pytest.skip(f"no package index can be reached: {error.details}")
        raise
    assert md5(target.read_bytes()) == "b6cb4ea6a069a5a588596dd9e12de293"


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("sqlalchemy")
    path = tmp_path / "cars.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table cars (name text, mpg real, photo blob, built date)")
        rows = [("fiat, 128", 29.5, b"\x01\xff", "1974-05-01"), ("ford", None, None, None)]
        connection.executemany("insert into cars values (?, ?, ?, ?)", rows)
    monkeypatch.setenv("CARS_DATABASE", f"sqlite:///{path}")
    return "CARS_DATABASE"


def test_sql(database: str, target: Path, tmp_path: Path) -> None:
    query = "select *, '50%:x' as note from cars order by mpg desc"
    sources.fetch(SqlSource(sql=query, connection=database), target, tmp_path)
    assert target.read_text() == (
        'name,mpg,photo,built,note\n"fiat, 128",29.5,01ff,1974-05-01,50%:x\nford,,,,50%:x\n'
    )


def test_sql_that_fails(database: str, target: Path, tmp_path: Path) -> None:
    with pytest.raises(NbshipError, match="CARS_DATABASE failed: no such table: trucks"):
        sources.fetch(SqlSource(sql="select * from trucks", connection=database), target, tmp_path)
    assert left_behind(target) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, "CARS_DATABASE is not set"),
        ("hunter2", "no SQLAlchemy URL"),
        ("nosql://ada:hunter2@host/cars", "nosql"),
        ("mysql+pymysql://ada:hunter2@host/cars", "pymysql"),
    ],
)
def test_sql_connection_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, target: Path, tmp_path: Path, url: str | None, message: str
) -> None:
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("CARS_DATABASE", raising=False)
    if url:
        monkeypatch.setenv("CARS_DATABASE", url)
    with pytest.raises(NbshipError, match=message) as failure:
        sources.fetch(SqlSource(sql="select 1", connection="CARS_DATABASE"), target, tmp_path)
    assert "hunter2" not in failure.value.message + failure.value.hint + failure.value.details


def test_sql_without_the_extra(target: Path, tmp_path: Path) -> None:
    """In a process of its own, in which SQLAlchemy cannot be imported."""
    script = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "from pathlib import Path; from nbship.config import SqlSource\n"
        "from nbship.errors import NbshipError\n"
        "from nbship.versions.sources import fetch\n"
        "try: fetch(SqlSource(sql='select 1', connection='X'), Path(sys.argv[1]), Path())\n"
        "except NbshipError as error: print(error.hint)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, target], capture_output=True, text=True, check=True
    )
    assert result.stdout == "install it: pip install 'nbship[sql]'\n"


def test_a_disk_that_is_full(tmp_path: Path, target: Path) -> None:
    """A limit on the size of files fails a write as a full disk does, in the middle of the file."""
    (tmp_path / "original.csv").write_bytes(b"x" * 100_000)
    target.parent.mkdir()
    target.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(NbshipError, match=r"data\.csv: File too large"):
            sources.fetch(FileSource(file="original.csv"), target, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert target.read_bytes() == b"old"
    assert left_behind(target) == [target]
