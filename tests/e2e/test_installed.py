"""nbship as `pip install` gives it: the wheel alone, in an environment and a folder of their own."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import sysconfig
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from nbship.serving.server import free_port
from tests.repositories import git

pytestmark = pytest.mark.e2e
HERE = Path(__file__).parents[2]
DEADLINE = 60.0


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, and the wheel that is made from it."""
    folder = tmp_path_factory.mktemp("built")
    build(HERE, folder, "sdist")
    (source,) = folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    build(folder / source.name.removesuffix(".tar.gz"), folder, "wheel")
    return folder


def build(root: Path, folder: Path, target: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment: the wheel, and the dependencies of this environment."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (wheel,) = built.glob("*.whl")
    python = environment / "bin/python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    # Another environment's links to folders, as this nbship's, are not followed from there.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (environment / "share/jupyter/nbconvert").symlink_to(Path(sys.prefix) / "share/jupyter/nbconvert")
    where = [str(python), "-c", "import nbship; print(nbship.__file__)"]
    assert subprocess.run(where, capture_output=True, text=True).stdout.startswith(str(environment))
    return environment / "bin"


def call(program: Path, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [program, *arguments],
        cwd=folder,
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write_table(path: Path) -> None:
    """Bikes that were rented: more of them when it is warm and no work day."""
    chance = random.Random(0)  # noqa: S311
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["temperature", "workday", "weather", "rentals"])
        for _ in range(300):
            warmth, work = round(chance.uniform(-5, 30), 1), chance.random() < 0.7
            sky = chance.choice(["clear", "mist", "rain"])
            rentals = 90 + 9 * warmth - 60 * work - 50 * (sky == "rain") + chance.gauss(0, 12)
            table.writerow([warmth, "yes" if work else "no", sky, round(rentals)])


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "Bike Sharing"
    folder.mkdir()
    write_table(tmp_path / "bikes.csv")
    return folder


def test_from_an_empty_folder_to_an_answered_prediction(installed: Path, asked: Path) -> None:
    nbship = installed / "nbship"
    call(nbship, asked, "init", "--yes")
    call(nbship, asked, "new", "bikes", "--data", "../bikes.csv", "--target", "rentals")
    call(nbship, asked, "run", "bikes")
    call(nbship, asked, "publish", "bikes")
    call(nbship, asked, "compile", "bikes")
    assert "no findings" in call(nbship, asked, "lint")
    with_answer(nbship, asked)
    git(asked, "add", "--all")
    committed = set(git(asked, "ls-files").splitlines())
    assert committed == {
        ".dvc/.gitignore",
        ".dvc/config",
        ".dvcignore",
        ".gitignore",
        ".nbship-init.yaml",
        "data/.gitignore",
        "data/bikes.csv.dvc",
        "models/bikes/model.joblib.dvc",
        "models/bikes/model.json",
        "nbship.yaml",
        *(f"notebooks/bikes/{name}.ipynb" for name in ("experiment", "prepare", "train")),
        *(f"notebooks/shared/{name}.ipynb" for name in ("compare-recipes", "evaluate-regression")),
        "pipelines/bikes.yaml",
        "pipelines/compiled/bikes.yaml",
        "pipelines/project-schema.json",
        "pipelines/schema.json",
    }


def with_answer(nbship: Path, folder: Path) -> None:
    """Serves the champion, asks it, and ends it."""
    port = free_port("127.0.0.1")
    process = subprocess.Popen([nbship, "serve", "bikes", "--port", str(port)], cwd=folder)
    record = {"temperature": 20, "workday": "no", "weather": "clear"}
    try:
        (rentals,) = answer(f"http://127.0.0.1:{port}/v1/models/bikes:predict", record, process)
    finally:
        process.terminate()
        process.wait(30)
    assert 200 < rentals < 340


def answer(address: str, record: dict[str, object], process: subprocess.Popen[bytes]) -> list[float]:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end and process.poll() is None:
        try:
            answered = requests.post(address, json={"instances": [record]}, timeout=10)
            answered.raise_for_status()
            return list(answered.json()["predictions"])
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


def test_jupyter_knows_the_kernel(installed: Path, tmp_path: Path) -> None:
    listed = call(
        installed / "python",
        tmp_path,
        "-m",
        "jupyter_client.kernelspecapp",
        "list",
        "--json",
        "--log-level=50",
    )
    folder = json.loads(listed)["kernelspecs"]["nbship"]["resource_dir"]
    assert Path(folder) == installed.parent / "share/jupyter/kernels/nbship"


# Settings with secrets lie in this folder; what leads out of `src` must be followed.
def test_the_distributions_hold_all_that_is_needed_and_nothing_else(built: Path) -> None:
    (source,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")
    with tarfile.open(source) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert not [
        name
        for name in names
        if not name.startswith("src/nbship/")
        and name not in ("CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml", ".gitignore")
    ]
    package = HERE / "src/nbship"
    ours = {
        f"nbship/{Path(folder, name).relative_to(package).as_posix()}"
        for folder, _, files in os.walk(package, followlinks=True)
        for name in files
        if not name.endswith(".pyc")
    }
    assert ours <= set(zipfile.ZipFile(wheel).namelist())
