"""Renders the notebooks and the pipeline file of a new pipeline.

A template is the text of a notebook's cells, each after a line `# %% [kind] id`. Knows nothing of the disk
beyond its own templates.
"""

from __future__ import annotations

import functools
import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from jinja2 import Environment

NOTEBOOKS = ("experiment", "prepare", "train")
_TEMPLATES = Path(__file__).parent
_CELL = re.compile(r"^# %% (?:\[(\w+)\] )?(\S+)\n", re.MULTILINE)
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_WIDTH = 90
_TEXT_WIDTH = 110


@dataclass(frozen=True)
class Plan:
    """What a new pipeline is to be.

    Attributes:
        name: The pipeline.
        task: `regression` or `classification`.
        path: The table, from the project's folder.
        about: What the table holds, in a line.
        target: The column to predict.
        options: What `pandas.read_csv` must be told.
        unused: Columns that the model does not take.
        dates: Columns of dates.
        texts: Columns of several words.
        day_first: Whether dates are written with the day first.
        leaf: Rows in a leaf of a tree, at least.
        evaluate: Parameters of the evaluate step, besides the target.
    """

    name: str
    task: str
    path: str
    about: str
    target: str
    options: Mapping[str, str]
    unused: list[str]
    dates: list[str]
    texts: list[str]
    day_first: bool
    leaf: int
    evaluate: Mapping[str, Any]


def render(plan: Plan) -> dict[str, str]:
    """Returns the files of a pipeline by their path from the project's folder."""
    regression = plan.task == "regression"
    values = vars(plan) | {
        "title": plan.name.replace("-", " ").capitalize(),
        "description": f"Predicts {plan.target} ({plan.task}).",
        "options": "".join(f", {key}={_literal(value)}" for key, value in plan.options.items()),
        "estimator": f"HistGradientBoosting{'Regressor' if regression else 'Classifier'}",
        "splitter": "KFold" if regression else "StratifiedKFold",
    }
    files = {
        f"notebooks/{plan.name}/{name}.ipynb": notebook_text(
            _environment().get_template(f"{name}.txt.j2").render(values)
        )
        for name in NOTEBOOKS
    }
    pipeline = _environment().get_template("pipeline.yaml.j2").render(values)
    return files | {f"pipelines/{plan.name}.yaml": pipeline}


def shared_path(task: str) -> str:
    """Returns where a project keeps the notebook that evaluates any model of a task."""
    return f"notebooks/shared/evaluate-{task}.ipynb"


def shared_text(task: str) -> str:
    """Returns that notebook."""
    return (_TEMPLATES / "shared" / f"evaluate-{task}.ipynb").read_text(encoding="utf-8")


def notebook_text(text: str) -> str:
    """Returns a notebook file from the text of its cells."""
    _, *rest = _CELL.split(text)
    cells = [_cell(*rest[i : i + 3]) for i in range(0, len(rest), 3)]
    notebook = {"cells": cells, "metadata": _METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _cell(kind: str | None, identifier: str, source: str) -> dict[str, Any]:
    common = {"id": identifier, "source": source.strip("\n").splitlines(keepends=True)}
    if kind == "markdown":
        paragraphs = re.split(r"\n\s*\n", source.strip())
        text = "\n\n".join(textwrap.fill(paragraph, _TEXT_WIDTH) for paragraph in paragraphs)
        return {"cell_type": "markdown", "metadata": {}, **common, "source": text.splitlines(keepends=True)}
    tags = {"tags": [kind]} if kind else {}
    return {"cell_type": "code", "execution_count": None, "metadata": tags, "outputs": [], **common}


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES / "files"),
        autoescape=False,  # noqa: S701 (these are notebooks and YAML; every value goes through a filter)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"literal": _literal, "yaml": _yaml}
    return environment


def _literal(value: Any) -> str:
    """A text or a list of texts as Python and JSON both write it; a long list takes several lines."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _WIDTH or not isinstance(value, list):
        return text
    return "[\n" + "".join(f"    {json.dumps(item, ensure_ascii=False)},\n" for item in value) + "]"


def _yaml(value: Any) -> str:
    """A value as YAML on one line."""
    return (
        yaml.safe_dump(value, allow_unicode=True, width=1 << 20, default_flow_style=True)
        .strip()
        .removesuffix("\n...")
    )
