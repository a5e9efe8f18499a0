"""A sweep compiled to a parallel loop, and run by KFP itself."""

import json

import pytest
import yaml
from kfp import components, local

from nbship import __version__
from nbship.workflow.sweep import SweepRequest, compile_sweep
from tests.projects import write_notebook

MAKE = 'start: int = 3  # first number\nnumbers: "Output[Dataset]" = "numbers.json"  # numbers'
MAKE_CODE = 'import json\njson.dump([start, 2], open(numbers, "w"))'
TRAIN = """\
numbers: "Input[Dataset]" = "numbers.json"  # numbers
model: "Output[Model]" = "model.json"  # their sum
metrics: "Output[Metrics]" = "metrics.json"  # what was given
scale: float = 1.0  # factor
kind: str = "a"  # a word
"""
TRAIN_CODE = """\
import json
json.dump(scale * sum(json.load(open(numbers))), open(model, "w"))
json.dump({"cv_error": scale, "kind": kind, "type": type(scale).__name__}, open(metrics, "w"))
"""
PIPELINE = """\
name: sums
steps: {make: {notebook: make.ipynb}, train: {notebook: train.ipynb}}
"""


def write_sums(root):
    write_notebook(root / "make.ipynb", MAKE, MAKE_CODE)
    write_notebook(root / "train.ipynb", TRAIN, TRAIN_CODE)
    (root / "pipelines").mkdir()
    (root / "pipelines/sums.yaml").write_text(PIPELINE)


def test_the_environment_changes_nothing_and_the_image_has_its_tag(tmp_path, monkeypatch):
    write_sums(tmp_path)
    request = SweepRequest("sums", ["train.scale=1,0.5"], metric="train.cv_error")
    text = compile_sweep(tmp_path, request)
    containers = [e["container"] for e in yaml.safe_load(text)["deploymentSpec"]["executors"].values()]
    assert {container["image"] for container in containers} == {f"nbship:{__version__}"}
    monkeypatch.setenv("NBSHIP_MAKE__START", "7")
    assert compile_sweep(tmp_path, request) == text


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore")
def test_every_combination_is_run_with_values_of_its_types(tmp_path, monkeypatch):
    root = tmp_path / "project"
    write_sums(root)
    monkeypatch.chdir(root)
    request = SweepRequest("sums", ["train.scale=1,0.5", "train.kind=a,b"], metric="train.cv_error")
    text = compile_sweep(root, request)
    assert text == compile_sweep(root, request)
    root_tasks = yaml.safe_load(text)["root"]["dag"]["tasks"]
    assert len(root_tasks) == 2 and any("parameterIterator" in task for task in root_tasks.values())

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"))
    components.load_component_from_text(text)(make_start=4)

    found = [json.loads(path.read_text()) for path in (tmp_path / "kfp").rglob("metrics") if path.is_file()]
    kinds = sorted((each["cv_error"], each["kind"], each["type"]) for each in found)
    assert kinds == [(0.5, "a", "float"), (0.5, "b", "float"), (1.0, "a", "float"), (1.0, "b", "float")]
