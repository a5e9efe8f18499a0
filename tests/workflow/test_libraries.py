"""Libraries of a project, resolved and installed by uv from a small index of our own."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from nbship import __version__
from nbship.errors import NbshipError, UsageError
from nbship.linting import require_modules
from nbship.templates.project import Wish, nbship_requirement
from nbship.workflow.image import image_tag
from nbship.workflow.init import RECORD, initialize
from nbship.workflow.libraries import add
from nbship.workflow.run import RunRequest, run
from tests.projects import write_notebook, write_project


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    write_wheel(folder, "nbship", __version__)
    write_wheel(folder, "chart", "1.0", "colour>=2")
    write_wheel(folder, "chart", "1.1", "colour>=2")
    write_wheel(folder, "colour", "2.0")
    return folder


def write_wheel(folder, name, version, *requires):
    info = f"{name}-{version}.dist-info"
    about = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    extras = "".join(f"Provides-Extra: {extra}\n" for extra in ("gitlab", "monitor", "s3", "serve", "sql"))
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{info}/METADATA", "\n".join(about) + "\n" + extras)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def root(tmp_path, index, monkeypatch):
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(index.parent / "cache"))
    initialize(tmp_path, Wish(image=True))
    add(tmp_path, [])
    return tmp_path


def pins(root):
    return [line.split()[0] for line in (root / "requirements.lock").read_text().splitlines() if "==" in line]


def test_a_library_goes_to_the_requirements_the_lock_and_the_image(root):
    before = image_tag(root)
    added = add(root, ["chart"], install=False)
    assert added.changed == ("chart 1.1", "colour 2.0")
    assert (root / "requirements.in").read_text().splitlines()[-1] == "chart"
    assert pins(root) == ["chart==1.1", "colour==2.0", f"nbship=={__version__}"]
    assert "--hash=sha256:" in (root / "requirements.lock").read_text()
    assert image_tag(root) != before


def test_one_that_is_there_takes_the_new_bounds(root):
    add(root, ["chart==1.0"], install=False)
    assert add(root, ["Chart>=1.0"], install=False).changed == ()
    assert pins(root)[0] == "chart==1.0"
    assert (root / "requirements.in").read_text().count("hart") == 1
    assert add(root, [], upgrade=True).changed == ("chart 1.1",)


def test_a_project_of_its_own_declares_it_there(root):
    text = '# ours\n[project]\nname = "cars"\nversion = "1"\ndependencies = ["colour"]\n'
    (root / "pyproject.toml").write_text(text)
    assert add(root, ["chart"], install=False).declared == "pyproject.toml"
    after = (root / "pyproject.toml").read_text()
    assert after.startswith("# ours\n") and '"chart"' in after and '"colour"' in after
    assert pins(root) == ["chart==1.1", "colour==2.0", f"nbship=={__version__}"]
    assert not (root / "uv.lock").exists()


@pytest.fixture
def with_uv(root):
    """A project that uv manages: what it pins is in `uv.lock`."""
    for name in ("requirements.in", "requirements.lock", RECORD):
        (root / name).unlink()
    text = '[project]\nname = "cars"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["colour"]\n'
    (root / "pyproject.toml").write_text(text)
    uv_lock(root)
    return root


def uv_lock(root, *options):
    subprocess.run([Path(sys.executable).with_name("uv"), "lock", "--quiet", *options], cwd=root, check=True)


def test_a_project_of_uv_stays_one(with_uv):
    assert "requirements.in" not in initialize(with_uv, Wish(image=True)).written
    added = add(with_uv, ["chart==1.0"], install=False)
    assert (added.declared, added.changed) == (
        "pyproject.toml",
        ("chart 1.0", "colour 2.0", f"nbship {__version__}"),
    )
    groups = tomllib.loads((with_uv / "pyproject.toml").read_text())["dependency-groups"]
    assert groups == {"nbship": [nbship_requirement()]}
    uv_lock(with_uv, "--check")  # as CI of such projects does
    assert not (with_uv / ".venv").exists() and not (with_uv / "requirements.in").exists()
    assert image_tag(with_uv)
    (with_uv / "pyproject.toml").write_text((with_uv / "pyproject.toml").read_text().replace("==1.0", ">=1"))
    assert add(with_uv, [], install=False).changed == ()
    assert add(with_uv, [], upgrade=True).changed == ("chart 1.1",)


def test_a_member_of_a_workspace_keeps_to_the_lock_of_all(with_uv):
    with (with_uv / "pyproject.toml").open("a") as file:
        file.write('[tool.uv.workspace]\nmembers = ["member"]\n')
    member = with_uv / "member"
    member.mkdir()
    (member / "pyproject.toml").write_text(
        '[project]\nname = "member"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["cars"]\n'
        "[tool.uv.sources]\ncars = {workspace = true}\n"
    )
    uv_lock(with_uv)
    add(member, ["chart"], install=False)
    assert pins(member) == ["chart==1.1", "colour==2.0", f"nbship=={__version__}"]
    uv_lock(with_uv, "--check")


def test_without_a_solution_the_lock_of_uv_is_as_it_was(with_uv):
    before = [(with_uv / name).read_text() for name in ("pyproject.toml", "uv.lock")]
    with pytest.raises(NbshipError, match="uv add"):
        add(with_uv, ["chart>=9"], install=False)
    assert [(with_uv / name).read_text() for name in ("pyproject.toml", "uv.lock")] == before
    assert not (with_uv / "requirements.lock").exists()


def test_requirements_from_before_uv_came_are_not_forgotten(root):
    add(root, ["chart==1.0"], install=False)
    (root / "pyproject.toml").write_text(
        '[project]\nname = "cars"\nversion = "1"\nrequires-python = ">=3.11"\n'
    )
    uv_lock(root)
    add(root, ["colour"], install=False)
    assert pins(root) == ["chart==1.0", "colour==2.0", f"nbship=={__version__}"]
    uv_lock(root, "--check")


@pytest.mark.parametrize("settings", ["[tool.ruff]\n", '[project]\nname = "cars"\nversion = "1"\n'])
def test_without_a_solution_nothing_has_changed(root, settings):
    (root / "pyproject.toml").write_text(settings)
    names = ("requirements.in", "requirements.lock", "pyproject.toml")
    before = [(root / name).read_text() for name in names]
    with pytest.raises(NbshipError, match="uv pip compile") as caught:
        add(root, ["chart>=9"], install=False)
    assert "chart" in caught.value.details
    assert [(root / name).read_text() for name in names] == before


def test_what_is_no_library_is_refused(root):
    with pytest.raises(UsageError, match="not a library"):
        add(root, ["two words"])


def test_without_uv_it_says_what_to_install(root, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(NbshipError) as caught:
        add(root, ["chart"])
    assert caught.value.hint == "pip install uv"


def test_it_is_installed_here_as_the_lock_has_it(root, tmp_path_factory, monkeypatch):
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    add(root, ["chart==1.0"], install=False)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.setattr(sys, "executable", str(environment / "bin/python"))
    assert add(root, ["chart"]).installed
    assert {path.name for path in environment.glob("lib/*/site-packages/*.dist-info")} == {
        "chart-1.0.dist-info",
        "colour-2.0.dist-info",
    }


def test_a_notebook_that_imports_what_is_not_installed_is_found_before_anything_runs(tmp_path):
    write_project(tmp_path)
    write_notebook(
        tmp_path / "notebooks/train.ipynb",
        "rows: 'Input[Dataset]' = 'a'\nmodel: 'Output[Model]' = 'b'",
        "\nimport not_there.part, PIL_not, cv2",
    )
    (tmp_path / "pipelines/line.yaml").write_text(
        (tmp_path / "pipelines/line.yaml").read_text().replace(", inputs: {scale: prepare.count}", "")
    )
    with pytest.raises(UsageError) as caught:
        run(tmp_path, RunRequest("line"))
    assert caught.value.message == (
        "notebooks/train.ipynb, cell 3, line 2: imports PIL_not, which is not installed"
    )
    assert caught.value.hint == "nbship add PIL_not not_there opencv-python-headless"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "code",
    [
        "try:\n    import not_there\nexcept ImportError:\n    pass",
        "def draw():\n    import not_there",
        "if fast:\n    import not_there",
        "import not_there  # nbship: ignore[missing-module]",
        "!pip install not_there\nimport not_there",
    ],
)
def test_what_may_never_be_imported_keeps_nothing_from_running(tmp_path, code):
    path = write_notebook(tmp_path / "a.ipynb", "fast: bool = False", code)
    require_modules({"a.ipynb": Path(path)})
