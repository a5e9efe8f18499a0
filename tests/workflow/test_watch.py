"""What is noticed of files that are saved: what changes a run, all of it, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nbship.workflow.run import RunRequest
from nbship.workflow.watch import saved
from tests.engine import NAME, TRAIN, TRAIN_CODE, write_points
from tests.projects import write_notebook


@pytest.fixture
def root(tmp_path):
    return write_points(tmp_path)


def noticed(root: Path, *edits: Callable[[], object]) -> list[tuple[str, ...]]:
    """Makes each edit while somebody watches; returns what was told, one look after the last."""
    waiting = [*edits, *[lambda: None] * 3]

    class OverError(Exception):
        pass

    def pause(_seconds: float) -> None:
        if not waiting:
            raise OverError
        waiting.pop(0)()

    told = []
    with pytest.raises(OverError):
        for names in saved(root, RunRequest(NAME), pause):
            told.append(names)
    return told


def test_a_saved_notebook_is_told_and_its_outputs_are_not(root):
    train = root / "notebooks/train.ipynb"

    def show() -> None:
        content = json.loads(train.read_text())
        content["cells"][-1]["outputs"] = []
        content["cells"][-1]["execution_count"] = 99
        train.write_text(json.dumps(content))

    assert noticed(root) == [()]
    assert noticed(root, show) == [()]
    edit = [lambda: write_notebook(train, TRAIN, TRAIN_CODE + " # again")]
    assert noticed(root, *edit) == [(), ("notebooks/train.ipynb",)]


def test_what_is_saved_together_is_one_change(root):
    edits = [
        lambda: write_notebook(root / "notebooks/train.ipynb", TRAIN, "1"),
        lambda: (root / "nbship.yaml").write_text("image: other\n"),
    ]
    assert noticed(root, *edits) == [(), ("nbship.yaml", "notebooks/train.ipynb")]


def test_own_code_is_looked_at_as_soon_as_a_notebook_uses_it(root):
    def use() -> None:
        (root / "notebooks/lines.py").write_text("slope = 2\n")
        write_notebook(root / "notebooks/train.ipynb", TRAIN, "import lines\n" + TRAIN_CODE)

    def change() -> None:
        (root / "notebooks/lines.py").write_text("slope = 3.5\n")

    told = noticed(root, use, lambda: None, change, lambda: None)
    assert told[0] == ()
    assert "notebooks/train.ipynb" in told[1]
    assert told[2:] == [("notebooks/lines.py",)]


def test_half_a_notebook_and_a_pipeline_file_that_is_wrong_do_not_end_it(root):
    train, pipeline = root / "notebooks/train.ipynb", root / f"pipelines/{NAME}.yaml"
    right = pipeline.read_text()
    edits = [
        lambda: train.write_text('{"cells": ['),
        lambda: None,
        lambda: pipeline.write_text("steps: ["),
        lambda: None,
        lambda: pipeline.write_text(right),
        lambda: None,
        lambda: write_notebook(train, TRAIN, TRAIN_CODE),
        lambda: None,
    ]
    shown = f"pipelines/{NAME}.yaml"
    assert noticed(root, *edits) == [
        (),
        ("notebooks/train.ipynb",),
        (shown,),
        (shown,),
        ("notebooks/train.ipynb",),
    ]
