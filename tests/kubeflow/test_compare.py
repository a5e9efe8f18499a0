import json

import pytest

from nbship.kubeflow.compare import differences
from tests.projects import (
    PIPELINE,
    PREPARE,
    PREPARE_CODE,
    compiled_text,
    write_notebook,
    write_project,
)


@pytest.fixture
def root(tmp_path):
    return write_project(tmp_path)


@pytest.fixture
def old(root):
    return compiled_text(root)


def changes(root, old):
    return differences(old, compiled_text(root))


def change_pipeline(root, before, after):
    assert before in PIPELINE
    (root / "pipelines/line.yaml").write_text(PIPELINE.replace(before, after))


def test_nothing_differs(root, old):
    assert changes(root, old) == []


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        ("most: 4", "most: 5", ["parameter prepare_most: 4.0 → 5.0"]),
        ("most: 4}", "most: 4}, cpu: 1", ["prepare: cpu, memory or gpu"]),
        ("most: 4}", "most: 4}, memory: 1Gi, retries: 1", ["prepare: retries, cpu, memory or gpu"]),
        ("most: 4}", "most: 4}, timeout: 5", ["prepare: timeout"]),
        ("most: 4}", "most: 4}, cache: false", ["prepare: cache"]),
        ("most: 4}", "most: 4}, image: 'a:1'", ["prepare: image nbship → a:1"]),
        ("name: line", "name: line\nimage: a:1", ["image nbship → a:1"]),
        (
            "kubeflow: {",
            "image: a:1\nkubeflow: {secret: other, ",
            ["image nbship → a:1", "fetch-table, report, resolve: secrets"],
        ),
        ("Fits a line", "Fits", ["the pipeline's name or description"]),
        ("most: 4}", "most: 4}, gpu: 1", ["prepare: cpu, memory or gpu"]),
        ("most: 4}", "most: 4}, env: {A: b}", ["prepare: env"]),
        ("most: 4}", "most: 4}, secrets: {A: b/c}", ["prepare: secrets"]),
        ("most: 4}", "most: 4}, node_selector: {a: b}", ["prepare: node_selector"]),
        ("most: 4}", "most: 4}, tolerations: [{operator: Exists}]", ["prepare: tolerations"]),
        ("train-line", "train", ["train is new", "train-line is gone"]),
        (
            ", inputs: {scale: prepare.count}",
            "",
            ["parameter train_line_scale is new", "train-line: wiring, inputs"],
        ),
    ],
)
def test_a_change_of_the_pipeline_file_is_named(root, old, before, after, reasons):
    change_pipeline(root, before, after)
    assert changes(root, old) == reasons


def test_a_change_of_code_is_named(root, old):
    write_notebook(
        root / "notebooks/prepare.ipynb",
        PREPARE,
        PREPARE_CODE + "1",
        title="Prepare",
        text="Keeps the first rows.",
    )
    assert changes(root, old) == ["prepare: notebook code"]


def test_a_change_of_text_is_named(root, old):
    write_notebook(root / "notebooks/prepare.ipynb", PREPARE, PREPARE_CODE, title="Prepare", text="Other.")
    assert changes(root, old) == ["prepare: notebook text"]


def test_a_change_of_a_help_text_is_named(root, old):
    parameters = PREPARE.replace("# penalty", "# punishment")
    write_notebook(root / "notebooks/prepare.ipynb", parameters, PREPARE_CODE, title="Prepare", text="…")
    assert changes(root, old) == [
        "parameter prepare_C: type or description",
        "prepare: inputs, notebook code",
    ]


def test_another_kfp_is_named(root, old):
    version = next(line for line in old.splitlines() if line.startswith("sdkVersion"))
    assert changes(root, old.replace(version, "sdkVersion: kfp-2.0.0"))[0].startswith(
        "compiled with kfp-2.0.0, not"
    )


def test_running_a_notebook_changes_nothing(root, old):
    path = root / "notebooks/prepare.ipynb"
    content = json.loads(path.read_text())
    content["cells"][2]["outputs"], content["cells"][2]["execution_count"] = [], 100
    path.write_text(json.dumps(content))
    assert changes(root, old) == []


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("# PIPELINE", "# My pipeline"),
        lambda text: text.replace("from typing import *", "import os"),
    ],
)
def test_a_file_edited_by_hand(root, old, edit):
    assert changes(root, edit(old)) == ["another nbship generated it, or a hand edited it"]


@pytest.mark.parametrize(
    "text", ["", "a: [", "- 1", "root: {}", "root: 1\ndeploymentSpec: 2", "\x00", "root: {a: 1}"]
)
def test_text_that_is_no_compiled_pipeline(root, text):
    assert changes(root, text)[0]
