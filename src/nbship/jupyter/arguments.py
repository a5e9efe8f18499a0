"""What a cell gives the commands: values in Python, which they take as text.

How a text is read is decided where it is declared: a parameter's by its notebook.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nbship.errors import UsageError

Settings = Mapping[str, Any] | Sequence[str]
Choices = Mapping[str, Iterable[Any]] | Sequence[str]


def as_settings(settings: Settings) -> list[str]:
    """Returns settings as `--set` takes them.

    Args:
        settings: Value by `step.parameter` or key, or texts.

    Raises:
        UsageError: A value is none that a pipeline file can have.
    """
    if isinstance(settings, Mapping):
        return [f"{key}={_text(key, value)}" for key, value in settings.items()]
    return _texts(settings)


def as_choices(settings: Choices) -> list[str]:
    """Returns what is varied as `nbship sweep --set` takes it.

    Args:
        settings: Values to try by `step.parameter`, or texts.

    Raises:
        UsageError: A value is none that a pipeline file can have.
    """
    if isinstance(settings, Mapping):
        return [f"{key}={_json(key, _several(key, values))}" for key, values in settings.items()]
    return _texts(settings)


def reported(line: str) -> None:
    """Tells a person in a line how the work gets on."""
    sys.stderr.write(f"{line}\n")


def _texts(settings: Sequence[str]) -> list[str]:
    if isinstance(settings, str):
        raise UsageError(f"settings={settings!r}: not a mapping", 'for example {"train.C": 3}')
    return list(settings)


def _several(key: str, values: Any) -> list[Any]:
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise UsageError(f"{key}: {values!r} is not a list of values", f'for example {{"{key}": [1, 2]}}')
    return list(values)


def _text(key: str, value: Any) -> str:
    return value if isinstance(value, str) else _json(key, value)


def _json(key: str, value: Any) -> str:
    try:
        # What NumPy and pandas count with becomes a plain number.
        return json.dumps(value, ensure_ascii=False, default=lambda each: each.tolist())
    except (TypeError, ValueError, AttributeError):
        raise UsageError(
            f"{key}: {value!r} is not a value that a parameter can have",
            "give a number, a text, true or false, a list or a dictionary of such",
        ) from None
