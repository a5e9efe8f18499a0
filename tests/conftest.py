"""Projects to test in: a folder with Git and DVC, that nothing of the user's own settings reaches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.repositories import git, set_remote

ROOT = Path(__file__).parent.parent
# Whose tests start kernels, servers and other programs, or fit models: rooms, and modules of others.
PROCESSES = (
    *("ci", "cli", "cluster", "e2e", "kernels", "kubeflow", "notebooks", "package", "serving", "versions"),
    *("workflow", "local/test_execute.py", "local/test_html.py", "local/test_runner.py"),
    *(
        "templates",
        "chatops/test_receiver_process.py",
        "chatops/test_queue.py",
        "own_code/test_own_code.py",
        "test_threads.py",
        "test_setup.py",
    ),
    *(
        "test_benchmarks.py",
        "test_benchmarks_gate.py",
        "test_benchmarks_lint.py",
        "test_benchmarks_serving.py",
    ),
)

# A busy machine may hold up any example; pytest's timeout ends what hangs.
settings.register_profile("nbship", deadline=None)
settings.load_profile("nbship")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = [ROOT / "tests" / name for name in PROCESSES]
    for item in items:
        if any(item.path.is_relative_to(place) for place in places):
            item.add_marker("processes")
    # The longest files first, so that no process is left with one of them when the others are done.
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.fixture(autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path_factory.getbasetemp() / "settings"
    settings.mkdir(exist_ok=True)
    identity = "[user]\n\tname = Ada Lovelace\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n"
    (settings / "gitconfig").write_text(identity)
    # A Git hook that runs the tests sets variables that would lead into the repository it guards.
    for variable in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for variable in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"):
        monkeypatch.setenv(variable, str(settings / variable.lower()))


@pytest.fixture
def folder_without_git(tmp_path: Path) -> Path:
    """A project under DVC, but not in a Git repository."""
    root = tmp_path / "project"
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes((ROOT / name).read_bytes())
    (root / "pipelines").mkdir()
    (root / ".gitignore").write_text(
        "/data.csv\n/models/*/model.joblib\n/models/*/model.onnx\n/models/*/trained_rows.npz\n"
        "/models/*/reference.json\n/runs/\n/.nbship/\n"
    )
    return root


@pytest.fixture
def project(folder_without_git: Path) -> Path:
    """A project under Git and DVC, with a first commit."""
    root = folder_without_git
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Begin")
    return root


@pytest.fixture
def remote(project: Path, tmp_path: Path) -> Path:
    """A folder that is the project's default DVC remote, as a user sets it up for himself alone."""
    folder = tmp_path / "remote"
    folder.mkdir()
    set_remote(project, str(folder))
    return folder
