"""The values that cross from a person to a notebook: their types, and text typed on a command line.

Knows nothing of notebooks or pipeline files; both check their values here, so that a number is a number
everywhere.
"""

from __future__ import annotations

import math
from typing import Any

import yaml

SCALARS = ("bool", "float", "int", "str")
TYPES = ("bool", "dict", "float", "int", "list", "str")
_PYTHON: dict[str, type] = {"bool": bool, "dict": dict, "float": float, "int": int, "list": list, "str": str}


class ValueTypeError(ValueError):
    """A value that is not of the declared type; its text reads on from the name of the value."""


class Text(str):
    """A value as it was typed on a command line: the declared type decides what it means."""

    __slots__ = ()


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
    if type_name == "float" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    expected = _PYTHON[type_name]
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ValueTypeError(f"is {describe(value)}")
    if not _is_plain(value):
        raise ValueTypeError(
            "holds something other than text, finite numbers, lists and dicts with text keys"
        )
    return value


def parse_text(text: str) -> Any:
    """Reads text as YAML does: `3`, `0.1`, `true`, `[1, 2]`, `{a: 1}`; also `1e-3`, which YAML 1.1 leaves text.

    Raises:
        ValueTypeError: The text is no valid YAML.
    """
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueTypeError(f"is '{text}', which cannot be read") from None
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value
        return number if math.isfinite(number) else value
    return value


def describe(value: Any) -> str:
    """Returns a value with its type, short enough for an error message."""
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:59] + '…'} ({type(value).__name__})"


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (bool, int, str))
