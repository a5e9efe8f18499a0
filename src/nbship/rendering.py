"""Templates as every room reads them: nothing may be undefined, and a block leaves no line behind.

What the templates say, and the values in them, are the rooms' own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def template_environment(
    folder: Path,
    escape: bool,
    filters: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
    **syntax: Any,
) -> Environment:
    """Returns what reads the templates of a folder.

    Args:
        folder: Where they are.
        escape: Whether they make pages, in which no value may become markup.
        filters: What they may apply to values, by name.
        syntax: Other marks of jinja's, such as `variable_start_string`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=escape,  # noqa: S701 (the rooms know which they make)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # A file ends with its last line; a browser does not mind.
        keep_trailing_newline=True,
        **syntax,
    )
    environment.filters |= filters
    return environment
