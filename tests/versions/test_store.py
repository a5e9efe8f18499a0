"""The model store: a folder and an S3 server, versions that never change, and what is not installed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbship.errors import NbshipError
from nbship.package import DESCRIPTION, MODEL
from nbship.versions import store
from nbship.versions.store import Store
from tests.repositories import set_remote
from tests.servers import S3_KEYS, Watch, s3_server


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / MODEL).write_bytes(b"model" * 1000)
    (folder / DESCRIPTION).write_bytes(b"{}")
    return folder


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    import s3fs

    with pytest.MonkeyPatch.context() as environment:
        for name, value in S3_KEYS.items():
            environment.setenv(name, value)
        with s3_server(Watch()) as server:
            s3fs.S3FileSystem(endpoint_url=server, skip_instance_cache=True).makedirs("models", exist_ok=True)
            yield server


@pytest.fixture(params=["folder", "file", "s3"])
def opened(
    request: pytest.FixtureRequest, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Store:
    if request.param != "s3":
        prefix = "file://" if request.param == "file" else ""
        return store.open_store(project, f"{prefix}{tmp_path}/store")
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
    for name, value in S3_KEYS.items():
        monkeypatch.setenv(name, value)
    return store.open_store(project, f"s3://models/{request.node.name}")


def test_a_version_is_stored_and_found_again(opened: Store, package: Path) -> None:
    assert store.is_free(opened, "line", "v1.0.0", package)
    assert opened.read("line/v1.0.0/model.json") is None
    address = store.put(opened, "line", "v1.0.0", package)
    assert address == f"{opened.address}/line/v1.0.0"
    assert opened.read(f"line/v1.0.0/{MODEL}") == b"model" * 1000
    assert opened.read(f"line/v1.0.0/{DESCRIPTION}") == b"{}"
    assert store.put(opened, "line", "v1.0.0", package) == address, "the same again"


@pytest.mark.parametrize("name", [MODEL, DESCRIPTION])
def test_a_version_never_changes(opened: Store, package: Path, name: str) -> None:
    store.put(opened, "line", "v2.0.0", package)
    before = opened.read(f"line/v2.0.0/{name}")
    (package / name).write_bytes(b"other")
    assert not store.is_free(opened, "line", "v2.0.0", package)
    with pytest.raises(NbshipError, match=f"the model store has another {name} at .*line/v2.0.0"):
        store.put(opened, "line", "v2.0.0", package)
    assert opened.read(f"line/v2.0.0/{name}") == before


def test_what_was_cut_off_is_finished(opened: Store, package: Path) -> None:
    opened.create(f"line/v3.0.0/{MODEL}", (package / MODEL).read_bytes())
    assert store.is_free(opened, "line", "v3.0.0", package)
    store.put(opened, "line", "v3.0.0", package)
    assert opened.read(f"line/v3.0.0/{DESCRIPTION}") == b"{}"


def test_only_one_of_many_creates_a_file(opened: Store) -> None:
    barrier = threading.Barrier(4)

    def create(number: int) -> None:
        barrier.wait()
        opened.create("line/v4.0.0/model.json", str(number).encode() * 10_000)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = opened.read("line/v4.0.0/model.json")
    assert content in [str(number).encode() * 10_000 for number in range(4)]
    opened.create("line/v4.0.0/model.json", b"later")
    assert opened.read("line/v4.0.0/model.json") == content


def test_a_folder_of_the_project(project: Path, package: Path) -> None:
    store.put(store.open_store(project, "../store"), "line", "v1.0.0", package)
    stored = project.parent / "store/line"
    assert sorted(path.name for path in stored.rglob("*")) == [MODEL, DESCRIPTION, "v1.0.0"]


def test_a_folder_that_cannot_be_made(project: Path, package: Path) -> None:
    (project / "store").write_text("a file is in its place")
    with pytest.raises(NbshipError, match=r"the model store .*/store failed: .*Not a directory"):
        store.put(store.open_store(project, "store"), "line", "v1.0.0", package)


def test_the_settings_of_the_dvc_remote_hold_for_a_store_of_its_kind(
    project: Path, package: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = f"endpointurl = {s3}\n    access_key_id = AKIAHUNTER2\n    secret_access_key = hunter2"
    set_remote(project, f"s3://elsewhere/dvc\n    {settings}")
    opened = store.open_store(project, "s3://models/prefix/")
    assert store.put(opened, "line", "v1.0.0", package) == "s3://models/prefix/line/v1.0.0"


def test_a_bucket_that_is_not_there(
    project: Path, package: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    for name, value in S3_KEYS.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NbshipError, match=r"the model store s3://nowhere/.* failed: .*bucket") as failure:
        store.put(store.open_store(project, "s3://nowhere"), "line", "v1.0.0", package)
    assert "hunter2" not in str(failure.value.__dict__)


def test_an_address_that_is_not_understood(project: Path) -> None:
    with pytest.raises(NbshipError, match="nosuch://models cannot be opened") as failure:
        store.open_store(project, "nosuch://models")
    assert failure.value.hint == "an address begins with s3://, gs:// …, or is a folder"


def test_without_the_extra(project: Path) -> None:
    """In a process of its own, in which DVC's S3 filesystem cannot be imported."""
    script = (
        "import sys; sys.modules['dvc_s3'] = None\n"
        "from pathlib import Path; from nbship.errors import NbshipError\n"
        "from nbship.versions.store import open_store\n"
        "try: open_store(Path(sys.argv[1]), 's3://models')\n"
        "except NbshipError as error: print(error.hint)\n"
    )
    command = [sys.executable, "-c", script, str(project)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "install it: pip install 'nbship[s3]'\n"


@pytest.mark.parametrize("key", ["hush", "hu/sh", "12/34+=="])
def test_an_address_with_keys_in_it_is_refused_and_not_shown(tmp_path: Path, key: str) -> None:
    with pytest.raises(NbshipError, match="holds credentials: s3://models/cars") as failed:
        store.open_store(tmp_path, f"s3://AKIA:{key}@models/cars")
    assert "AWS_ACCESS_KEY_ID" in failed.value.hint


def test_an_address_may_name_a_user(project: Path) -> None:
    """It is as far as the library that this kind of store needs, which tests do without."""
    with pytest.raises(NbshipError, match="ssh://ada@host/models cannot be opened: ssh is supported"):
        store.open_store(project, "ssh://ada@host/models")
