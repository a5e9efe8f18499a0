"""What `nbship.yaml` says of all pipelines, under what each says itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nbship.config import json_schemas, load_pipeline, read_project
from nbship.errors import UsageError
from nbship.workflow.config import configuration

PIPELINE = """\
name: line
steps:
  fit: {notebook: fit.ipynb, memory: 4Gi}
  draw: {notebook: draw.ipynb}
publish: {target: y}
deploy: {cpu: 2}
"""
PROJECT = """\
# shared
image: registry.example.org/cars
store: s3://models/cars
steps:
  memory: 1Gi
  env: {LANG: C}
kubeflow: {host: https://kubeflow.example.org, secret: cars}
deploy:
  memory: 3Gi
  stages: {production: {namespace: cars}}
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/line.yaml").write_text(PIPELINE)
    return tmp_path


def share(root, text):
    (root / "nbship.yaml").write_text(text)


def test_a_pipeline_gets_what_all_share_and_its_own_goes_first(root):
    share(root, PROJECT)
    pipeline = load_pipeline(root, "line", ["kubeflow.secret=mine"])
    assert pipeline.image == "registry.example.org/cars"
    assert pipeline.publish.store == "s3://models/cars"
    assert [(step.memory, step.env) for step in pipeline.steps.values()] == [
        ("4Gi", {"LANG": "C"}),
        ("1Gi", {"LANG": "C"}),
    ]
    assert (pipeline.kubeflow.host, pipeline.kubeflow.secret) == ("https://kubeflow.example.org", "mine")
    assert (pipeline.deploy.cpu, pipeline.deploy.memory, [*pipeline.deploy.stages]) == (
        "2",
        "3Gi",
        ["production"],
    )


def test_a_pipeline_that_publishes_nothing_needs_no_store(root):
    (root / "pipelines/line.yaml").write_text(PIPELINE.replace("publish: {target: y}\n", ""))
    share(root, PROJECT)
    assert load_pipeline(root, "line").publish is None


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_a_file_of_comments_shares_nothing(root, text):
    share(root, text)
    assert load_pipeline(root, "line").image == "nbship"
    assert read_project(root) == read_project(root / "pipelines")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("\nstors: s3://models\n", r"nbship.yaml, line 2: unknown key 'stors'", "'store'"),
        ("steps:\n  memmory: 1Gi\n", r"nbship.yaml, line 2: unknown key 'steps.memmory'", "'memory'"),
        ("steps:\n  notebook: a.ipynb\n", r"line 2: unknown key 'steps.notebook'", "known are"),
        ("deploy: {steps: [50]}\n", "nbship.yaml, line 1: deploy: steps rise and end with 100", ""),
        ("store: s3://key:secret@models\n", "must not hold credentials", ""),
        ("- a\n", "nbship.yaml: not a mapping", ""),
    ],
)
def test_what_is_wrong_is_told_with_its_line(root, text, message, hint):
    share(root, text)
    with pytest.raises(UsageError, match=message) as caught:
        load_pipeline(root, "line")
    assert hint in caught.value.hint


def test_what_a_pipeline_lacks_is_told_of_its_own_file(root):
    share(root, PROJECT)
    (root / "pipelines/line.yaml").write_text("name: line\n")
    with pytest.raises(UsageError, match=r"^pipelines/line.yaml: 'steps' is missing"):
        load_pipeline(root, "line")
    (root / "pipelines/line.yaml").write_text(PIPELINE.replace("name: line", "name: curve"))
    with pytest.raises(UsageError, match=r"^pipelines/line.yaml: name is 'curve'"):
        load_pipeline(root, "line")


def test_the_configuration_says_which_line_a_value_is_from(root, monkeypatch):
    share(root, PROJECT)
    monkeypatch.setattr("nbship.workflow.config.read_graph", lambda *_: type("Graph", (), {"steps": {}}))
    origins = {value.key: value.origin for value in configuration(root, "line", [], [], {})}
    assert {
        key: origins[key]
        for key in (
            "image",
            "publish.store",
            "steps.draw.memory",
            "steps.fit.memory",
            "kubeflow.host",
            "name",
        )
    } == {
        "image": "nbship.yaml, line 2",
        "publish.store": "nbship.yaml, line 3",
        "steps.draw.memory": "nbship.yaml, line 5",
        "steps.fit.memory": "pipelines/line.yaml, line 3",
        "kubeflow.host": "nbship.yaml, line 7",
        "name": "pipelines/line.yaml, line 1",
    }


def test_the_guides_example_is_understood(root):
    guide = (Path(__file__).parent.parent / "docs/configuration.md").read_text()
    (example,) = [block for block in re.findall(r"```yaml\n(.*?)```", guide, re.S) if "store:" in block]
    share(root, example)
    assert load_pipeline(root, "line").publish.store == "s3://models/cars"


def test_the_schema_describes_every_key():
    schema = json_schemas()["project-schema.json"]
    models = [schema, *schema["$defs"].values()]
    assert all(model["additionalProperties"] is False for model in models)
    assert all("description" in field for model in models for field in model["properties"].values())
    assert "notebook" not in schema["$defs"]["StepDefaults"]["properties"]
