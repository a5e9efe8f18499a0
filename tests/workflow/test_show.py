import json

import pytest

from nbship.workflow.show import mermaid, view
from tests.projects import PIPELINE, TRAIN, graph_of, write_notebook, write_project

JUDGED = (
    PIPELINE
    + """\
  judge-it: {notebook: notebooks/judge.ipynb, after: [prepare], retries: 2, memory: 1Gi}
gate: {step: judge-it, thresholds: {slope: {max: 3}}}
publish: {model: train-line.model, reference: prepare.rows, target: y}
"""
)


@pytest.fixture
def judged(tmp_path):
    root = write_project(tmp_path, JUDGED)
    write_notebook(
        root / "notebooks/judge.ipynb", 'model: "Input[Model]" = "m"\nlosses: "Output[Dataset]" = "l.csv"'
    )
    return graph_of(root, "prepare.most=9")


def test_a_step_has_its_signature_wiring_and_settings(judged):
    steps = {step.name: step for step in view(judged).steps}
    prepare = {variable.name: variable for variable in steps["prepare"].variables}

    assert (steps["prepare"].title, steps["prepare"].description) == ("Prepare", "Keeps the first rows.")
    assert (prepare["most"].value, prepare["most"].default, prepare["most"].help) == (9, 3, "rows to keep")
    assert prepare["table"].origin == "table"
    assert prepare["rows"].readers == ("train-line.rows",)
    assert prepare["count"].readers == ("train-line.scale",)
    scale = next(v for v in steps["train-line"].variables if v.name == "scale")
    assert (scale.origin, scale.value) == ("prepare.count", None)
    assert steps["judge-it"].after == ("prepare",)
    assert steps["judge-it"].settings == {"retries": 2, "memory": "1Gi"}


def test_data_gate_and_publication(judged):
    shown = view(judged)
    assert [(d.name, d.path, d.source) for d in shown.data] == [("table", "data.csv", "file elsewhere.csv")]
    assert shown.gate["thresholds"] == {"slope": {"min": None, "max": 3}}
    assert shown.publish["target"] == "y"


def test_it_is_plain_data(judged):
    tree = view(judged).as_json()
    assert json.loads(json.dumps(tree))["steps"][0]["variables"][0]["role"] == "input"


def test_the_flowchart_has_every_node_and_edge(judged):
    assert mermaid(judged) == (
        "flowchart LR\n"
        '    data_1[("data.csv")]\n'
        '    step_prepare["prepare"]\n'
        '    step_train_line["train-line"]\n'
        '    step_judge_it["judge-it"]\n'
        '    data_1 -->|"table"| step_prepare\n'
        '    step_prepare -->|"rows, scale"| step_train_line\n'
        '    step_train_line -->|"model"| step_judge_it\n'
        "    step_prepare --> step_judge_it\n"
        '    gate{"gate"}\n'
        "    step_judge_it --> gate\n"
        '    publish(["publish"])\n'
        "    gate -->|pass| publish\n"
    )


def test_a_flowchart_without_gate(tmp_path):
    root = write_project(
        tmp_path, PIPELINE + "publish: {model: train-line.model, reference: prepare.rows, target: y}\n"
    )
    assert mermaid(graph_of(root)).endswith("    step_train_line --> publish\n")


def test_names_that_would_end_a_label_are_written_as_entities(tmp_path):
    root = write_project(tmp_path, PIPELINE.replace("path: data.csv", "path: 'a\"#<b.csv'"))
    assert 'data_1[("a#quot;#35;#lt;b.csv")]' in mermaid(graph_of(root))


def test_a_notebook_may_be_used_by_two_steps(tmp_path):
    root = write_project(tmp_path, PIPELINE + "  again: {notebook: notebooks/train.ipynb}\n")
    write_notebook(root / "notebooks/train.ipynb", TRAIN)
    prepare = view(graph_of(root)).steps[0]
    assert next(v for v in prepare.variables if v.name == "rows").readers == ("train-line.rows", "again.rows")
