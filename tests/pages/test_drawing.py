from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.pages.drawing import Edge, Node, draw, graph_svg, run_svg
from nbship.record import State
from tests.projects import graph_of, write_project
from tests.records import every_state, make_record, parse_svg

SVG = "{http://www.w3.org/2000/svg}"
# What XML can hold; other characters have no place in a name.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=40)


def labels(svg):
    return [group.get("aria-label") for group in parse_svg(svg).iter(f"{SVG}g") if group.get("role") == "img"]


@pytest.mark.parametrize("direction", ["right", "down"])
def test_a_run_tells_every_step_with_its_state(direction):
    svg = run_svg(make_record(), direction)
    assert sorted(labels(svg)) == [
        "data champion: model.joblib",
        "data table: data.csv",
        "gate gate: passed",
        "step evaluate-champion: 1.27 s",
        "step evaluate: 1.27 s",
        "step prepare: from cache",
        "step train: 1.27 s",
    ]
    assert 'href="#step-train"' in svg
    assert "<desc>table leads to prepare; prepare leads to train, evaluate, evaluate-champion;" in svg


def test_names_of_artifacts_stand_on_the_arrows():
    svg = run_svg(make_record())
    titles = [title.text for title in parse_svg(svg).iter(f"{SVG}title")]
    assert {"prepare to train: train_set", "train to evaluate: model", "evaluate to gate: losses"} <= {
        *titles
    }
    names = [text.text for text in parse_svg(svg).iter(f"{SVG}text") if text.get("class") == "name"]
    assert sorted(names) == ["losses", "losses", "model", "test_set", "test_set", "train_set"]


@pytest.mark.parametrize(
    ("name", "step", "state", "note", "gate"),
    [
        ("failed", "train", "failed", "failed, 1.27 s", "not reached"),
        ("failed", "evaluate", "skipped", "skipped", "not reached"),
        ("interrupted", "train", "interrupted", "interrupted", "not reached"),
        ("running", "evaluate", "waiting", "waiting", "not reached"),
        ("worse", "train", "done", "1.27 s", "rejected"),
        ("cached", "train", "cached", "from cache", "passed"),
    ],
)
def test_states(name, step, state, note, gate):
    svg = run_svg(every_state()[name])
    assert f'<g class="node step {state} state" role="img" aria-label="step {step}: {note}"' in svg
    assert f'aria-label="gate gate: {gate}"' in svg


@pytest.mark.parametrize("state", list(State))
def test_no_state_is_told_by_colour_alone(state):
    svg = draw([Node("a", "a", state=state)], [], "one")
    assert '<path class="sign"' in svg


def test_a_pipeline_that_has_not_run(tmp_path):
    svg = graph_svg(graph_of(write_project(tmp_path)))
    assert labels(svg) == [
        "data table: data.csv",
        "step prepare: prepare.ipynb",
        "step train-line: train.ipynb",
    ]
    assert "prepare to train-line: rows, count" in unescape(svg)
    assert 'class="sign"' not in svg


@given(TEXT, TEXT, TEXT)
def test_any_text_is_escaped(label, note, name):
    svg = draw([Node("a", label, note=note), Node("b", "b")], [Edge("a", "b", (name,))], label)
    root = parse_svg(svg)
    assert root.get("aria-label") == label
    assert not list(root.iter(f"{SVG}script"))
    assert len(list(root)) == 6  # desc, style, page, an arrow, two nodes


@pytest.mark.parametrize("direction", ["right", "down"])
def test_boxes_are_inside_the_picture(direction):
    root = parse_svg(run_svg(make_record(), direction))
    x, y, width, height = map(float, root.get("viewBox").split())
    for group in root.iter(f"{SVG}g"):
        if group.get("transform"):
            left, top = map(
                float, group.get("transform").removeprefix("translate(").removesuffix(")").split()
            )
            assert x <= left <= x + width - 104
            assert y <= top <= y + height - 46


def test_two_hundred_steps_have_no_names_on_their_arrows():
    nodes = [Node(f"n{i}", f"step {i}", state="done") for i in range(200)]
    svg = draw(nodes, [Edge("n0", f"n{i}", ("rows",)) for i in range(1, 200)], "fan")
    assert len(labels(svg)) == 200
    assert 'class="name"' not in svg
