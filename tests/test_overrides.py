"""Variables such as NBSHIP_TRAIN__C, and how they stand to files and settings."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.config import load_pipeline, read_layers, variables
from nbship.errors import UsageError
from nbship.values import check_value
from tests.projects import PIPELINE, write_project


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("project"), PIPELINE + "gate: {step: train-line}\n")


def load(root, *settings, files=(), **environment):
    return load_pipeline(root, "line", settings, files, environment)


def problem(root, **environment):
    with pytest.raises(UsageError) as error:
        load(root, **environment)
    assert error.value.hint
    return f"{error.value.message} | {error.value.hint}"


@pytest.mark.parametrize(
    ("name", "step", "parameter"),
    [
        ("NBSHIP_PREPARE__MOST", "prepare", "most"),
        ("NBSHIP_PREPARE__most", "prepare", "most"),
        ("NBSHIP_STEPS__PREPARE__PARAMETERS__MOST", "prepare", "most"),
        ("NBSHIP_PREPARE__C", "prepare", "C"),
        ("NBSHIP_PREPARE__NOTE", "prepare", "note"),  # only the notebook has it
        ("NBSHIP_TRAIN_LINE__SCALE", "train-line", "scale"),
    ],
)
def test_a_parameter_whatever_the_case(root, name, step, parameter):
    assert load(root, **{name: "a=b: 3"}).steps[step].parameters[parameter] == "a=b: 3"


def test_a_variable_is_typed_as_a_setting_is(root):
    value = load(root, NBSHIP_PREPARE__MOST="7").steps["prepare"].parameters["most"]
    assert check_value("int", value) == 7
    assert check_value("str", value) == "7"


@pytest.mark.parametrize(
    ("name", "text", "found", "value"),
    [
        ("NBSHIP_GATE__TOLERANCE", "1e-2", lambda p: p.gate.tolerance, 0.01),
        (
            "NBSHIP_KUBEFLOW__HOST",
            "https://a.example.org",
            lambda p: p.kubeflow.host,
            "https://a.example.org",
        ),
        (
            "NBSHIP_STEPS__TRAIN_LINE__NODE_SELECTOR",
            "{a: b}",
            lambda p: p.steps["train-line"].node_selector,
            {"a": "b"},
        ),
        ("NBSHIP_STEPS__PREPARE__ENV__OMP", "'2'", lambda p: p.steps["prepare"].env, {"OMP": "2"}),
        ("NBSHIP__IMAGE", "a:1", lambda p: p.image, "a:1"),
        ("NBSHIP_KUBEFLOW__NAMESPACE", "null", lambda p: p.kubeflow.namespace, None),
    ],
)
def test_any_key(root, name, text, found, value):
    assert found(load(root, **{name: text})) == value
    assert found(load(root)) != value or value is None


def test_a_name_that_is_written_exactly_goes_first(root):
    files = [root / "cases.yaml"]
    files[0].write_text("steps: {prepare: {env: {name: a, NAME: b}}}")
    environment = {"NBSHIP_STEPS__PREPARE__ENV__NAME": "c"}
    assert load(root, files=files, **environment).steps["prepare"].env == {"name": "a", "NAME": "c"}


def test_files_then_variables_then_settings(root):
    files = [root / "more.yaml"]
    files[0].write_text("steps: {prepare: {parameters: {most: 5}}}")

    def most(*settings, **environment):
        return int(load(root, *settings, files=files, **environment).steps["prepare"].parameters["most"])

    assert most() == 5
    assert most(NBSHIP_PREPARE__MOST="6") == 6
    assert most("prepare.most=7", NBSHIP_PREPARE__MOST="6") == 7
    layers = read_layers(root, "line", ["prepare.most=7"], files, {"NBSHIP_A": "1"})
    assert [layer.origin for layer in layers] == [
        "pipelines/line.yaml",
        str(files[0]),
        "--set prepare.most=7",
    ]


def test_other_variables_of_nbship_are_no_overrides(root):
    others = {"NBSHIP_GIT_TOKEN": "s", "NBSHIP_KUBEFLOW_HOST": "h", "NBSHIP_SERVICE_PORT": "1", "NBSHIP_": ""}
    assert variables(others) == []
    assert load(root, **others) == load(root)
    assert load(root, TRAIN__C="1", nbship_prepare__most="1") == load(root)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "NBSHIP_TRIAN_LINE__SCALE",
            "no pipeline has a step or key 'trian_line' | did you mean 'train-line'?",
        ),
        ("NBSHIP_PREPARE__", "NBSHIP_PREPARE__: not of the form NBSHIP_STEP__PARAMETER"),
        ("NBSHIP___", "NBSHIP___: no pipeline has a step or key ''"),
        ("NBSHIP_GATE__TOLERENCE", "unknown key 'gate.tolerence' | did you mean 'tolerance'?"),
        ("NBSHIP_GATE__TOLERANCE", "NBSHIP_GATE__TOLERANCE: gate.tolerance: "),
        ("NBSHIP_STEPS__PREPARE__CPU", "NBSHIP_STEPS__PREPARE__CPU: steps.prepare.cpu: "),
        ("NBSHIP_PREPARE__GRID__C", "the pipeline file has no steps.prepare.parameters.GRID to change"),
    ],
)
def test_a_misspelt_variable_is_told(root, name, said):
    message = problem(root, **{name: "lots"})
    assert message.startswith(f"{name}: ")
    assert said in message


def test_a_variable_for_another_pipeline_does_no_harm(root):
    other = root / "pipelines/other.yaml"
    other.write_text("name: other\nsteps: {fetch: {notebook: notebooks/prepare.ipynb}}\n")
    try:
        assert load(root, NBSHIP_FETCH__MOST="9") == load(root)
    finally:
        other.unlink()
    assert "no pipeline has a step or key 'fetch'" in problem(root, NBSHIP_FETCH__MOST="9")


def test_a_variable_adds_no_section_that_a_pipeline_does_without(root):
    other = root / "pipelines/other.yaml"
    other.write_text("name: other\nsteps: {fetch: {notebook: notebooks/prepare.ipynb}}\n")
    try:
        pipeline = load_pipeline(root, "other", environment={"NBSHIP_GATE__TOLERANCE": "0"})
        assert pipeline == load_pipeline(root, "other")
    finally:
        other.unlink()
    assert "no pipeline has a step or key 'publish'" in problem(root, NBSHIP_PUBLISH__STORE="models")


def test_text_that_is_no_yaml(root):
    assert "NBSHIP_GATE__STEP: the value is '[a', which cannot be read" in problem(
        root, NBSHIP_GATE__STEP="[a"
    )


@given(
    st.text(string.ascii_letters + "_", max_size=30),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
)
def test_any_variable_is_understood_or_a_usage_error(root, name, text):
    for start in ("NBSHIP_", "NBSHIP_PREPARE__", "NBSHIP_STEPS__"):
        try:
            load(root, **{start + name: text})
        except UsageError as error:
            assert "\n" not in error.message.replace(text, "")
