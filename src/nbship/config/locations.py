"""Places in a pipeline file: whether a tree has one, which keys the schema knows there, and its line.

A place is the keys that lead to it, outermost first. Says nothing of what may stand there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from nbship.config.base import Model
from nbship.config.models import Pipeline


def has(tree: Any, location: Iterable[str]) -> bool:
    """Returns whether a tree has a place; what is inside a list counts as there."""
    for part in location:
        if isinstance(tree, list):
            return True
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = tree[part]
    return True


def keys_at(location: Iterable[str], model: type[Model] = Pipeline) -> list[str]:
    """Returns the keys that the schema of a file knows at a place; none where any name may stand."""
    schema = model.model_json_schema()
    node: dict[str, Any] = schema
    for part in location:
        node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
        if not isinstance(node, dict):
            return []
        kinds = [schema["$defs"][name] for name in _models(node)]
        node = kinds[0] if len(kinds) == 1 else node
        if len(kinds) > 1:
            node = {"properties": {key: value for kind in kinds for key, value in kind["properties"].items()}}
        if "patternProperties" in node and "properties" not in node:
            node = {**node, "additionalProperties": next(iter(node["patternProperties"].values()))}
    return list(node.get("properties", {}))


def _models(node: Mapping[str, Any]) -> list[str]:
    """The models of which one may stand at a place."""
    if "$ref" in node:
        return [node["$ref"].rpartition("/")[2]]
    return [name for each in (*node.get("anyOf", ()), *node.get("oneOf", ())) for name in _models(each)]


def line_of(text: str, location: Iterable[str]) -> int | None:
    """Returns the line of the deepest part of a place that a file's text has."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader) if text else None
    except yaml.YAMLError:
        return None
    line = None
    for part in location:
        if not isinstance(node, yaml.MappingNode):
            break
        pair = next(((key, value) for key, value in node.value if key.value == part), None)
        if pair is None:
            break
        line, node = pair[0].start_mark.line + 1, pair[1]
    return line
