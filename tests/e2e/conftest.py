"""Remotes to publish to: folders beside the project, Git over HTTP, and S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.publishing import origin_of, push
from tests.repositories import git, set_remote
from tests.runs import make_run, model_hash
from tests.servers import S3_KEYS, TOKEN, Watch, git_server, s3_server


@pytest.fixture
def shared(project: Path, tmp_path: Path) -> Path:
    """A project whose remotes are folders beside it; the paths are relative, so that it can be copied."""
    origin = tmp_path / "origin.git"
    git(tmp_path, "init", "--quiet", "--bare", str(origin))
    git(origin, "config", "receive.advertisePushOptions", "true")
    (project / ".gitignore").write_text((project / ".gitignore").read_text() + "/.dvc/config.local\n")
    git(project, "commit", "--quiet", "--all", "--message", "Ignore")
    git(project, "remote", "add", "origin", "../origin.git")
    git(project, "push", "--quiet", "--set-upstream", "origin", "main")
    (tmp_path / "dvc").mkdir()
    set_remote(project, "../../dvc")
    return project


@pytest.fixture
def judged(shared: Path) -> Path:
    """A project with a champion that everybody has, and a run that was judged against it and passed."""
    first = make_run(shared, "20250101-000000-aaaa")
    push(shared)
    make_run(shared, "20250102-000000-bbbb", slope=3.0, champion=model_hash(first))
    return shared


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def over_http(judged: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The project's remote is reached over HTTP, with the token of the environment."""
    with git_server(judged.parent, watch) as server:
        address = server.replace("http://", "http://gitlab-ci-token:job-hunter2@")
        git(judged, "remote", "set-url", "origin", f"{address}/origin.git")
        git(origin_of(judged), "config", "http.receivepack", "true")
        monkeypatch.setenv("NBSHIP_GIT_TOKEN", TOKEN)
        yield server


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, watch: Watch) -> Iterator[str]:
    """The address of an S3 server with the bucket `models`; the keys come from the environment."""
    import s3fs

    for name, value in S3_KEYS.items():
        monkeypatch.setenv(name, value)
    with s3_server(watch) as server:
        s3fs.S3FileSystem(endpoint_url=server, skip_instance_cache=True).makedirs("models", exist_ok=True)
        yield server
