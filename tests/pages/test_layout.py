from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbship.pages.layout import layout

BREADTH, GAP = 40.0, 10.0


@st.composite
def graphs(draw, most=14):
    nodes = [f"n{i}" for i in range(draw(st.integers(1, most)))]
    pairs = list(combinations(nodes, 2))
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=30)) if pairs else []
    return draw(st.permutations(nodes)), edges


@given(graphs())
@settings(max_examples=200)
def test_edges_lead_forward_and_nothing_overlaps(graph):
    nodes, edges = graph
    plan = layout(nodes, edges, BREADTH, GAP)
    assert set(plan.nodes) == set(nodes)
    assert {place.layer for place in plan.nodes.values()} <= set(range(plan.layers))
    for (source, target), route in plan.edges.items():
        assert (route[0], route[-1]) == (plan.nodes[source], plan.nodes[target])
        assert all(there.layer == here.layer + 1 for here, there in pairwise(route))
    for one, other in combinations(plan.nodes.values(), 2):
        if one.layer == other.layer:
            assert abs(one.position - other.position) >= BREADTH + GAP - 1e-6
    for place in plan.nodes.values():
        assert BREADTH / 2 - 1e-6 <= place.position <= plan.breadth - BREADTH / 2 + 1e-6


@given(graphs())
def test_bends_keep_clear_of_nodes(graph):
    nodes, edges = graph
    plan = layout(nodes, edges, BREADTH, GAP)
    for route in plan.edges.values():
        for bend in route[1:-1]:
            for place in plan.nodes.values():
                if place.layer == bend.layer:
                    assert abs(place.position - bend.position) > BREADTH / 2


def test_a_chain_is_a_straight_line():
    nodes = [f"n{i}" for i in range(200)]
    plan = layout(nodes, pairwise(nodes), BREADTH, GAP)
    assert plan.layers == 200
    assert {place.position for place in plan.nodes.values()} == {BREADTH / 2}


def test_a_fan_has_three_layers_and_its_ends_in_the_middle():
    leaves = [f"n{i}" for i in range(198)]
    edges = [("first", leaf) for leaf in leaves] + [(leaf, "last") for leaf in leaves]
    plan = layout(["first", *leaves, "last"], edges, BREADTH, GAP)
    assert plan.layers == 3
    assert plan.breadth == pytest.approx(198 * BREADTH + 197 * GAP)
    for end in ("first", "last"):
        assert plan.nodes[end].position == pytest.approx(plan.breadth / 2)


def test_crossings_are_untangled():
    nodes = ["a", "b", "c", "x", "y", "z"]
    plan = layout(nodes, [("a", "z"), ("b", "y"), ("c", "x")], BREADTH, GAP)
    for source, target in (("a", "z"), ("b", "y"), ("c", "x")):
        assert plan.nodes[source].position == pytest.approx(plan.nodes[target].position)


def test_crossings_are_untangled_from_behind_as_well():
    # From the front alone, one crossing stays.
    edges = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")]
    plan = layout(["d", "a", "b", "c"], edges, BREADTH, GAP)
    lines = [
        (here.layer, here.position, there.position)
        for route in plan.edges.values()
        for here, there in pairwise(route)
    ]
    crossed = [
        (one, other)
        for one, other in combinations(lines, 2)
        if one[0] == other[0] and (one[1] - other[1]) * (one[2] - other[2]) < 0
    ]
    assert crossed == []


def test_what_feeds_a_late_step_stands_next_to_it():
    edges = [("table", "prepare"), ("prepare", "train"), ("train", "judge"), ("champion", "judge")]
    plan = layout(["table", "champion", "prepare", "train", "judge"], edges, BREADTH, GAP)
    assert plan.nodes["champion"].layer == plan.nodes["train"].layer == 2


def test_an_edge_that_is_given_twice_is_drawn_once():
    assert len(layout(["a", "b"], [("a", "b"), ("a", "b")], BREADTH, GAP).edges) == 1
