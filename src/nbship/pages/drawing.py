"""Draws a pipeline, or a run of one, as an SVG picture that stands on its own.

The picture brings its own style, light and dark, and needs no script; a reader who cannot see it gets the
same from its labels. Where things go is decided by `layout`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate, pairwise
from typing import Literal

from nbship.config import Gate
from nbship.graph import RECIPES, REFITS, Graph, Reference, champion_step
from nbship.pages.formatting import seconds_text
from nbship.pages.layout import Layout, Place, layout
from nbship.record import RunRecord, State, StepRecord

Direction = Literal["right", "down"]
GATE = "gate"
_HEIGHT = 46
_MARGIN = 8
_LABELLED_AT_MOST = 14
_CHARACTER = 8.3
_SMALL_CHARACTER = 6.2
# Pixels up to which a picture may become as small as the page is, and beyond, the share that it keeps.
_SHRINKS_UP_TO = 1400
_SMALLEST = 0.85
# Pixels that a smaller picture keeps: on a phone, and on a screen.
_NARROW = 290
_WIDE = 700

# Drawn in a box of 16 by 16, so that a state can be told without its colour.
_SIGNS = {
    "done": "M4 8.5l2.8 2.8L12 5.4",
    "cached": "M12 8a4 4 0 1 1-1.4-3.1M10.9 2.6v2.5H8.4",
    "failed": "M5 5l6 6M11 5l-6 6",
    "skipped": "M4.8 8h6.4",
    "interrupted": "M6.2 5v6M9.8 5v6",
    "running": "M6.2 4.8l5 3.2-5 3.2z",
    "waiting": "M8 5v3.2l2.2 1.4",
}
_STYLE = """
.nbship-graph{--ink:#1c2430;--soft:#566072;--line:#a3adba;--face:#fff;--edge:#d5dae1;--back:#f4f6f8;--page:#fff;
--done:#18794e;--cached:#2563b8;--failed:#c22b2b;--interrupted:#9a5b00;--idle:#687284;
font:600 13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
@media screen and (prefers-color-scheme:dark){.nbship-graph{--ink:#e8ecf2;--soft:#a4aebd;--line:#5d6878;
--face:#1d2430;--edge:#3a4455;--back:#232b38;--page:#161b24;
--done:#4cc38a;--cached:#70a9ff;--failed:#ff7b72;--interrupted:#e5a63d;--idle:#8b95a5}}
.nbship-graph .page{fill:var(--page)}
.nbship-graph .wire{fill:none;stroke:var(--line);stroke-width:1.5}
.nbship-graph .tip{fill:var(--line)}
.nbship-graph .node{--tone:var(--idle)}
.nbship-graph .done{--tone:var(--done)}.nbship-graph .cached,.nbship-graph .running{--tone:var(--cached)}
.nbship-graph .failed{--tone:var(--failed)}.nbship-graph .interrupted{--tone:var(--interrupted)}
.nbship-graph .box{fill:var(--face);stroke:var(--edge);stroke-width:1.25}
.nbship-graph .state .box{stroke:var(--tone)}
.nbship-graph .data .box{fill:var(--back)}
.nbship-graph .waiting .box,.nbship-graph .skipped .box{stroke:var(--edge);stroke-dasharray:4 3}
.nbship-graph .disc{fill:var(--tone);opacity:.14}
.nbship-graph .sign{fill:none;stroke:var(--tone);stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}
.nbship-graph text{fill:var(--ink)}
.nbship-graph .note{font-size:11px;font-weight:400;fill:var(--soft)}
.nbship-graph .name{font-size:10.5px;font-weight:400;fill:var(--soft);text-anchor:middle;
paint-order:stroke;stroke:var(--page);stroke-width:5px;stroke-linejoin:round}
.nbship-graph a:hover .box,.nbship-graph a:focus-visible .box{stroke:var(--ink);stroke-width:2}
.nbship-graph a:focus{outline:none}
""".replace("\n", "")


@dataclass(frozen=True)
class Node:
    """A box of the picture.

    Attributes:
        name: What edges know it by.
        label: What it is called.
        kind: What it is.
        note: The second line.
        state: A step's state; empty where nothing has been run.
        link: Address that a click leads to.
    """

    name: str
    label: str
    kind: Literal["data", "step", "gate"] = "step"
    note: str = ""
    state: str = ""
    link: str = ""


@dataclass(frozen=True)
class Edge:
    """An arrow, with the names of the artifacts that go along it."""

    source: str
    target: str
    names: tuple[str, ...] = ()


def graph_svg(graph: Graph, direction: Direction = "right") -> str:
    """Draws a pipeline as it is wired, before anything has run.

    Args:
        graph: The pipeline.
        direction: Where the data flows to; `down` suits a narrow column.
    """
    wires: dict[tuple[str, str], list[str]] = {}
    nodes = [Node(_data(name), name, "data", path) for name, path in graph.data.items()]
    for step in graph.steps.values():
        nodes.append(Node(step.name, step.name, note=step.notebook.path.name))
        for upstream in step.upstream:
            wires.setdefault((upstream, step.name), [])
        for reference in step.inputs.values():
            source = reference.step or _data(reference.name)
            wires.setdefault((source, step.name), []).append(reference.name if reference.step else "")
    gate = graph.pipeline.gate
    if gate:
        nodes.append(Node(GATE, "gate", "gate", ", ".join(gate.thresholds)))
        wires |= {(name, GATE): [told] for name, told in _judged(gate).items() if name in graph.steps}
    return draw(nodes, _edges(wires), f"The pipeline {graph.name}", direction)


def run_svg(record: RunRecord, direction: Direction = "right", page: str = "") -> str:
    """Draws a run: every step with its state and seconds, and a link to `#step-NAME`.

    Args:
        record: The run.
        direction: Where the data flows to; `down` suits a narrow column.
        page: The run page's address, if the picture is not on it.
    """
    wires: dict[tuple[str, str], list[str]] = {}
    nodes: dict[str, Node] = {}
    for step in record.steps.values():
        for artifact in step.inputs.values():
            source, name = Reference.parse(artifact.origin)
            if source is None:
                label = artifact.path.rpartition("/")[2]
                nodes.setdefault(_data(name), Node(_data(name), name, "data", label))
            wires.setdefault((source or _data(name), step.name), []).append(name if source else "")
        for upstream in step.upstream:
            wires.setdefault((upstream, step.name), [])
        nodes[step.name] = Node(
            step.name, step.name, "step", step_note(step), step.state, f"{page}#step-{step.name}"
        )
    if record.gate:
        nodes[GATE] = _gate_node(record, page)
        judged = _judged(record.gate)
        wires |= {(name, GATE): [told] for name, told in judged.items() if name in record.steps}
    known = {key: names for key, names in wires.items() if key[0] in nodes}
    return draw(list(nodes.values()), _edges(known), f"The run {record.id} of {record.pipeline}", direction)


def draw(nodes: Sequence[Node], edges: Iterable[Edge], label: str, direction: Direction = "right") -> str:
    """Draws nodes and edges as an SVG element.

    Args:
        nodes: At least one.
        edges: Without cycles; both ends are among the nodes.
        label: What the picture shows, for who cannot see it.
        direction: Where the edges lead to.
    """
    edges = list(edges)
    down = direction == "down"
    widest = max(map(_width, nodes))
    plan = layout(
        [node.name for node in nodes],
        [(edge.source, edge.target) for edge in edges],
        breadth=widest if down else _HEIGHT,
        gap=14 if down else 18,
    )
    named = len(nodes) <= _LABELLED_AT_MOST and not down
    longest = max((len(_names(edge)) for edge in edges), default=0) if named else 0
    gap = 34.0 if down else min(max(44, 26 + longest * _SMALL_CHARACTER), 150)
    pen = _pen(nodes, plan, down, widest, gap)
    parts = [pen.wire(edge, named) for edge in edges] + [pen.node(node) for node in nodes]
    along = pen.starts[-1] + pen.depths[-1]
    extent = (plan.breadth, along) if down else (along, plan.breadth)
    width, height = extent[0] + 2 * _MARGIN, extent[1] + 2 * _MARGIN
    box = f'x="{-_MARGIN}" y="{-_MARGIN}" width="{width:.0f}" height="{height:.0f}"'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="nbship-graph" role="group" '
        f'aria-label="{escape(label)}" width="{width:.0f}" height="{height:.0f}" {_least(width, down)}'
        f'viewBox="{-_MARGIN} {-_MARGIN} {width:.0f} {height:.0f}">'
        f"<desc>{escape(_described(nodes, edges))}</desc><style>{_STYLE}</style>"
        f'<rect class="page" {box} rx="8"/>{"".join(parts)}</svg>'
    )


def svg_width(svg: str) -> int:
    """Returns the width in pixels that a picture of `draw` has by itself; 0 for none."""
    found = re.search(r' width="(\d+)"', svg)
    return int(found[1]) if found else 0


def _least(width: float, down: bool) -> str:
    """A picture is scrolled rather than made too small to read, and none is made larger than it is."""
    least = _SMALLEST * width if width > _SHRINKS_UP_TO else min(width, _NARROW if down else _WIDE)
    return f'style="min-width:{least:.0f}px" '


def sign_path(state: str) -> str:
    """Returns the SVG path of a state's sign, in a box of 16 by 16; empty for an unknown state."""
    return _SIGNS.get(state, "")


def step_note(step: StepRecord) -> str:
    """Returns a step's state in a few words, with its seconds where it ran."""
    if step.state is State.CACHED:
        return "from cache"
    took = seconds_text(step.seconds)
    return {State.DONE: took, State.FAILED: f"failed, {took}"}.get(step.state, str(step.state))


def _pen(nodes: Sequence[Node], plan: Layout, down: bool, widest: float, gap: float) -> _Pen:
    """Rows are all as high as a node; columns are as wide as the widest node in them."""
    depths = [float(_HEIGHT) if down else 0.0] * plan.layers
    if not down:
        for node in nodes:
            layer = plan.nodes[node.name].layer
            depths[layer] = max(depths[layer], _width(node))
    starts = [start + number * gap for number, start in enumerate(accumulate(depths[:-1], initial=0.0))]
    return _Pen(plan, down, widest, gap, depths, starts)


@dataclass(frozen=True)
class _Pen:
    """Turns places into coordinates; `down` swaps the axes.

    Attributes:
        plan: The places.
        down: Whether layers are rows.
        widest: Width of all nodes where layers are rows.
        gap: Distance between layers.
        depths: Extent of each layer in the direction of the edges.
        starts: Where each layer begins in that direction.
    """

    plan: Layout
    down: bool
    widest: float
    gap: float
    depths: Sequence[float]
    starts: Sequence[float]

    def point(self, along: float, across: float) -> str:
        """Coordinates of a point, as SVG writes them."""
        return f"{across:.1f} {along:.1f}" if self.down else f"{along:.1f} {across:.1f}"

    def end(self, layer: int) -> float:
        """Where a layer ends."""
        return self.starts[layer] + self.depths[layer]

    def wire(self, edge: Edge, named: bool) -> str:
        """An arrow along its places, with the names of what it carries."""
        route = self.plan.edges[edge.source, edge.target]
        first, last = route[0], route[-1]
        path = [f"M{self.point(self.end(first.layer), first.position)}"]
        path += [self._curve(here, there, there is last) for here, there in pairwise(route)]
        tip = " ".join(
            self.point(self.starts[last.layer] - back, last.position + side)
            for back, side in ((0, 0), (7, 4), (7, -4))
        )
        names = _names(edge)
        title = escape(f"{edge.source} to {edge.target}" + (f": {names}" if names else ""))
        text = self._name(route, names) if named and names else ""
        return (
            f'<g aria-hidden="true"><title>{title}</title><path class="wire" d="{" ".join(path)}"/>'
            f'<polygon class="tip" points="{tip}"/>{text}</g>'
        )

    def _curve(self, here: Place, there: Place, last: bool) -> str:
        start, end = self.end(here.layer), self.starts[there.layer] - (6 if last else 0)
        middle = (start + end) / 2
        ends = ((middle, here.position), (middle, there.position), (end, there.position))
        through = "" if last else f" L{self.point(self.end(there.layer), there.position)}"
        return f"C{' '.join(self.point(*end) for end in ends)}{through}"

    def _name(self, route: Sequence[Place], names: str) -> str:
        """The names on the level part of a long wire, half-way along the curve of a short one."""
        start, bend = route[0], route[1]
        if len(route) > 2:
            x, y = self.starts[bend.layer] + self.depths[bend.layer] / 2, bend.position
        else:
            x, y = self.end(start.layer) + self.gap / 2, (start.position + bend.position) / 2
        return f'<text class="name" x="{x:.1f}" y="{y + 3.5:.1f}">{escape(names)}</text>'

    def node(self, node: Node) -> str:
        """A box with its sign and two lines of text, in a link if it leads anywhere."""
        place = self.plan.nodes[node.name]
        width = self.widest if self.down else self.depths[place.layer]
        along, across = self.starts[place.layer], place.position
        x, y = (across - width / 2, along) if self.down else (along, across - _HEIGHT / 2)
        sign = sign_path(node.state)
        left = 38 if sign else 20
        spoken = escape(f"{node.kind} {node.label}: {node.note or node.state}".rstrip(": "))
        parts = [f"<title>{spoken}</title>", _box(node, width)]
        if sign:
            parts.append('<circle class="disc" cx="20" cy="23" r="11"/>')
            parts.append(f'<path class="sign" transform="translate(12 15)" d="{sign}"/>')
        room = width - left - 8
        baseline = 20 if node.note else 27
        label = escape(_short(node.label, room / _CHARACTER))
        parts.append(f'<text x="{left}" y="{baseline}">{label}</text>')
        if node.note:
            note = escape(_short(node.note, room / _SMALL_CHARACTER))
            parts.append(f'<text class="note" x="{left}" y="35">{note}</text>')
        classes = escape(" ".join(filter(None, ["node", node.kind, node.state, node.state and "state"])))
        group = (
            f'<g class="{classes}" role="img" aria-label="{spoken}" transform="translate({x:.1f} {y:.1f})">'
            f"{''.join(parts)}</g>"
        )
        return f'<a href="{escape(node.link)}" aria-label="{spoken}">{group}</a>' if node.link else group


def _box(node: Node, width: float) -> str:
    if node.kind == "gate":
        right, middle = width, _HEIGHT / 2
        path = f"M10 0H{right - 10:.0f}L{right:.0f} {middle:g}L{right - 10:.0f} {_HEIGHT}H10L0 {middle:g}Z"
        return f'<path class="box" d="{path}"/>'
    radius = _HEIGHT / 2 if node.kind == "data" else 9
    return f'<rect class="box" width="{width:.0f}" height="{_HEIGHT}" rx="{radius:g}"/>'


def _gate_node(record: RunRecord, page: str) -> Node:
    if record.verdict is None:
        return Node(GATE, "gate", "gate", "not reached", State.SKIPPED)
    outcome = ("passed", State.DONE) if record.verdict.passed else ("rejected", State.FAILED)
    return Node(GATE, "gate", "gate", *outcome, f"{page}#verdict")


def _judged(gate: Gate) -> dict[str, str]:
    """What the gate reads: an output by step."""
    return {gate.step: gate.losses, champion_step(gate.step): gate.losses, RECIPES: REFITS}


def _data(name: str) -> str:
    """Data files and steps may share a name, so the picture knows a data file by another."""
    return f"data {name}"


def _edges(wires: Mapping[tuple[str, str], Sequence[str]]) -> list[Edge]:
    return [Edge(*ends, tuple(dict.fromkeys(filter(None, names)))) for ends, names in wires.items()]


def _names(edge: Edge) -> str:
    return _short(", ".join(edge.names), 24)


def _width(node: Node) -> float:
    text = max(len(node.label) * _CHARACTER, len(node.note) * _SMALL_CHARACTER)
    return round(min(max(50 + text, 104), 210))


def _short(text: str, length: float) -> str:
    return text if len(text) <= length else text[: max(int(length) - 1, 1)] + "…"


def _described(nodes: Sequence[Node], edges: Sequence[Edge]) -> str:
    label = {node.name: node.label for node in nodes}
    after: dict[str, list[str]] = {}
    for edge in edges:
        after.setdefault(label[edge.source], []).append(label[edge.target])
    return "; ".join(f"{source} leads to {', '.join(targets)}" for source, targets in after.items())
