"""What the cache knows a step by, and that nothing half-written, missing or altered is ever served."""

from __future__ import annotations

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbship.config import load_pipeline
from nbship.files import content_hash
from nbship.graph import read_graph
from nbship.local import cache
from nbship.own_code import step_code
from tests.engine import NAME, TRAIN, TRAIN_CODE, write_points
from tests.projects import write_notebook

KEY = "ab" * 32


def key(root: Path, *overrides: str, **changes: Any) -> str:
    """The key of the step `train`."""
    graph = read_graph(root, load_pipeline(root, NAME, overrides))
    step = graph.steps["train"]
    given = {"inputs": {"rows": "1"}, "values": step.parameters, "names": {"rows": "rows.csv"}, "lock": "2"}
    return cache.step_key(
        step, **{"code": cache.code_hash(root, step, step_code(root, graph, step).files), **given, **changes}
    )


@pytest.fixture
def root(tmp_path):
    return write_points(tmp_path)


@pytest.fixture
def notebook(root):
    return root / "notebooks/train.ipynb"


def edit(notebook: Path, change: Any) -> None:
    content = json.loads(notebook.read_text())
    change(content)
    notebook.write_text(json.dumps(content, indent=3))


@pytest.mark.parametrize(
    "change",
    [
        lambda nb: nb["cells"][2].update(outputs=[], execution_count=99),
        lambda nb: nb["cells"][2].update(id="another"),
        lambda nb: nb["cells"][2].update(metadata={"collapsed": False, "scrolled": True}),
        lambda nb: nb["metadata"].update(kernelspec={"name": "mine"}, language_info={"version": "3.99"}),
        lambda nb: nb["cells"][0].update(source="# Another heading\n\nOther words."),
        lambda nb: nb["cells"].append({"cell_type": "markdown", "id": "m", "metadata": {}, "source": "hi"}),
        lambda nb: nb["cells"][2].update(source=nb["cells"][2]["source"].splitlines(keepends=True)),
    ],
    ids=["outputs", "id", "metadata", "kernel", "heading", "markdown", "list of lines"],
)
def test_what_changes_no_result_changes_no_key(root, notebook, change):
    before = key(root)
    edit(notebook, change)
    assert key(root) == before


def test_neither_place_nor_time_changes_the_key(root, tmp_path_factory):
    before = key(root)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(root, elsewhere)
    assert key(elsewhere) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda nb: nb["cells"][2].update(source=TRAIN_CODE + "\n# a remark"),
        lambda nb: nb["cells"][1].update(source=TRAIN.replace("slope: float = 2.0", "slope: float = 2.1")),
        lambda nb: nb["cells"][1].update(source=TRAIN + "extra: int = 0\n"),
        lambda nb: nb["cells"][1].update(source=TRAIN.replace("Output[Model]", "Output[Artifact]")),
        lambda nb: nb["cells"].append({**nb["cells"][2], "id": "more", "source": "1"}),
    ],
    ids=["code", "default", "parameter", "type", "cell"],
)
def test_what_the_notebook_says_changes_the_key(root, notebook, change):
    before = key(root)
    edit(notebook, change)
    assert key(root) != before


@pytest.mark.parametrize(
    "override",
    [
        "train.slope=3",
        "steps.train.memory=2Gi",
        "steps.train.cpu=2",
        "steps.train.timeout=9",
        "steps.train.image=other:1",
        "steps.train.retries=2",
    ],
)
def test_what_the_pipeline_file_says_of_the_step_changes_the_key(root, override):
    assert key(root, override) != key(root)


def test_what_it_says_of_other_steps_does_not(root):
    assert key(root, "steps.prepare.memory=2Gi", "gate.tolerance=0.5", "description=other") == key(root)


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": {"rows": "other"}},
        {"lock": "other"},
        {"values": {"slope": 1e-9}},
        {"names": {"rows": "rows.csv.gz"}},
    ],
)
def test_what_it_is_given_changes_the_key(root, change):
    assert key(root, **change) != key(root)


def test_the_projects_modules_and_files_that_a_step_uses_are_its_code(root):
    code = "from tools import fit\nopen('lookup.json')\n" + TRAIN_CODE
    write_notebook(root / "notebooks/train.ipynb", TRAIN, code)
    keys = [key(root)]
    for name, text in [
        ("tools/__init__.py", "from .fit import fit"),
        ("tools/fit.py", "fit = 1"),
        ("tools/fit.py", "fit = 2"),
        ("tools/fit.py", "from cars.slope import fit"),
        ("../src/cars/slope.py", "fit = 2"),
        ("lookup.json", "{}"),
        ("lookup.json", "[]"),
    ]:
        path = root / "notebooks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        keys.append(key(root))
    assert len(set(keys)) == 8
    (root / "notebooks/unrelated.py").write_text("fit = 3")
    assert key(root) == keys[-1]


@pytest.mark.parametrize(("version", "is_same"), [((3, 99, 0), False), ((*sys.version_info[:2], 99), True)])
def test_another_python_counts_and_a_patch_of_it_does_not(root, monkeypatch, version, is_same):
    before = key(root)
    monkeypatch.setattr(sys, "version_info", version)
    assert (key(root) == before) is is_same


def test_without_a_lock_file_the_installed_packages_count(root):
    with_lock = cache.environment_hash(root)
    (root / cache.LOCK).unlink()
    without = cache.environment_hash(root)
    assert without != with_lock
    assert without == cache.environment_hash(root)


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "run"
    (folder / "artifacts/train/chart").mkdir(parents=True)
    (folder / "artifacts/train/model.json").write_text("2")
    (folder / "artifacts/train/chart/a.txt").write_text("a chart")
    (folder / "notebooks").mkdir()
    (folder / "notebooks/train.ipynb").write_text("{}")
    (folder / "notebooks/train.html").write_text("<p>")
    return folder


@pytest.fixture
def entry(run_folder):
    def stored(path: str) -> cache.Stored:
        return cache.Stored(hash=content_hash(run_folder / path), path=path)

    outputs = {"model": stored("artifacts/train/model.json"), "chart": stored("artifacts/train/chart")}
    return cache.Entry(
        outputs=outputs,
        notebook=stored("notebooks/train.ipynb"),
        html=stored("notebooks/train.html"),
        metrics={"rmse": 2.5},
        results={"count": 3},
        cells=4,
        seconds=1.5,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_was_kept_comes_back(tmp_path, run_folder, entry):
    cache.store(tmp_path, KEY, entry, run_folder)
    assert cache.look_up(tmp_path, KEY) == entry
    cache.restore(tmp_path, entry, tmp_path / "next")
    assert contents(tmp_path / "next") == contents(run_folder)


def test_a_restored_notebook_can_be_saved_without_harm(tmp_path, run_folder, entry):
    cache.store(tmp_path, KEY, entry, run_folder)
    for folder in (run_folder, tmp_path / "next"):
        cache.restore(tmp_path, entry, folder)
        (folder / "notebooks/train.ipynb").write_text("edited")
    assert cache.look_up(tmp_path, KEY) == entry


def test_what_another_step_made_has_this_ones_places(entry):
    own = cache.for_step(entry, "other")
    for found, kept in ((own.notebook, entry.notebook), (own.html, entry.html)):
        assert (found.hash, Path(found.path)) == (kept.hash, Path("notebooks/other" + Path(kept.path).suffix))
    assert {name: (stored.hash, stored.path) for name, stored in own.outputs.items()} == {
        name: (stored.hash, f"artifacts/other/{Path(stored.path).name}")
        for name, stored in entry.outputs.items()
    }


def test_an_unknown_key_is_a_miss(tmp_path):
    assert cache.look_up(tmp_path, KEY) is None


@pytest.mark.parametrize("output", ["model", "chart", "notebook", "html"])
@pytest.mark.parametrize("damage", ["missing", "altered", "emptied"])
def test_damaged_content_is_a_miss_and_heals(tmp_path, run_folder, entry, output, damage):
    cache.store(tmp_path, KEY, entry, run_folder)
    digest = {**entry.outputs, "notebook": entry.notebook, "html": entry.html}[output].hash
    kept = tmp_path / cache.CACHE / "objects" / digest[:2] / digest[2:]
    file = kept / "a.txt" if kept.is_dir() else kept
    file.unlink()
    if damage != "missing":
        file.write_text("altered" if damage == "altered" else "")
    assert cache.look_up(tmp_path, KEY) is None
    shutil.copytree(run_folder, tmp_path / "again")
    cache.store(tmp_path, KEY, entry, tmp_path / "again")
    assert cache.look_up(tmp_path, KEY) == entry


@given(position=st.integers(0, 10_000), byte=st.integers(0, 255))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
def test_an_entry_with_any_byte_altered_is_a_miss(tmp_path, run_folder, entry, position, byte):
    cache.store(tmp_path, KEY, entry, run_folder)
    path = tmp_path / cache.CACHE / "steps" / f"{KEY}.json"
    whole = path.read_bytes()
    position %= len(whole)
    altered = whole[:position] + bytes([byte]) + whole[position + 1 :]
    path.write_bytes(altered)
    assert (cache.look_up(tmp_path, KEY) is None) == (altered != whole)


@pytest.mark.parametrize("content", ["", "\n", "{}", "null", "x" * 100])
def test_an_entry_that_is_none_is_a_miss(tmp_path, content):
    path = tmp_path / cache.CACHE / "steps" / f"{KEY}.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert cache.look_up(tmp_path, KEY) is None


def test_an_entry_under_another_key_is_a_miss(tmp_path, run_folder, entry):
    cache.store(tmp_path, KEY, entry, run_folder)
    steps = tmp_path / cache.CACHE / "steps"
    shutil.copy(steps / f"{KEY}.json", steps / f"{'cd' * 32}.json")
    assert cache.look_up(tmp_path, "cd" * 32) is None


def test_many_at_once_keep_and_take_the_same(tmp_path, run_folder, entry):
    def once(number: int) -> bool:
        folder = tmp_path / f"run-{number}"
        shutil.copytree(run_folder, folder)
        cache.store(tmp_path, KEY, entry, folder)
        found = cache.look_up(tmp_path, KEY)
        assert found is not None
        cache.restore(tmp_path, found, tmp_path / f"next-{number}")
        return contents(tmp_path / f"next-{number}") == contents(run_folder)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(once, range(24)))
    left = list((tmp_path / cache.CACHE).rglob(".*"))
    assert left == []
