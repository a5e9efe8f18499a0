"""Sets values in the text of a pipeline file; all else stays as its author wrote it: comments, order, layout.

What it writes is read again: if the file would not say exactly what was meant, nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from nbship.config.layers import merge
from nbship.errors import NbshipError
from nbship.values import parse_yaml


def set_parameters(text: str, step: str, values: Mapping[str, Any], origin: str) -> str:
    """Returns the text of a pipeline file with other values for a step's parameters.

    Args:
        text: The file.
        step: The step, which the file has.
        values: Parameters by name.
        origin: How errors call the file.

    Raises:
        NbshipError: The file is laid out in a way that cannot be edited safely; says what to write by hand.
    """
    meant = merge(parse_yaml(text), {"steps": {step: {"parameters": dict(values)}}})
    edited = text
    try:
        for name, value in values.items():
            edited = _set(edited, ("steps", step, "parameters"), name, value)
        right = parse_yaml(edited) == meant
    except (yaml.YAMLError, LookupError, ValueError):
        right = False
    if not right:
        lines = "\n".join(f"{name}: {_inline(value)}" for name, value in values.items())
        raise NbshipError(
            f"{origin}: steps.{step}.parameters cannot be edited safely", "write these there by hand", lines
        )
    return edited


def _set(text: str, location: Sequence[str], name: str, value: Any) -> str:
    """Sets one key of the mapping at a location, which is made if only its last part is missing."""
    mapping = _node(text, location)
    if mapping is None:
        parent = _node(text, location[:-1])
        if not isinstance(parent, yaml.MappingNode):
            raise LookupError(location)
        # An empty `parameters:` has a null for a value, which goes with its key.
        return _insert(_without_empty(text, parent, location[-1]), location[:-1], location[-1], {name: value})
    if not isinstance(mapping, yaml.MappingNode):
        raise LookupError(location)
    for key, old in mapping.value:
        if key.value == name:
            start, end = old.start_mark.index, old.end_mark.index
            if not isinstance(old, yaml.ScalarNode) and not old.flow_style:
                raise LookupError(name)
            return f"{text[:start]}{_inline(value)}{text[end:]}"
    return _insert(text, location, name, value)


def _insert(text: str, location: Sequence[str], name: str, value: Any) -> str:
    """Adds a key at the end of a mapping, in the mapping's own style."""
    mapping = _node(text, location)
    assert isinstance(mapping, yaml.MappingNode)  # noqa: S101 (the callers looked)
    if mapping.flow_style:
        end = text.rindex("}", 0, mapping.end_mark.index)
        body = text[mapping.start_mark.index + 1 : end].rstrip()
        comma = ", " if mapping.value and not body.endswith(",") else " " if mapping.value else ""
        at = mapping.start_mark.index + 1 + len(body)
        return f"{text[:at]}{comma}{_inline(name)}: {_inline(value)}{text[at:]}"
    indent = " " * mapping.value[0][0].start_mark.column
    at = _end_of(text, mapping)
    before = text[:at] if text[:at].endswith("\n") else f"{text[:at]}\n"
    if isinstance(value, Mapping):
        lines = f"{indent}{_inline(name)}:\n" + "".join(
            f"{indent}  {_inline(key)}: {_inline(item)}\n" for key, item in value.items()
        )
    else:
        lines = f"{indent}{_inline(name)}: {_inline(value)}\n"
    return f"{before}{lines}{text[at:]}"


def _end_of(text: str, node: yaml.Node) -> int:
    """The beginning of the line after a mapping's last value; blank lines and comments below stay below."""
    while isinstance(node, yaml.MappingNode | yaml.SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    end = node.end_mark.index
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return int(end)
    newline = text.find("\n", end)
    return len(text) if newline < 0 else newline + 1


def _without_empty(text: str, parent: yaml.MappingNode, name: str) -> str:
    for key, value in parent.value:
        if key.value == name and isinstance(value, yaml.ScalarNode) and not value.value:
            start = text.rfind("\n", 0, key.start_mark.index) + 1
            end = text.find("\n", value.end_mark.index)
            return text[:start] + (text[end + 1 :] if end >= 0 else "")
    return text


def _node(text: str, location: Sequence[str]) -> yaml.Node | None:
    """The node at a location; None if the last part is missing or has no value."""
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    for part in location:
        if not isinstance(node, yaml.MappingNode):
            raise LookupError(part)
        node = next((value for key, value in node.value if key.value == part), None)
        if node is None or (isinstance(node, yaml.ScalarNode) and not node.value):
            return None
    return node


def _inline(value: Any) -> str:
    """A value as YAML on one line; text that PyYAML would break over lines is quoted."""
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1 << 20)
    text = text.removesuffix("...\n").strip()
    if "\n" in text:
        text = yaml.safe_dump(value, default_flow_style=True, default_style='"', width=1 << 20).strip()
    return text
