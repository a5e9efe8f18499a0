import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from nbship.cli import compile as compile_command
from nbship.cli import show as show_command
from nbship.config import StepSettings
from tests.projects import PIPELINE, write_notebook, write_project

GATE = """\
  judge: {notebook: notebooks/judge.ipynb, cpu: 2, memory: 1Gi, retries: 1, cache: false, after: [prepare]}
gate: {step: judge, thresholds: {rmse: {max: 3.2}, r2: {min: 0.8, max: 1}}}
publish: {model: train-line.model, reference: prepare.rows, target: y}
"""
TEXT = """\
line  Fits a line
  3 steps · image nbship

  data  table    Dataset  data.csv            Points
        from a DVC remote, or file elsewhere.csv

prepare  Prepare
  notebooks/prepare.ipynb
  in    table    Dataset  from data           points, one row each
  set   most     int      = 9, not 3          rows to keep
  set   names    list     = [1, 2]            list of numbers
  set   options  dict     = {"deep": {"flags": [true, 0.5]}}  nested
  set   C        float    = 1.0               penalty
  set   note     str      = ""                empty unless set
  set   strict   bool     = false             a switch
  out   rows     Dataset  to train-line       rows to learn from
  out   count    int      to train-line       how many there are
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    root = write_project(tmp_path, PIPELINE + GATE)
    parameters = 'model: "Input[Model]" = "m"\nlosses: "Output[Dataset]" = "l.csv"  # one line per row'
    write_notebook(root / "notebooks/judge.ipynb", parameters, title="Judge [it]")
    monkeypatch.chdir(root)
    return root


def nbship_(*arguments):
    app = typer.Typer()
    compile_command.register(app)
    show_command.register(app)
    result = CliRunner().invoke(app, arguments, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.output


def test_text(root):
    lines = nbship_("show", "line", "--set", "prepare.most=9").splitlines()
    squeezed = [" ".join(line.split()) for line in lines]
    for line in TEXT.splitlines():
        assert " ".join(line.split()) in squeezed
    assert squeezed[squeezed.index("judge Judge [it]") :] == [
        "judge Judge [it]",
        "notebooks/judge.ipynb · 2 CPU · 1Gi memory · retried up to 1× · never cached · after prepare",
        "in model Model from train-line",
        "out losses Dataset one line per row",
        "",
        "gate after judge",
        "rmse ≤ 3.2 · r2 ≥ 0.8 and ≤ 1 · losses no worse than the champion's on the same rows "
        "(at most 5% more), with 95% confidence",
        "",
        "publish train-line.model, learnt from prepare.rows, predicts y",
    ]


# A value for every key of a step that is not shown in a place of its own, and how it is shown.
KEYS = {
    "image": ("other:1", "image other:1"),
    "cpu": ("500m", "500m CPU"),
    "memory": ("2Gi", "2Gi memory"),
    "gpu": ("1", "1 GPU"),
    "accelerator": ("amd.com/gpu", "accelerator amd.com/gpu"),
    "env": ("{A: '1', B: two}", "variables A=1 B=two"),
    "secrets": ("{TOKEN: vault/key}", "secrets TOKEN=vault/key"),
    "node_selector": ("{disk: ssd}", "on nodes disk=ssd"),
    "tolerations": (
        "[{key: gpu, value: 'yes'}, {operator: Exists}]",
        "tolerates key=gpu value=yes, operator=Exists",
    ),
    "retries": ("3", "retried up to 3×"),
    "timeout": ("1.5", "1.5 s a cell"),
    "cache": ("false", "never cached"),
}


def test_every_key_of_a_step_can_be_shown(root):
    assert set(KEYS) == set(StepSettings.model_fields) - {"notebook", "inputs", "parameters", "after"}
    for key, (value, shown) in KEYS.items():
        setting = f"steps.prepare.{key}={value}"
        assert f"notebooks/prepare.ipynb · {shown}\n" in nbship_("show", "line", "--set", setting)
        [prepare] = [
            step
            for step in json.loads(nbship_("show", "line", "--set", setting, "--json"))["steps"]
            if step["name"] == "prepare"
        ]
        assert list(prepare["settings"]) == [key]


def test_columns_stand_under_each_other(root):
    rows = [
        line
        for line in nbship_("show", "line").splitlines()
        if line.startswith(("  in ", "  set ", "  out "))
    ]
    kinds = ("Dataset", "Model", "Metrics", "int", "list", "dict", "float", "str", "bool")
    assert len({min(row.find(f" {kind} ") for kind in kinds if f" {kind} " in row) for row in rows}) == 1


def test_an_input_of_another_name_says_whose_it_is(root):
    assert "from prepare.count" in nbship_("show", "line")


def test_mermaid(root):
    assert nbship_("show", "line", "--format", "mermaid").startswith("flowchart LR\n")


def test_json(root):
    shown = json.loads(nbship_("show", "line", "--json"))
    assert [step["name"] for step in shown["steps"]] == ["prepare", "train-line", "judge"]


def test_nothing_heavy_is_imported(root):
    program = (
        "import sys; from pathlib import Path; from nbship.cli import show, compile;"
        "from nbship.config import load_pipeline; from nbship.graph import read_graph;"
        "from nbship.workflow.show import view, mermaid;"
        "graph = read_graph(Path(), load_pipeline(Path(), 'line')); view(graph); mermaid(graph);"
        "print({'kfp', 'dvc', 'IPython', 'nbformat', 'papermill', 'pandas', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
