"""The templates of the pages that are written here: everything is escaped, and nothing may be undefined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbship.rendering import template_environment

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"


def template(name: str, filters: Mapping[str, Callable[..., Any]]) -> Template:
    """Returns a template of this room.

    Args:
        name: Its file.
        filters: What it may apply to values, by name.
    """
    return template_environment(TEMPLATES, True, filters).get_template(name)
