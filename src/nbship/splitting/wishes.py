"""The plan as a small YAML file: what a person may change of it, and give back.

Everything that is not written there is proposed again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from nbship.config import Name, Threshold
from nbship.errors import UsageError, suggestion
from nbship.linting.cells import Source
from nbship.splitting.kinds import KINDS
from nbship.splitting.sections import Outline, Section
from nbship.values import parse_yaml

_RANGE = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StepWish(_Model):
    """A step: which cells it has."""

    cells: str = Field(description="numbers of its cells: 3-7, 9")
    title: str = ""
    after: list[Name] | None = None

    @field_validator("cells", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

    @field_validator("cells")
    @classmethod
    def _numbers(cls, value: str) -> str:
        list(numbers(value))
        return value


class GateWish(_Model):
    """How the model is judged: by a notebook that knows nothing of how it was made."""

    model: str = Field(description="the variable that holds the fitted model")
    held_out: str = Field(description="rows it has not seen: a variable, or an expression of variables")
    learnt_from: str = Field("", description="rows it was trained on, as an expression; to publish it")
    target: str = Field(description="the column to predict")
    task: str = Field("regression", pattern="^(regression|classification)$")
    thresholds: dict[str, Threshold] = {}


class Wishes(_Model):
    """What a person wants otherwise than proposed.

    Attributes:
        steps: The steps and their cells; proposed if empty.
        parameters: The constants that become parameters; proposed if None.
        skip: Cells that are left out.
        store: How variables go from step to step, by name: one of `KINDS`.
        gate: How the model is judged, if it is.
    """

    steps: dict[Name, StepWish] = {}
    parameters: list[str] | None = None
    skip: str = ""
    store: dict[str, str] = {}
    gate: GateWish | None = None

    @field_validator("skip", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")

    @field_validator("store")
    @classmethod
    def _kinds(cls, value: dict[str, str]) -> dict[str, str]:
        for name, kind in value.items():
            if kind not in KINDS:
                raise ValueError(f"{name}: '{kind}' is not a storage format; {suggestion(kind, KINDS)}")
        return value


def read_wishes(text: str, where: str) -> Wishes:
    """Reads a plan file.

    Args:
        text: YAML.
        where: What to call it.

    Raises:
        UsageError: It cannot be understood; says which key.
    """
    try:
        return Wishes.model_validate(parse_yaml(text) or {})
    except yaml.YAMLError as error:
        raise UsageError(
            f"{where}: not valid YAML", "see nbship split --plan --format yaml", str(error)
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"{where}: {key}: {first['msg'].removeprefix('Value error, ')}",
            f"known are: {', '.join(Wishes.model_fields)}; see nbship split --plan --format yaml",
        ) from None


def numbers(text: str) -> Iterable[int]:
    """Returns the numbers of a text such as `3-7, 9`.

    Raises:
        ValueError: It is none.
    """
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _RANGE.fullmatch(part)
        if not match:
            raise ValueError(f"'{part}' is neither the number of a cell nor a range such as 3-7")
        yield from range(int(match[1]), int(match[2] or match[1]) + 1)


def ranges(cells: Iterable[int]) -> str:
    """Returns numbers as a text such as `3-7, 9`."""
    parts: list[list[int]] = []
    for number in sorted(cells):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in parts)


def with_wishes(proposed: Outline, wishes: Wishes, source: Source) -> Outline:
    """Returns the outline that a person wants.

    Raises:
        UsageError: A cell is in two steps or is not there, or a step follows one that is not there.
    """
    skipped = frozenset(numbers(wishes.skip)) | proposed.skipped
    if not wishes.steps:
        left = (replace(s, cells=tuple(n for n in s.cells if n not in skipped)) for s in proposed.sections)
        return replace(proposed, skipped=skipped, sections=tuple(left))
    sections, seen = [], dict[int, str]()
    for name, step in wishes.steps.items():
        cells = [n for n in numbers(step.cells) if n not in proposed.parameters | skipped]
        for number in cells:
            if number > len(source.cells) or not number:
                raise UsageError(
                    f"steps.{name}.cells: there is no cell {number}", f"they go from 1 to {len(source.cells)}"
                )
            if number in seen:
                raise UsageError(
                    f"steps.{name}.cells: cell {number} is in '{seen[number]}' as well", "name it once"
                )
            seen[number] = name
        for other in step.after or ():
            if other not in wishes.steps:
                raise UsageError(
                    f"steps.{name}.after: there is no step '{other}'", suggestion(other, wishes.steps)
                )
        after = None if step.after is None else tuple(step.after)
        sections.append(Section(name, step.title or name.replace("-", " ").capitalize(), tuple(cells), after))
    return replace(proposed, by="plan", sections=tuple(sections), skipped=skipped)
