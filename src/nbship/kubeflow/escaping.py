"""Texts on their way into a container on Kubeflow, where others read them: how they arrive unchanged.

All of a pipeline travels in arguments of containers, of drivers first and then of steps: sources, values of
parameters, descriptions. Each time, Kubernetes makes `$$` a `$`, and puts a variable's value in `$(NAME)`'s
place; Argo and KFP take `{{` for a template. So none of these may be in any text, however often it is read.
The rule of Kubernetes: https://github.com/kubernetes/kubernetes/blob/master/third_party/forked/golang/expansion
"""

from __future__ import annotations

import json
import re
from typing import Any

_CHANGED = re.compile(r"\$(?=[$(])|\{(?=\{)")
# Begins a text that is written as JSON, because it would not arrive as it is.
_MARK = "nbship:json:"


def travels(text: str) -> bool:
    """Returns whether a text arrives as it is."""
    return not _CHANGED.search(text)


def escape(text: str) -> str:
    r"""Escapes what would be changed in a string literal of Python or JSON: `$` as `\u0024`."""
    return _CHANGED.sub(lambda found: rf"\u{ord(found[0]):04x}", text)


def spaced(text: str) -> str:
    """Returns a text that is only shown, with a space where two characters together would be replaced."""
    return _CHANGED.sub(lambda found: f"{found[0]} ", text)


def sent(value: Any) -> Any:
    """Returns a parameter's value as it is sent; a text that would be changed on the way, as marked JSON."""
    if isinstance(value, list):
        return [sent(item) for item in value]
    if isinstance(value, dict):
        return {sent(key): sent(item) for key, item in value.items()}
    if not isinstance(value, str) or (travels(value) and not value.startswith(_MARK)):
        return value
    return _MARK + escape(json.dumps(value))


def received(value: Any) -> Any:
    """Returns the value that was sent."""
    if isinstance(value, list):
        return [received(item) for item in value]
    if isinstance(value, dict):
        return {received(key): received(item) for key, item in value.items()}
    if not isinstance(value, str) or not value.startswith(_MARK):
        return value
    return json.loads(value.removeprefix(_MARK))
