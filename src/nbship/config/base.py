"""What the sections of the pipeline file and of `nbship.yaml` are made of: a strict model, and kinds of text.

Knows no section.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from nbship.errors import without_credentials
from nbship.project import LONGEST_NAME, NAME_PATTERN

_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|[kKMGTPE]i?)?$"

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=LONGEST_NAME)]


def _quantity_text(value: Any) -> Any:
    """A quantity may be written as a bare number (`cpu: 2`); Kubernetes wants text."""
    return str(value) if isinstance(value, int | float) else value


def _inside(path: str) -> str:
    """What is outside of the project is on no other machine."""
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts:
        raise ValueError(f"'{path}' is not inside the project")
    return path


ProjectPath = Annotated[str, AfterValidator(_inside)]
Quantity = Annotated[
    str,
    Field(pattern=_QUANTITY),
    BeforeValidator(_quantity_text, json_schema_input_type=str | int | float),
]


def _without_login(address: str) -> str:
    """A pipeline file is committed, so a key in it would be known to everybody."""
    if without_credentials(address) != address:
        raise ValueError("an address must not hold credentials; set AWS_ACCESS_KEY_ID and the like instead")
    return address


StoreAddress = Annotated[str, AfterValidator(_without_login)]


class Model(BaseModel):
    """A section: unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
