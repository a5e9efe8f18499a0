"""Texts arrive as they were written, by the rule by which Kubernetes changes a container's arguments."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nbship.config import validate
from nbship.graph import build_graph
from nbship.kubeflow.compile import compile_graph, pipeline_parameters, sent_value
from nbship.kubeflow.escaping import received, sent
from nbship.kubeflow.sweep import compile_sweep
from nbship.notebook import read_notebook
from tests.projects import write_notebook

# As a container has them: Kubernetes puts these in.
VARIABLES = {"HOME": "/root", "NAME": '"', "TOKEN": "secret", "": "empty"}
PIECES = [
    "$",
    "$$",
    "$(",
    "(",
    ")",
    "{",
    "{{",
    "}}",
    "HOME",
    "NAME",
    "$(HOME)",
    "$$(TOKEN)",
    "{{workflow.name}}",
]
TEXTS = st.lists(
    st.sampled_from([*PIECES, "a", "\\", '"', "'", "\n", "größer", "nbship:json:"]), max_size=6
).map("".join)
VALUES = st.recursive(
    TEXTS | st.integers(-9, 9) | st.booleans(),
    lambda items: st.lists(items, max_size=2) | st.dictionaries(TEXTS, items, max_size=2),
    max_leaves=4,
)


def expand(text: str) -> str:
    """What Kubernetes makes of an argument: the rule of third_party/forked/golang/expansion/expand.go.

    `$$` is one `$`; `$(NAME)` is the variable's value, or stays as it is where there is none; a `$` before
    anything else, and `$(` without an end, stay as they are.
    """
    made, at = [], 0
    while at < len(text):
        after = text[at + 1 : at + 2]
        end = text.find(")", at + 2)
        if text[at] != "$" or after not in ("$", "(") or (after == "(" and end < 0):
            made.append(text[at])
            at += 1
        elif after == "$":
            made.append("$")
            at += 2
        else:
            name = text[at + 2 : end]
            made.append(VARIABLES.get(name, f"$({name})"))
            at = end + 1
    return "".join(made)


@pytest.mark.parametrize(
    ("text", "arrives"),
    [
        ("$$", "$"),
        ("$$$", "$$"),
        ("$(HOME)", "/root"),
        ("$$(HOME)", "$(HOME)"),
        ("$(OTHER)", "$(OTHER)"),
        ("$(HOME", "$(HOME"),
        ("$HOME $", "$HOME $"),
        ("$(mktemp -d)/$()", "$(mktemp -d)/empty"),
    ],
)
def test_the_rule_of_kubernetes(text, arrives):
    assert expand(text) == arrives


@given(value=VALUES)
@example(value="$$")
@example(value={"$(HOME)": ["{{$.inputs}}"]})
def test_a_value_arrives_as_it_was_sent(value):
    way = json.dumps(sent(value), ensure_ascii=False)
    # Through the arguments of each driver on the way, and of the step.
    arrived = expand(expand(expand(way)))
    assert "{{" not in way
    assert received(json.loads(arrived)) == value


def texts(tree: Any) -> Iterator[str]:
    """All texts of a compiled pipeline, but the command that KFP's SDK has for every component."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, list):
        for item in tree:
            yield from texts(item)
    elif isinstance(tree, dict):
        for key, item in tree.items():
            if key == "command":
                yield item[-1]
            elif key != "args":
                yield key
                yield from texts(item)


def graph_with(folder: Any, value: Any, text: str) -> Any:
    settings = {"notebook": "n.ipynb", "env": {"NOTE": text}, "parameters": {"value": value}}
    declared = f"value: {type(value).__name__} = {type(value)()!r}  # {' '.join(text.split())}"
    path = write_notebook(folder / "n.ipynb", declared, f"print({text!r})", title=text or "t", text=text)
    pipeline = validate({"name": "p", "description": text, "steps": {"s": settings}}, "p.yaml")
    return build_graph(pipeline, {"s": read_notebook(path)})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=TEXTS | st.lists(VALUES, max_size=2) | st.dictionaries(TEXTS, VALUES, max_size=2), text=TEXTS)
def test_no_text_of_a_compiled_pipeline_is_changed(tmp_path, value, text):
    graph = graph_with(tmp_path, value, text)
    module = {"s": {"src/own.py": text.encode()}}

    spec = next(yaml.safe_load_all(compile_graph(graph, {}, module)))

    for each in texts(spec):
        assert expand(expand(each)) == each
        assert "{{" not in each
    default = spec["root"]["inputDefinitions"]["parameters"]["s_value"]["defaultValue"]
    assert received(default) == value
    source = spec["deploymentSpec"]["executors"]["exec-s"]["container"]["command"][-1]
    call = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and node.keywords)
    carried = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    assert json.loads(carried["variables"]) == {"NOTE": text}
    assert "".join(json.loads(carried["files"])["src/own.py"]) == text
    assert json.loads(carried["notebook"])["cells"][2]["source"] == f"print({text!r})".splitlines(
        keepends=True
    )


def test_values_of_a_sweep_arrive(tmp_path):
    graph = graph_with(tmp_path, "", "")
    spec = next(yaml.safe_load_all(compile_sweep(graph, [{"s.value": "$$"}, {"s.value": "$(HOME)"}])))
    (loop,) = (t for t in spec["root"]["dag"]["tasks"].values() if "parameterIterator" in t)
    items = json.loads(expand(loop["parameterIterator"]["items"]["raw"]))
    assert [received(item["s_value"]) for item in items] == ["$$", "$(HOME)"]


def test_what_the_run_itself_reads_is_refused_where_it_would_be_changed(tmp_path):
    from nbship.errors import UsageError

    path = write_notebook(tmp_path / "n.ipynb", "")
    tree = {"name": "p", "data": {"t": {"path": "d.csv"}}, "steps": {"s": {"notebook": "n.ipynb"}}}
    write_notebook(tmp_path / "n.ipynb", 't: "Input[Dataset]" = "d.csv"')
    graph = build_graph(validate(tree, "p.yaml"), {"s": read_notebook(path)})
    (revision,) = (p for p in pipeline_parameters(graph) if p.name == "revision")
    assert sent_value(revision, "feature/$5") == "feature/$5"
    with pytest.raises(UsageError, match="the run's revision: Kubeflow cannot carry"):
        sent_value(revision, "feature/$(HOME)")
