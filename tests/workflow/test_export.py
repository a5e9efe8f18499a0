"""Models in the form of other tools: a Bento that a real BentoML serves and builds, an image for KServe."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from nbship.config import Publish
from nbship.errors import NbshipError, UsageError
from nbship.package import Package, read_package
from nbship.serving.server import free_port
from nbship.workflow.export import export
from nbship.workflow.publish import publish
from tests.runs import NAME, make_pipeline, make_run, model_hash

_ATTEMPTS = 600


@pytest.fixture
def published(project: Path) -> Path:
    first = make_run(project, "20250101-000000-aaaa")
    publish(project, make_pipeline(), commit=True)
    make_run(project, "20250102-000000-bbbb", slope=3.0, champion=model_hash(first))
    publish(project, make_pipeline(), commit=True)
    return project


def test_an_image_for_kserve_has_the_package_alone(published: Path, tmp_path: Path) -> None:
    written = export(published, make_pipeline(), "oci", tmp_path / "image")
    assert (written.version, written.next_command) == (
        "v1.1.0",
        "docker build --tag REGISTRY/line:v1.1.0 .",
    )
    assert read_package(tmp_path / "image/models").origin.run == "20250102-000000-bbbb"
    lines = (tmp_path / "image/Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith(("FROM", "COPY", "USER"))] == [
        "FROM busybox:1.37",
        "COPY --chmod=444 models /models",
        "USER 1000",
    ]


def test_an_older_version_comes_from_dvc(published: Path, tmp_path: Path) -> None:
    written = export(published, make_pipeline(), "oci", tmp_path / "image", "v1.0.0")
    assert written.version == "v1.0.0"
    assert read_package(tmp_path / "image/models").origin.run == "20250101-000000-aaaa"


def test_what_cannot_be_written_is_told(published: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(UsageError, match="is not empty"):
        export(published, make_pipeline(), "bento", tmp_path / "full")
    with pytest.raises(UsageError, match=r"has no version 'v1\.1'"):
        export(published, make_pipeline(), "bento", tmp_path / "new", "v1.1")
    shutil.rmtree(published / ".dvc/cache")
    with pytest.raises(NbshipError, match=r"neither DVC nor a model store has line v1\.0\.0"):
        export(published, make_pipeline(), "bento", tmp_path / "new", "v1.0.0")
    pipeline = make_pipeline(publish=Publish(target="y", store=str(tmp_path / "store")))
    with pytest.raises(NbshipError, match=r"neither DVC nor a model store has line v1\.0\.0"):
        export(published, pipeline, "bento", tmp_path / "new", "v1.0.0")
    assert not (tmp_path / "new").exists()


@pytest.mark.e2e
def test_a_bento_answers_as_nbship_does_and_is_built(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    folder = tmp_path / "bento"
    export(published, make_pipeline(), "bento", folder)
    package = read_package(folder / "model")
    with served(folder, tmp_path / "log") as address:
        check(address, package)
    assert "line:" in bentoml(folder, "build", "--output", "tag")
    (built,) = (tmp_path / "home/bentos/line").glob("*/env/docker/Dockerfile")
    described = (built.parents[2] / "bento.yaml").read_text()
    assert package.sha256[:12] in described
    assert (built.parents[2] / "src/model/model.json").is_file()


def check(address: str, package: Package) -> None:
    """The answers, refusals and page of nbship's own server."""
    predict = f"{address}/v1/models/{NAME}:predict"
    answer = requests.post(predict, json={"instances": [g.record for g in package.golden]}, timeout=60)
    assert answer.json()["predictions"] == pytest.approx([g.prediction for g in package.golden])
    refused = requests.post(predict, json={"instances": [{"x": "many"}]}, timeout=60)
    assert refused.status_code == 422
    assert "'x'" in refused.text or '"x"' in refused.text
    page = requests.get(address, headers={"Accept": "text/html"}, timeout=60)
    assert "<html" in page.text
    metadata: dict[str, Any] = requests.get(f"{address}/v2/models/{NAME}", timeout=60).json()
    assert metadata["versions"] == ["v1.1.0"]


@contextlib.contextmanager
def served(folder: Path, log: Path) -> Iterator[str]:
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output, start_new_session=True, env=dict(os.environ)
        )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(_ATTEMPTS):
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{address}/readyz", timeout=5).ok:
                    break
            time.sleep(0.1)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def bentoml(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "bentoml", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_settings_are_yaml_that_is_json(published: Path, tmp_path: Path) -> None:
    export(published, make_pipeline(), "bento", tmp_path / "bento")
    settings = json.loads((tmp_path / "bento/bentofile.yaml").read_text())
    assert settings["service"] == "service:Model"
    requirements = (tmp_path / "bento/requirements.txt").read_text().splitlines()
    assert requirements[0].startswith("nbship[serve]==")
    assert any(line.startswith("scikit-learn==") for line in requirements)
