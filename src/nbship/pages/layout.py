"""Places the nodes of a directed acyclic graph in layers, so that it reads in one direction.

The classic four steps (Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system
structures", 1981): layers by longest path, a bend in every layer that a long edge passes, few crossings by
barycentres, and positions that keep edges straight. Knows nothing of what the nodes are or how they look.
"""

from __future__ import annotations

import bisect
import graphlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

Edge = tuple[str, str]
_SWEEPS = 8
_LANE = 14.0


@dataclass(frozen=True)
class Place:
    """Where something is: its layer, from 0, and its centre across the layers, in pixels from 0."""

    layer: int
    position: float


@dataclass(frozen=True)
class Layout:
    """Where everything is.

    Attributes:
        nodes: Place by node.
        edges: For every edge the places it passes, from its source to its target, one per layer.
        layers: How many layers there are.
        breadth: Extent across the layers, in pixels.
    """

    nodes: Mapping[str, Place]
    edges: Mapping[Edge, Sequence[Place]]
    layers: int
    breadth: float


def layout(nodes: Sequence[str], edges: Iterable[Edge], breadth: float, gap: float) -> Layout:
    """Places nodes in layers.

    Args:
        nodes: At least one.
        edges: Source and target; together they make no cycle.
        breadth: Extent of a node across the layers, in pixels.
        gap: Least distance between neighbours in a layer, in pixels.
    """
    wires = list(dict.fromkeys(edges))
    layer_of = _layers(nodes, wires)
    # A node is keyed by its name, a bend by its edge and layer.
    routes: dict[Edge, list[Hashable]] = {
        (a, b): [a, *((a, b, layer) for layer in range(layer_of[a] + 1, layer_of[b])), b] for a, b in wires
    }
    layers: list[list[Hashable]] = [[] for _ in range(max(layer_of.values()) + 1)]
    for node in nodes:
        layers[layer_of[node]].append(node)
    for (source, _), route in routes.items():
        for layer, bend in enumerate(route[1:-1], layer_of[source] + 1):
            layers[layer].append(bend)
    links = [pair for route in routes.values() for pair in pairwise(route)]
    layers = _ordered(layers, links)
    sizes = {key: breadth if isinstance(key, str) else _LANE for layer in layers for key in layer}
    positions = _positions(layers, links, sizes, gap)
    low = min(positions[key] - sizes[key] / 2 for key in positions)
    high = max(positions[key] + sizes[key] / 2 for key in positions)
    places = {
        key: Place(number, positions[key] - low) for number, layer in enumerate(layers) for key in layer
    }
    return Layout(
        nodes={node: places[node] for node in nodes},
        edges={edge: [places[key] for key in route] for edge, route in routes.items()},
        layers=len(layers),
        breadth=high - low,
    )


def _layers(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """The layer of each node: after all it needs, near to what needs it where no edge gets longer by that."""
    before: dict[str, list[str]] = {node: [] for node in nodes}
    after: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in edges:
        before[target].append(source)
        after[source].append(target)
    order = list(graphlib.TopologicalSorter(before).static_order())
    layer: dict[str, int] = {}
    for node in order:
        layer[node] = 1 + max((layer[other] for other in before[node]), default=-1)
    for node in reversed(order):
        # A source moves along with the one node it feeds, so its edge does not hold that node back.
        held = [other for other in before[node] if before[other] or len(after[other]) > 1]
        if after[node] and len(after[node]) >= len(held):
            layer[node] = min(layer[other] for other in after[node]) - 1
    return layer


def _neighbours(links: Iterable[tuple[Hashable, Hashable]]) -> tuple[dict[Hashable, list[Hashable]], ...]:
    before: dict[Hashable, list[Hashable]] = {}
    after: dict[Hashable, list[Hashable]] = {}
    for source, target in links:
        before.setdefault(target, []).append(source)
        after.setdefault(source, []).append(target)
    return before, after


def _ordered(
    layers: list[list[Hashable]], links: Sequence[tuple[Hashable, Hashable]]
) -> list[list[Hashable]]:
    """Orders each layer by the mean place of its neighbours in the layer before, or after, to and fro."""
    before, after = _neighbours(links)
    best, fewest = layers, _crossings(layers, before)
    current = [list(layer) for layer in layers]
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        forwards = sweep % 2 == 0
        neighbours = before if forwards else after
        numbers = range(len(layers)) if forwards else reversed(range(len(layers)))
        index: dict[Hashable, int] = {}
        for number in numbers:
            index |= {key: place for place, key in enumerate(current[number])}
            means = {
                key: sum(index[other] for other in neighbours[key]) / len(neighbours[key])
                if key in neighbours
                else index[key]
                for key in current[number]
            }
            current[number].sort(key=means.__getitem__)
            index |= {key: place for place, key in enumerate(current[number])}
        crossings = _crossings(current, before)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in current], crossings
    return best


def _crossings(layers: Sequence[Sequence[Hashable]], before: Mapping[Hashable, list[Hashable]]) -> int:
    """Counts pairs of edges that cross: inversions among the targets, met in the order of the sources."""
    crossings = 0
    for upper, lower in pairwise(layers):
        index = {key: place for place, key in enumerate(upper)}
        ends = sorted((index[s], place) for place, key in enumerate(lower) for s in before.get(key, ()))
        seen: list[int] = []
        for _, end in ends:
            crossings += len(seen) - bisect.bisect_right(seen, end)
            bisect.insort(seen, end)
    return crossings


def _positions(
    layers: Sequence[Sequence[Hashable]],
    links: Sequence[tuple[Hashable, Hashable]],
    sizes: Mapping[Hashable, float],
    gap: float,
) -> dict[Hashable, float]:
    """Draws each node towards the mean of its neighbours, in turn from both sides, keeping order and gaps."""
    before, after = _neighbours(links)
    positions: dict[Hashable, float] = {}
    for layer in layers:
        positions |= _spread(layer, dict.fromkeys(layer, 0.0), sizes, gap)
    for sweep in range(_SWEEPS):
        neighbours = before if sweep % 2 else after
        for layer in layers if sweep % 2 else reversed(layers):
            wanted = {
                key: sum(positions[other] for other in neighbours[key]) / len(neighbours[key])
                if key in neighbours
                else positions[key]
                for key in layer
            }
            positions |= _spread(layer, wanted, sizes, gap)
    return positions


def _spread(
    layer: Sequence[Hashable], wanted: Mapping[Hashable, float], sizes: Mapping[Hashable, float], gap: float
) -> dict[Hashable, float]:
    """The positions nearest to the wanted ones, by least squares, that keep the order and the gaps.

    Isotonic regression by pooling adjacent violators (Ayer et al., 1955), on positions less the room that the
    nodes before them need.
    """
    room = [0.0, *accumulate((sizes[a] + sizes[b]) / 2 + gap for a, b in pairwise(layer))]
    pools: list[tuple[float, int]] = []
    for key, offset in zip(layer, room, strict=True):
        mean, count = wanted[key] - offset, 1
        while pools and pools[-1][0] > mean:
            other, others = pools.pop()
            mean, count = (mean * count + other * others) / (count + others), count + others
        pools.append((mean, count))
    level = [mean for mean, count in pools for _ in range(count)]
    return {key: mean + offset for key, mean, offset in zip(layer, level, room, strict=True)}
