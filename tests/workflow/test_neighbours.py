"""What was changed for a run, against the run before and the champion's: of real records, with real pages."""

from __future__ import annotations

import pytest

from nbship.files import content_hash
from nbship.kernels import forkserver
from nbship.package import MODEL
from nbship.record import run_folder, save
from nbship.versions import registry
from nbship.workflow.neighbours import neighbours
from tests.engine import run_points, write_points
from tests.records import make_record


@pytest.fixture(scope="module", autouse=True)
def server():
    yield
    forkserver.stop()


def test_the_page_tells_what_a_run_has_otherwise_and_the_page_before_leads_to_it(tmp_path):
    root = write_points(tmp_path)
    first, folder = run_points(root)
    assert neighbours(root, first) == []
    second, other = run_points(root, "train.slope=9.0")
    (before,) = neighbours(root, second)
    assert (before.run, before.is_before) == (first.id, True)
    assert [(c.kind, c.name, c.before, c.now) for c in before.changes] == [
        ("parameters", "train.slope", "2.0", "9.0")
    ]
    assert f'href="../{first.id}/index.html"' in (other / "index.html").read_text()
    assert f'<a href="../{second.id}/index.html">The run after</a>' in (folder / "index.html").read_text()


def test_the_champions_run_is_known_by_the_models_description(tmp_path, monkeypatch):
    runs = [make_record(id=f"2026010{n}-000000", champion=False) for n in range(3)]
    for number, record in enumerate(runs):
        record.steps["train"].parameters["folds"] = number
        save(record, run_folder(tmp_path, record.pipeline, record.id))
    model = registry.model_folder(tmp_path, runs[0].pipeline) / MODEL
    model.parent.mkdir(parents=True)
    model.write_bytes(b"model")
    runs[2].champion = content_hash(model)

    class Described:
        sha256 = runs[2].champion

        class origin:  # noqa: N801
            run = runs[0].id

    monkeypatch.setattr("nbship.package.find_package", lambda _: Described)
    before, champion = neighbours(tmp_path, runs[2])
    assert (before.run, champion.run, champion.relation) == (runs[1].id, runs[0].id, "the champion's run")
    assert [c.before for c in champion.changes] == ["0"]
    Described.origin.run = runs[1].id
    (both,) = neighbours(tmp_path, runs[2])
    assert both.relation == "the run before, the champion's"
    Described.origin.run = "elsewhere"
    assert [n.run for n in neighbours(tmp_path, runs[2])] == [runs[1].id]
