"""The combinations of a sweep, and the one graph that runs them all: what they share is in it once.

Pure: reads no files and runs nothing.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from nbship.errors import UsageError
from nbship.graph import Graph, Reference, Step
from nbship.values import split_setting

_MOST = 1000


@dataclass(frozen=True)
class Choice:
    """A parameter with the values to try, as they were typed: each is read as the notebook's type says."""

    step: str
    parameter: str
    values: tuple[str, ...]


def parse_choice(setting: str) -> Choice:
    """Reads `step.parameter=value,value,…`; values are written as in a YAML list, with brackets or without.

    Raises:
        UsageError: It is not of that form.
    """
    keys, text = split_setting(setting)
    if len(keys) != 2:
        raise UsageError(
            f"--set {setting}: not of the form step.parameter=value,value,…",
            "for example --set train.C=0.1,1,10",
        )
    values = _items(text)
    if not values:
        raise UsageError(f"--set {setting}: no values", "for example --set train.C=0.1,1,10")
    return Choice(keys[0], keys[1], tuple(dict.fromkeys(values)))


def combinations(choices: Sequence[Choice], at_random: int = 0, seed: int = 0) -> list[tuple[str, ...]]:
    """Returns the combinations as settings that a pipeline file takes: `step.parameter=value`.

    Args:
        choices: What to vary, each parameter once.
        at_random: Draw so many different combinations; 0 for all of them.
        seed: Seed of the draw.

    Raises:
        UsageError: A parameter is given twice, or there are too many combinations.
    """
    named = [f"{choice.step}.{choice.parameter}" for choice in choices]
    twice = next((name for name in named if named.count(name) > 1), "")
    if twice:
        raise UsageError(f"--set {twice} is given twice", "give all its values in one --set")
    options = [
        [f"{name}={value}" for value in choice.values] for name, choice in zip(named, choices, strict=True)
    ]
    count = math.prod(map(len, options))
    if min(count, at_random or count) > _MOST:
        raise UsageError(
            f"{count:,} combinations, and a sweep takes at most {_MOST:,}", "draw some of them: --random 100"
        )
    if not at_random or at_random >= count:
        return list(itertools.product(*options))
    drawn = sorted(random.Random(seed).sample(range(count), at_random))  # noqa: S311 (no secret)
    return [_combination(options, index) for index in drawn]


def merge_graphs(graphs: Sequence[Graph]) -> tuple[Graph, list[dict[str, str]]]:
    """Puts several graphs of one pipeline into one: steps that would do the same are there once.

    Returns:
        The graph, in which steps that differ are numbered, and for each graph the name there of its steps.
    """
    variants: dict[str, dict[str, None]] = {}
    identities = [_identities(graph) for graph in graphs]
    for own in identities:
        for name, identity in own.items():
            variants.setdefault(name, {})[identity] = None
    taken = set(variants)
    names: dict[str, str] = {}
    for name, found in variants.items():
        for number, identity in enumerate(found, start=1):
            names[identity] = name if len(found) == 1 else _free_name(f"{name}-{number}", taken)
            taken.add(names[identity])
    places = [{name: names[identity] for name, identity in own.items()} for own in identities]
    steps: dict[str, Step] = {}
    for graph, place in zip(graphs, places, strict=True):
        for name, step in graph.steps.items():
            steps.setdefault(place[name], _renamed(step, place))
    return replace(graphs[0], steps=steps), places


def _items(text: str) -> list[str]:
    """The texts of a YAML list's items; one pair of brackets around all of them is optional."""
    try:
        node = yaml.compose(f"[{text}\n]", Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        raise UsageError(f"--set …={text}: cannot be read as a list", "quote values as YAML does") from None
    assert isinstance(node, yaml.SequenceNode)  # noqa: S101 (it is in brackets)
    if len(node.value) == 1 and isinstance(node.value[0], yaml.SequenceNode):
        node = node.value[0]
    return [_text(item, f"[{text}\n]") for item in node.value]


def _text(item: yaml.Node, source: str) -> str:
    written = source[item.start_mark.index : item.end_mark.index].strip()
    return str(item.value) if isinstance(item, yaml.ScalarNode) and written[:1] in "\"'" else written


def _combination(options: Sequence[Sequence[str]], index: int) -> tuple[str, ...]:
    picked = []
    for values in reversed(options):
        index, place = divmod(index, len(values))
        picked.append(values[place])
    return tuple(reversed(picked))


def _identities(graph: Graph) -> dict[str, str]:
    """What each step does, down to the data: two steps with the same identity make the same."""
    identities: dict[str, str] = {}
    for name, step in graph.steps.items():
        upstream = [identities[other] for other in step.upstream]
        identities[name] = json.dumps([name, dict(step.parameters), upstream], sort_keys=True)
    return identities


def _renamed(step: Step, place: Mapping[str, str]) -> Step:
    """A step under its name in the merged graph, wired to the steps as they are called there."""
    inputs = {
        name: Reference(place[origin.step], origin.name) if origin.step else origin
        for name, origin in step.inputs.items()
    }
    after = [place[other] for other in step.settings.after]
    settings = step.settings.model_copy(update={"after": after})
    return replace(step, name=place[step.name], inputs=inputs, settings=settings)


def _free_name(name: str, taken: Iterable[str]) -> str:
    while name in taken:
        name += "-x"
    return name


def varied(graphs: Sequence[Graph], choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """Returns the value of each varied parameter, as `step.parameter`, in each graph."""
    return [
        {f"{c.step}.{c.parameter}": graph.steps[c.step].parameters[c.parameter] for c in choices}
        for graph in graphs
    ]
