"""The values that cross from a person to a notebook: their types, YAML, and text typed on a command line.

Knows nothing of notebooks or pipeline files; both check their values here, so that a number is a number
everywhere.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from typing import Any

import yaml

from nbship.errors import UsageError

SCALARS = ("bool", "float", "int", "str")
TYPES = ("bool", "dict", "float", "int", "list", "str")
_PYTHON: dict[str, type] = {"bool": bool, "dict": dict, "float": float, "int": int, "list": list, "str": str}
_LARGEST_INTEGER = 2**63
_DEEPEST = 100


class ValueTypeError(ValueError):
    """A value that is not of the declared type; its text reads on from the name of the value."""


class Text(str):
    """A value as it was typed on a command line: the declared type decides what it means."""

    __slots__ = ()


class YamlLoader(yaml.SafeLoader):
    """YAML 1.1 without its traps: `1e-3` is a number, a date is text, and no key may be written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Builds a mapping; the first of two equal keys would be lost without a word."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key.value}' is written twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)
YamlLoader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: node.value)


def split_setting(setting: str) -> tuple[list[str], str]:
    """Splits what a person typed after `--set`, `step.parameter=value`, at its first `=`.

    Returns:
        The key's parts, between its dots, and the value's text, which may have any character.

    Raises:
        UsageError: It is not of that form.
    """
    path, equals, text = setting.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise UsageError(
            f"--set {setting}: not of the form step.parameter=value", "for example --set train.folds=3"
        )
    return keys, text


def parse_yaml(text: str) -> Any:
    """Reads YAML.

    Raises:
        yaml.YAMLError: It is not valid.
    """
    try:
        return yaml.load(text, Loader=YamlLoader)  # noqa: S506 (it is a SafeLoader)
    except yaml.YAMLError:
        raise
    # What PyYAML lets through from int() and the like, for `!!int a` or a number of 5000 digits.
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise yaml.YAMLError(str(error)) from None


def check_value(type_name: str, value: Any) -> Any:
    """Returns the value as the declared type.

    A whole number is accepted for a float, and text from a command line is read as YAML unless a string is
    declared. Nothing else is converted.

    Args:
        type_name: One of `TYPES`.
        value: Plain data, or `Text`.

    Raises:
        ValueTypeError: The value is not of the type, or holds something that JSON cannot write.
    """
    if isinstance(value, Text):
        value = str(value) if type_name == "str" else parse_text(value)
    expected = _PYTHON.get(type_name)
    accepted: Any = (float, int) if expected is float else expected or ()
    if not isinstance(value, accepted) or (isinstance(value, bool) and expected is not bool):
        raise ValueTypeError(f"is {describe(value)}")
    if not _is_plain(value):
        raise ValueTypeError(
            "holds something other than text, finite 64-bit numbers, lists, and dicts with text keys"
        )
    return float(value) if expected is float else value


def parse_text(text: str) -> Any:
    """Reads text typed on a command line as YAML does: `3`, `1e-3`, `true`, `[1, 2]`, `{a: 1}`, `words`.

    Raises:
        ValueTypeError: The text is not valid YAML.
    """
    try:
        return parse_yaml(text)
    except yaml.YAMLError:
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text, object_pairs_hook=_without_repeats)
        raise ValueTypeError(f"is '{text}', which cannot be read") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes an object of JSON, whose keys may be longer than the 1,024 characters that YAML reads."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is written twice")
    return found


def describe(value: Any) -> str:
    """Returns a value with its type, short enough for an error message."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # too many digits, or too deep, to write out
        text = "…"
    return f"{text if len(text) <= 60 else text[:59] + '…'} ({type(value).__name__})"


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Tells whether JSON and UTF-8 can write a value; one that holds itself, they cannot."""
    if isinstance(value, dict):
        return depth < _DEEPEST and all(
            isinstance(key, str) and _is_plain(key) and _is_plain(item, depth + 1)
            for key, item in value.items()
        )
    if isinstance(value, list):
        return depth < _DEEPEST and all(_is_plain(item, depth + 1) for item in value)
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -_LARGEST_INTEGER <= value < _LARGEST_INTEGER
    return value is None
