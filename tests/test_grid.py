"""The combinations of a sweep, and the graph that runs them all."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.errors import UsageError
from nbship.grid import Choice, combinations, merge_graphs, parse_choice, varied
from tests.projects import graph_of, write_notebook, write_project


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1,1,10", ("0.1", "1", "10")),
        ("[0.1, 1, 10]", ("0.1", "1", "10")),
        ("5", ("5",)),
        ("[1],[2, 3]", ("[1]", "[2, 3]")),
        ("[[1], [2, 3]]", ("[1]", "[2, 3]")),
        ("{a: 1},{a: 2}", ("{a: 1}", "{a: 2}")),
        ("rbf,\"a,b\",'c d'", ("rbf", "a,b", "c d")),
        ("1e-3,true,null", ("1e-3", "true", "null")),
        ("1,1,2", ("1", "2")),
        ("a=b", ("a=b",)),
    ],
)
def test_values_are_read_as_a_list(text, values):
    assert parse_choice(f"train.C={text}") == Choice("train", "C", values)


@pytest.mark.parametrize(
    "setting", ["train.C", "C=1", "train.=1", ".C=1", "a.b.c=1", "train.C=", "train.C=[", "="]
)
def test_what_is_no_choice(setting):
    with pytest.raises(UsageError, match="--set"):
        parse_choice(setting)


def test_all_combinations_in_order():
    choices = [Choice("a", "x", ("1", "2")), Choice("b", "y", ("3",)), Choice("b", "z", ("4", "5"))]
    assert combinations(choices) == [
        ("a.x=1", "b.y=3", "b.z=4"),
        ("a.x=1", "b.y=3", "b.z=5"),
        ("a.x=2", "b.y=3", "b.z=4"),
        ("a.x=2", "b.y=3", "b.z=5"),
    ]


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    number=st.integers(1, 50),
    seed=st.integers(0, 9),
)
def test_a_draw_is_some_of_them_without_repetition(sizes, number, seed):
    choices = [Choice("s", f"p{i}", tuple(map(str, range(size)))) for i, size in enumerate(sizes)]
    every = combinations(choices)
    drawn = combinations(choices, number, seed)
    assert len(every) == math.prod(sizes)
    assert len(set(drawn)) == len(drawn) == min(number, len(every))
    assert set(drawn) <= set(every)
    assert drawn == combinations(choices, number, seed)


def test_too_many_and_twice():
    thousand = Choice("a", "x", tuple(map(str, range(1000))))
    with pytest.raises(UsageError, match="2,000 combinations"):
        combinations([thousand, Choice("a", "y", ("1", "2"))])
    assert len(combinations([thousand, Choice("a", "y", ("1", "2"))], at_random=7)) == 7
    with pytest.raises(UsageError, match=r"a\.x is given twice"):
        combinations([thousand, thousand])


def test_what_combinations_share_is_there_once(tmp_path):
    root = write_project(tmp_path)
    settings = [("prepare.most=2",), ("prepare.most=3",), ("prepare.most=2", "prepare.C=1.0")]
    graph, places = merge_graphs([graph_of(root, *each) for each in settings])
    assert list(graph.steps) == ["prepare-1", "train-line-1", "prepare-2", "train-line-2"]
    assert places[0] == places[2] == {"prepare": "prepare-1", "train-line": "train-line-1"}
    assert graph.steps["train-line-2"].upstream == ("prepare-2",)
    assert graph.steps["prepare-2"].parameters["most"] == 3


def test_what_a_step_waits_for_is_as_it_is_called_in_the_merged_graph(tmp_path):
    root = write_project(tmp_path)
    write_notebook(root / "notebooks/late.ipynb", "", "late = True")
    path = root / "pipelines/line.yaml"
    path.write_text(path.read_text() + "  late: {notebook: notebooks/late.ipynb, after: [prepare]}\n")
    graph, places = merge_graphs([graph_of(root, f"prepare.most={most}") for most in (2, 3)])
    assert places[0]["late"] != places[1]["late"]
    for place, other in zip(places, ("prepare-1", "prepare-2"), strict=True):
        assert graph.steps[place["late"]].settings.after == [other]
        assert graph.steps[place["late"]].upstream == (other,)


def test_a_single_combination_keeps_its_names(tmp_path):
    graph = graph_of(write_project(tmp_path))
    merged, (place,) = merge_graphs([graph])
    assert list(merged.steps) == list(graph.steps) == list(place.values())
    assert varied([graph], [Choice("prepare", "most", ("4",))]) == [{"prepare.most": 4}]
