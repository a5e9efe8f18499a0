import ast
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbship.config import validate
from nbship.graph import Graph, build_graph
from nbship.kubeflow.component import clean_notebook, function_name, step_source
from nbship.notebook import read_notebook
from tests.projects import PREPARE, write_notebook

ANY_TEXT = st.text(st.characters(codec=None), max_size=60) | st.sampled_from(
    [
        '"""',
        "'''",
        "\\",
        'a\\"b',
        "{{$.inputs}}",
        "{{{",
        "''''",
        "\ud800",
        "\u2028",
        "größer",
        "\\N{DASH}",
        "\r",
    ]
)


def graph_with(path: Path, step: str = "only", **settings: object) -> Graph:
    tree = {
        "name": "p",
        "data": {"table": {"path": "data.csv"}},
        "steps": {step: {"notebook": "n.ipynb", **settings}},
    }
    return build_graph(validate(tree, "p.yaml"), {step: read_notebook(path)})


def keywords(source: str) -> dict[str, object]:
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {k.arg: ast.literal_eval(k.value) for call in calls for k in call.keywords if k.arg}


@settings(max_examples=150, deadline=None)
@given(title=ANY_TEXT, text=ANY_TEXT, code=ANY_TEXT, tag=ANY_TEXT)
def test_any_text_survives_in_a_component(tmp_path_factory, title, text, code, tag):
    path = write_notebook(
        tmp_path_factory.mktemp("notebook") / "n.ipynb", "a: int = 1", title=title, text=text
    )
    content = json.loads(path.read_text())
    content["cells"][0]["source"] += code
    content["cells"].append({"cell_type": "raw", "id": "raw", "metadata": {"tags": [tag]}, "source": code})
    path.write_text(json.dumps(content))
    graph = graph_with(path)

    source = step_source(graph, graph.steps["only"])

    assert json.loads(keywords(source)["notebook"]) == clean_notebook(path)
    assert "{{" not in source
    source.encode("utf-8")
    shown = ast.get_docstring(ast.parse(source).body[0], clean=False)
    assert shown.startswith(graph.steps["only"].notebook.title)
    assert shown.split()[-1:] == [*graph.steps["only"].notebook.description.split()][-1:] or not text.strip()


def test_a_component_declares_what_the_notebook_declares(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", PREPARE)
    graph = graph_with(path, "some-step")

    function = ast.parse(step_source(graph, graph.steps["some-step"])).body[0]

    assert isinstance(function, ast.FunctionDef)
    assert function.name == "some_step"
    assert {a.arg: ast.unparse(a.annotation) for a in function.args.args} == {
        "table": "dsl.Input[dsl.Dataset]",
        "most": "int",
        "names": "list",
        "options": "dict",
        "C": "float",
        "note": "str",
        "strict": "bool",
        "rows": "dsl.Output[dsl.Dataset]",
        "count": "dsl.OutputPath(int)",
        "executed_notebook": "dsl.Output[dsl.HTML]",
    }


def test_what_running_a_notebook_changes_is_left_out(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", "a: int = 1", "print(a)\na")
    clean = clean_notebook(path)
    content = json.loads(path.read_text())
    for cell in content["cells"][1:]:
        cell["outputs"], cell["execution_count"], cell["metadata"]["execution"] = [], 99, {"started": "today"}
    content["metadata"] = {"language_info": {"version": "3.99"}, "papermill": {}}
    path.write_text(json.dumps(content))

    assert clean_notebook(path) == clean
    assert clean["cells"][1]["metadata"] == {"tags": ["parameters"]}
    assert clean["cells"][2] == {
        "cell_type": "code",
        "execution_count": None,
        "id": "cell-0",
        "metadata": {},
        "outputs": [],
        "source": ["print(a)\n", "a"],
    }


@pytest.mark.parametrize(
    ("component", "expected"), [("train", "train"), ("fit-all", "fit_all"), ("import", "import_")]
)
def test_function_name(component, expected):
    assert function_name(component) == expected
