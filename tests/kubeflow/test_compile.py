import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kfp import components
from kfp.pipeline_spec import pipeline_spec_pb2

from nbship.config import load_pipeline, validate
from nbship.errors import UsageError
from nbship.graph import build_graph, read_graph
from nbship.kubeflow.compile import compile_graph
from nbship.kubeflow.escaping import received, spaced
from nbship.kubeflow.pod import SECRET_KEYS
from nbship.kubeflow.sweep import compile_sweep
from nbship.notebook import Notebook, Role, Signature, Variable
from nbship.workflow.parameters import run_parameters
from tests.projects import PIPELINE, TRAIN, compiled_text, graph_of, write_notebook, write_project

PROJECT = Path(__file__).parents[2]
SETTINGS = """\
name: line
description: 'Fits "a" line: größer'
image: registry/steps:1
data: {table: {path: data.csv, description: Points, source: {file: elsewhere.csv}}}
steps:
  prepare: {notebook: notebooks/prepare.ipynb, parameters: {most: 4}, cpu: 500m, memory: 1Gi, retries: 2}
  train-line:
    notebook: notebooks/train.ipynb
    image: other:2
    cache: false
    timeout: 90
    inputs: {scale: prepare.count}
  import: {notebook: notebooks/train.ipynb, after: [train-line]}
"""


def compiled(root, *overrides: str) -> dict[str, Any]:
    """The pipeline, with the platform's settings in it."""
    merged: dict[str, Any] = {}
    for document in yaml.safe_load_all(compiled_text(root, *overrides)):
        merged |= document
    return merged


def tasks(spec: dict[str, Any]) -> dict[str, Any]:
    """The tasks, those in nests too; the nests begin with `exit-handler` or `condition`."""
    nests = [spec["root"], *spec["components"].values()]
    found = {name: task for nest in nests for name, task in nest.get("dag", {}).get("tasks", {}).items()}
    return {name: t for name, t in found.items() if not name.startswith(("exit-handler", "condition"))}


def pod(spec: dict[str, Any], step: str) -> dict[str, Any]:
    return spec["platforms"]["kubernetes"]["deploymentSpec"]["executors"].get(f"exec-{step}", {})


def container(spec: dict[str, Any], step: str) -> dict[str, Any]:
    return spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]


def task(spec: dict[str, Any], step: str) -> dict[str, Any]:
    return tasks(spec)[step]


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return compiled(write_project(tmp_path_factory.mktemp("project"), SETTINGS))


def test_it_is_a_pipeline_spec_that_kfp_loads(tmp_path):
    root = write_project(tmp_path, SETTINGS)
    text = compiled_text(root)

    message = json_format.ParseDict(next(yaml.safe_load_all(text)), pipeline_spec_pb2.PipelineSpec())
    assert message.pipeline_info.name == "line"
    assert message.schema_version == "2.1.0"
    assert components.load_component_from_text(text).component_spec.description == 'Fits "a" line: größer'


def test_every_step_and_data_file_is_a_task(spec):
    assert set(tasks(spec)) == {"resolve", "fetch-table", "prepare", "train-line", "import", "report"}


def test_image_of_the_pipeline_and_of_a_step(spec):
    images = {step: container(spec, step)["image"] for step in tasks(spec)}
    assert images == {
        "resolve": "registry/steps:1",
        "fetch-table": "registry/steps:1",
        "report": "registry/steps:1",
        "prepare": "registry/steps:1",
        "train-line": "other:2",
        "import": "registry/steps:1",
    }


def test_cpu_and_memory_are_request_and_limit(spec):
    assert container(spec, "prepare")["resources"] == {
        "cpuRequest": 0.5,
        "cpuLimit": 0.5,
        "resourceCpuRequest": "500m",
        "resourceCpuLimit": "500m",
        "memoryRequest": 1.073741824,
        "memoryLimit": 1.073741824,
        "resourceMemoryRequest": "1Gi",
        "resourceMemoryLimit": "1Gi",
    }
    assert "resources" not in container(spec, "train-line")


def test_retries(spec):
    assert task(spec, "prepare")["retryPolicy"]["maxRetryCount"] == 2
    assert "retryPolicy" not in task(spec, "train-line")


def test_caching(spec):
    assert task(spec, "prepare")["cachingOptions"] == {"enableCache": True}
    assert task(spec, "fetch-table")["cachingOptions"] == {"enableCache": True}
    assert not task(spec, "resolve")["cachingOptions"].get("enableCache")
    assert not task(spec, "train-line")["cachingOptions"].get("enableCache")


def test_timeout(spec):
    assert "timeout=90.0" in container(spec, "train-line")["command"][-1]
    assert "timeout" not in container(spec, "prepare")["command"][-1]


def test_nothing_is_installed_when_a_step_starts(spec):
    assert all("pip install" not in " ".join(container(spec, s)["command"]) for s in tasks(spec))


def test_titles_and_descriptions_of_notebooks_are_in_the_components(spec):
    source = container(spec, "prepare")["command"][-1]
    assert '"""Prepare.\n\n    Keeps the first rows.\n    """' in source


def test_parameters_are_the_pipelines_with_defaults_and_help(spec):
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert {name: (p["parameterType"], p["defaultValue"]) for name, p in parameters.items()} == {
        "prepare_most": ("NUMBER_INTEGER", 4),
        "prepare_names": ("LIST", [1, 2]),
        "prepare_options": ("STRUCT", {"deep": {"flags": [True, 0.5]}}),
        "prepare_C": ("NUMBER_DOUBLE", 1),
        "prepare_note": ("STRING", ""),
        "prepare_strict": ("BOOLEAN", False),
        "import_scale": ("NUMBER_DOUBLE", 1),
        "repository": ("STRING", ""),
        "revision": ("STRING", ""),
        "refresh": ("STRING", ""),
    }
    assert all(p["isOptional"] for p in parameters.values())
    assert parameters["prepare_most"]["description"] == "rows to keep"
    assert task(spec, "prepare")["inputs"]["parameters"]["most"] == {
        "componentInputParameter": "pipelinechannel--prepare_most"
    }


def test_artifacts_are_typed_and_described(spec):
    prepare, train = (spec["components"][f"comp-{step}"] for step in ("prepare", "train-line"))
    assert prepare["inputDefinitions"]["artifacts"]["table"] == {
        "artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
        "description": "points, one row each",
    }
    outputs = train["outputDefinitions"]["artifacts"]
    assert {name: o["artifactType"]["schemaTitle"] for name, o in outputs.items()} == {
        "model": "system.Model",
        "metrics": "system.Metrics",
        "executed_notebook": "system.HTML",
    }
    assert outputs["model"]["description"] == "the slope"
    fetched = spec["components"]["comp-fetch-table"]["outputDefinitions"]["artifacts"]["file"]
    assert fetched["description"] == "Points"


def test_results_artifacts_and_order_are_wired(spec):
    inputs = task(spec, "train-line")["inputs"]
    assert inputs["parameters"]["scale"]["taskOutputParameter"] == {
        "producerTask": "prepare",
        "outputParameterKey": "count",
    }
    assert inputs["artifacts"]["rows"]["taskOutputArtifact"]["producerTask"] == "prepare"
    assert task(spec, "prepare")["inputs"]["artifacts"]["table"]["taskOutputArtifact"] == {
        "producerTask": "fetch-table",
        "outputArtifactKey": "file",
    }
    assert task(spec, "import")["dependentTasks"] == ["prepare", "train-line"]


PODS = """\
  prepare:
    notebook: notebooks/prepare.ipynb
    gpu: 2
    env: {LEVEL: debug}
    secrets: {KEY: vault/api-key}
    node_selector: {disk: ssd}
    tolerations: [{key: gpu, operator: Exists, effect: NoExecute, seconds: 60}]
"""


def test_accelerators_environment_secrets_and_nodes(tmp_path):
    text = SETTINGS.replace(SETTINGS.splitlines()[5] + "\n", PODS)
    spec = compiled(write_project(tmp_path, text))
    resources = container(spec, "prepare")["resources"]
    assert resources["accelerator"] == {
        "type": "nvidia.com/gpu",
        "resourceType": "nvidia.com/gpu",
        "count": "2",
        "resourceCount": "2",
    }
    assert container(spec, "prepare")["env"] == [{"name": "LEVEL", "value": "debug"}]
    settings = pod(spec, "prepare")
    (secret,) = settings["secretAsEnv"]
    assert secret["secretName"] == "vault"
    assert secret["keyToEnv"] == [{"secretKey": "api-key", "envVar": "KEY"}]
    assert settings["nodeSelector"] == {"labels": {"disk": "ssd"}}
    toleration = {"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": "60"}
    assert settings["tolerations"] == [toleration]
    assert pod(spec, "train-line") == {}


def test_another_accelerator(tmp_path):
    spec = compiled(write_project(tmp_path), "steps.prepare.gpu=1", "steps.prepare.accelerator=amd.com/gpu")
    assert container(spec, "prepare")["resources"]["accelerator"]["resourceType"] == "amd.com/gpu"


def test_a_secret_without_a_key_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"steps\.prepare\.secrets\.KEY: 'vault'"):
        compiled(write_project(tmp_path), "steps.prepare.secrets={KEY: vault}")


def test_the_clusters_secret_is_given_to_those_that_need_it_alone():
    graph = read_graph(PROJECT, load_pipeline(PROJECT, "auto-mpg"))
    text = compile_graph(graph, graph.data)
    spec = {key: value for document in yaml.safe_load_all(text) for key, value in document.items()}
    with_secret = {name for name in tasks(spec) if pod(spec, name)}
    fetching = {"resolve", "fetch-table", "fetch-champion"}
    assert with_secret == {*fetching, "publish", "deploy", "rejected", "report"}
    (secret,) = pod(spec, "resolve")["secretAsEnv"]
    assert (secret["secretName"], secret["optional"]) == ("nbship", True)
    assert {entry["envVar"] for entry in secret["keyToEnv"]} == set(SECRET_KEYS)
    uncached = {name for name, t in tasks(spec).items() if not t["cachingOptions"].get("enableCache")}
    assert uncached == {"resolve", "gate", "publish", "deploy", "rejected", "report"}


def test_only_what_applies_is_around_the_notebooks(tmp_path):
    root = write_project(
        tmp_path, PIPELINE + "publish: {model: train-line.model, reference: prepare.rows, target: y}\n"
    )
    assert set(tasks(compiled(root))) == {
        "resolve",
        "fetch-table",
        "prepare",
        "train-line",
        "record",
        "publish",
        "deploy",
        "report",
    }


def test_overrides_reach_it(tmp_path):
    spec = compiled(write_project(tmp_path), "prepare.most=9", "steps.prepare.cpu=2")
    assert spec["root"]["inputDefinitions"]["parameters"]["prepare_most"]["defaultValue"] == 9
    assert container(spec, "prepare")["resources"]["resourceCpuLimit"] == "2"


def test_same_bytes_whatever_the_hash_seed(tmp_path):
    root = write_project(tmp_path, SETTINGS)
    program = (
        "import sys; from pathlib import Path; from tests.projects import compiled_text;"
        "sys.stdout.buffer.write(compiled_text(Path(sys.argv[1])).encode())"
    )
    here = compiled_text(root).encode()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        other = subprocess.run(
            [sys.executable, "-c", program, root], env=environment, capture_output=True, check=True
        )
        assert other.stdout == here


def test_code_is_written_as_lines(tmp_path):
    root = write_project(tmp_path)
    assert "\n          def prepare(\n" in compiled_text(root)


@pytest.mark.parametrize(
    ("produced", "read"),
    [
        ('x: "Output[Dataset]" = "x"', 'x: "Input[Artifact]" = "x"'),
        ('x: "Output[Artifact]" = "x"', 'x: "Input[Model]" = "x"'),
        ('x: "Output[int]" = 1', "x: float = 1.0"),
    ],
)
def test_wirings_that_only_nbship_allows(tmp_path, produced, read):
    root = write_project(tmp_path)
    write_notebook(root / "notebooks/train.ipynb", produced)
    write_notebook(root / "notebooks/prepare.ipynb", read)
    use = "{notebook: notebooks/prepare.ipynb, inputs: {x: train.x}}"
    steps = f"{{train: {{notebook: notebooks/train.ipynb}}, use: {use}}}"
    (root / "pipelines/line.yaml").write_text(f"name: line\nsteps: {steps}\n")
    assert task(compiled(root), "use")["dependentTasks"] == ["train"]


PLAIN = st.recursive(
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda items: st.lists(items, max_size=3) | st.dictionaries(st.text(max_size=5), items, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=PLAIN, help_text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_default_and_help_text_arrives(tmp_path, value, help_text):
    path = write_notebook(tmp_path / "n.ipynb", "")
    variable = Variable("value", Role.PARAMETER, type(value).__name__, value, help_text)
    notebook = Notebook(path, "Title", "", Signature((variable,)), (), "")
    pipeline = validate({"name": "p", "steps": {"s": {"notebook": "n.ipynb"}}}, "p.yaml")

    spec = yaml.safe_load(compile_graph(build_graph(pipeline, {"s": notebook}), {}))

    parameter = spec["root"]["inputDefinitions"]["parameters"]["s_value"]
    assert received(parameter["defaultValue"]) == value
    assert parameter.get("description", "") == spaced(help_text)
    assert spec["components"]["comp-s"]["inputDefinitions"]["parameters"]["value"].get(
        "description", ""
    ) == spaced(help_text)


def test_a_pipeline_without_data_and_parameters(tmp_path):
    root = write_project(tmp_path, "name: line\nsteps: {only: {notebook: notebooks/prepare.ipynb}}\n")
    write_notebook(root / "notebooks/prepare.ipynb", "# nothing to declare\n")
    assert list(tasks(compiled(root))) == ["only"]


def test_steps_that_would_share_a_parameter_are_refused(tmp_path):
    steps = "{a: {notebook: notebooks/one.ipynb}, a-b: {notebook: notebooks/two.ipynb}}"
    root = write_project(tmp_path, f"name: line\nsteps: {steps}\n")
    write_notebook(root / "notebooks/one.ipynb", "b_c: int = 1")
    write_notebook(root / "notebooks/two.ipynb", "c: int = 1")
    with pytest.raises(UsageError, match=r"a\.b_c and a-b\.c would both be the parameter 'a_b_c'"):
        compiled(root)


def test_data_files_that_would_share_a_task_are_refused(tmp_path):
    data = "{path: data.csv, description: Points, source: {file: elsewhere.csv}}"
    root = write_project(
        tmp_path, PIPELINE.replace(f"{{table: {data}}}", f"{{table: {data}, Table: {data}}}")
    )
    assert compiled(root)
    with pytest.raises(
        UsageError, match="data file 'table' and data file 'Table' would both be the component"
    ):
        compiled(root, "steps.train-line.inputs.rows=Table")


def test_a_step_that_has_the_name_of_a_task_that_fetches_is_refused(tmp_path):
    root = write_project(tmp_path, PIPELINE.replace("train-line", "fetch-table"))
    with pytest.raises(
        UsageError, match="data file 'table' and step 'fetch-table' would both be the component"
    ):
        compiled(root)


def test_a_step_that_has_the_name_of_a_component_around_it_is_refused(tmp_path):
    root = write_project(tmp_path, PIPELINE.replace("train-line", "resolve"))
    with pytest.raises(UsageError, match="component 'resolve'"):
        compiled(root)


@pytest.mark.parametrize("name", ["executed_notebook", "run_step", "Output", "self", "_hidden", "größe"])
def test_names_that_kubeflow_cannot_take_are_refused(tmp_path, name):
    root = write_project(tmp_path)
    write_notebook(root / "notebooks/train.ipynb", f"{TRAIN}{name}: int = 1\n")
    with pytest.raises(UsageError, match=f"cannot take the name '{name}'"):
        compiled(root)


@pytest.mark.parametrize("name", ["input", "class_", "dsl", "str", "print", "arguments", "notebook", "path"])
def test_names_that_mean_something_in_python_are_taken(tmp_path, name):
    root = write_project(tmp_path)
    write_notebook(root / "notebooks/train.ipynb", f"{TRAIN}{name}: int = 1\n")
    assert f"train_line_{name}" in compiled(root)["root"]["inputDefinitions"]["parameters"]


@pytest.mark.parametrize("step", ["dsl", "int", "list", "class", "print", "kfp"])
def test_steps_may_be_called_what_means_something_in_python(tmp_path, step):
    root = write_project(
        tmp_path, PIPELINE.replace("prepare: {", f"{step}: {{").replace("prepare.count", f"{step}.count")
    )
    assert set(tasks(compiled(root))) == {"resolve", "fetch-table", step, "train-line", "report"}


@pytest.mark.parametrize("name", ["数据", "2020 cars"])
def test_a_data_file_that_kubeflow_cannot_name_is_refused(tmp_path, name):
    root = write_project(tmp_path, PIPELINE.replace("{table: {path", f"{{{name}: {{path"))
    with pytest.raises(UsageError, match=f"cannot take the name '{name}'"):
        compiled(root, f"steps.prepare.inputs.table={name}")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("steps.prepare.memory=1.5Gi", r"steps\.prepare\.memory: .*'1\.5Gi'"),
        ("steps.prepare.cpu=2k", r"steps\.prepare\.cpu: .*'2k'"),
        ("prepare.options={a: [null]}", r"prepare\.options: .*null"),
        (f"prepare.most={2**53 + 1}", r"prepare\.most: .*exactly"),
    ],
)
def test_values_that_kubeflow_would_lose_are_refused(tmp_path, setting, message):
    with pytest.raises(UsageError, match=message):
        compiled(write_project(tmp_path), setting)


def test_data_that_dvc_does_not_track_is_refused(tmp_path):
    root = write_project(tmp_path)
    with pytest.raises(UsageError, match=r"no data\.csv\.dvc"):
        compile_graph(graph_of(root), {})


def noise(size: int) -> str:
    """Text that cannot be compressed to much less than half."""
    return hashlib.shake_128(b"").hexdigest(size)


def test_a_long_notebook_is_packed(tmp_path):
    root = write_project(tmp_path)
    write_notebook(root / "notebooks/train.ipynb", TRAIN, "'" + "x" * 140_000 + "'")
    assert len(container(compiled(root), "train-line")["command"][-1]) < 10_000


def test_a_notebook_that_is_too_long_to_start_is_refused(tmp_path):
    root = write_project(tmp_path)
    write_notebook(root / "notebooks/train.ipynb", TRAIN, f"'{noise(120_000)}'")
    with pytest.raises(UsageError, match=r"train\.ipynb: 1\d\d KiB packed;"):
        compiled(root)


# Most of it is text with what Go escapes, so that its JSON is six times as long.
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("prepare.note=" + "<" * 23_000, "all parameters together have 1.. KiB, most of it in prepare_note"),
        ("steps.prepare.env={NOTE: " + "<" * 11_500 + "}", "prepare: 1.. KiB; Kubeflow can carry 127 KiB"),
    ],
)
def test_what_is_too_long_for_an_argument_is_refused(tmp_path, setting, message):
    root = write_project(tmp_path)
    compiled(root, setting.replace("<", "", 11_000))
    with pytest.raises(UsageError, match=message):
        compiled(root, setting)


def test_values_that_are_too_long_for_a_run_are_refused(tmp_path):
    graph = graph_of(write_project(tmp_path))
    assert run_parameters(graph, [f"prepare.note={'x' * 100_000}"])
    with pytest.raises(UsageError, match="most of it in prepare_note"):
        run_parameters(graph, [f"prepare.note={'x' * 130_000}"])


def test_a_sweep_of_too_many_combinations_is_refused(tmp_path):
    graph = graph_of(write_project(tmp_path))
    combinations = [{"prepare.most": n, "prepare.note": "n" * 50} for n in range(1500)]
    assert compile_sweep(graph, combinations[:500])
    with pytest.raises(UsageError, match=r"the wiring of the pipeline: 1\d\d KiB"):
        compile_sweep(graph, combinations)


def test_placeholders_of_kubeflow_are_whole_values(tmp_path):
    """Inside a longer text, Kubeflow leaves them as they are."""
    write_project(tmp_path)
    whole = compiled(tmp_path, "kubeflow.host=https://kfp.example.org")
    parameters = tasks(whole)["report"]["inputs"]["parameters"]
    assert parameters["job"]["runtimeValue"]["constant"] == "{{$.pipeline_job_uuid}}"
    assert parameters["host"]["runtimeValue"]["constant"] == "https://kfp.example.org"
    values = [
        value["runtimeValue"]["constant"]
        for task in tasks(whole).values()
        for value in task.get("inputs", {}).get("parameters", {}).values()
        if "{{$" in str(value.get("runtimeValue", {}).get("constant", ""))
    ]
    assert set(values) <= {"{{$.pipeline_job_uuid}}"}
