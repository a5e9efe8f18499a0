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

from nbship.rendering import template_environment
from nbship.templates import amounts
from nbship.templates.dates import MIXED, Dates
from nbship.templates.reading import Reading
from nbship.templates.splits import Split

if TYPE_CHECKING:
    from jinja2 import Environment

NOTEBOOKS = ("experiment", "prepare", "train")
_TEMPLATES = Path(__file__).parent
_CELL = re.compile(r"^# %% (?:\[(\w+)\] )?(\S+)\n", re.MULTILINE)
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_WIDTH = 90
_DICT_WIDTH = 45
_TEXT_WIDTH = 110


@dataclass(frozen=True)
class TemplatePlan:
    """What a new pipeline is to be.

    Attributes:
        name: The pipeline.
        task: `regression` or `classification`.
        path: The table, from the project's folder.
        about: What the table holds, in a line.
        target: The column to predict.
        reading: How the table's file is read.
        unused: Columns that the model does not take.
        amounts: Columns of numbers that are not written plainly, and their decimal mark.
        dates: Columns of dates that the model takes, and how they are written.
        texts: Columns of several words.
        split: How rows are held out.
        moments: How the column of time is written; None if it holds numbers.
        repeated: Whether rows with equal inputs are worth keeping together.
        leaf: Rows in a leaf of a tree, at least.
        warnings: What a reader of the notebooks must know of the table.
        evaluate: Parameters of the evaluate step, besides the target.
    """

    name: str
    task: str
    path: str
    about: str
    target: str
    reading: Reading
    unused: list[str]
    amounts: Mapping[str, str]
    dates: Mapping[str, Dates]
    texts: list[str]
    split: Split
    moments: Dates | None
    repeated: bool
    leaf: int
    warnings: list[str]
    evaluate: Mapping[str, Any]


def render(plan: TemplatePlan) -> dict[str, str]:
    """Returns the files of a pipeline by their path from the project's folder."""
    regression = plan.task == "regression"
    split = plan.split
    values = vars(plan) | {
        "title": plan.name.replace("-", " ").capitalize(),
        "description": f"Predicts {plan.target} ({plan.task}).",
        "format": plan.reading.format,
        "read": _read(plan.reading),
        "read_amounts": amounts.source(),
        "dates": {name: dates.format for name, dates in plan.dates.items()},
        "day_first": any(dates.day_first for dates in plan.dates.values() if dates.format == MIXED),
        "mixed": any(dates.format == MIXED for dates in plan.dates.values()),
        "time": split.time,
        "read_time": "known[time]" if plan.moments is None else _read_dates("known[time]", plan.moments),
        "group": split.group,
        "key": split.key,
        "alike": split.alike,
        "split_by": [*split.by],
        "kind": "Regressor" if regression else "Classifier",
        "linear": "RidgeCV" if regression else "LogisticRegression",
        "target_type": "continuous" if regression else "auto",
        "splitter": _splitter(plan),
        "inner": "KFold" if regression else "StratifiedKFold",
    }
    files = {
        f"notebooks/{plan.name}/{name}.ipynb": notebook_text(
            _environment().get_template(f"{name}.txt.j2").render(values)
        )
        for name in NOTEBOOKS
    }
    pipeline = _environment().get_template("pipeline.yaml.j2").render(values)
    return files | {f"pipelines/{plan.name}.yaml": pipeline}


def _read(reading: Reading) -> str:
    if reading.format != "csv":
        return f"pd.read_{reading.format}(table)"
    options = "".join(f", {key}={_literal(value)}" for key, value in reading.options.items())
    return f"pd.read_csv(table{options}, low_memory=False)"


def _read_dates(values: str, dates: Dates) -> str:
    more = f", utc=True, dayfirst={dates.day_first}" if dates.format == MIXED else ""
    return f'pd.to_datetime({values}, errors="coerce", format={_literal(dates.format)}{more})'


def _splitter(plan: TemplatePlan) -> str:
    if plan.split.time:
        return "TimeSeriesSplit"
    if plan.split.group or plan.repeated:  # stratified as well, it would take minutes for many groups
        return "GroupKFold"
    return "KFold" if plan.task == "regression" else "StratifiedKFold"


def shared_texts(task: str) -> dict[str, str]:
    """Returns the notebooks that judge any models of a task, by their path from the project's folder."""
    return {
        f"notebooks/shared/{name}.ipynb": (_TEMPLATES / "shared" / f"{name}.ipynb").read_text("utf-8")
        for name in (f"evaluate-{task}", "compare-recipes")
    }


def notebook_text(text: str) -> str:
    """Returns a notebook file from the text of its cells."""
    _, *rest = _CELL.split(text)
    cells = [_cell(*rest[i : i + 3]) for i in range(0, len(rest), 3)]
    notebook = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
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
    # Notebooks and YAML: every value goes through a filter.
    return template_environment(_TEMPLATES / "files", False, {"literal": _literal, "yaml": _yaml})


def _literal(value: Any) -> str:
    """Texts, or a list or dict of them, as Python and JSON both write it; a long one takes several lines."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= (_WIDTH if isinstance(value, list) else _DICT_WIDTH) or isinstance(value, str):
        return text
    items = [
        json.dumps(item, ensure_ascii=False)
        + (f": {json.dumps(value[item])}" if isinstance(value, dict) else "")
        for item in value
    ]
    lines = [f"    {items[0]},"]
    for item in items[1:]:
        if len(lines[-1]) + len(item) + 2 <= _WIDTH:
            lines[-1] += f" {item},"
        else:
            lines.append(f"    {item},")
    return "\n".join(
        ["{" if isinstance(value, dict) else "[", *lines, "}" if isinstance(value, dict) else "]"]
    )


def _yaml(value: Any) -> str:
    """A value as YAML on one line."""
    return (
        yaml.safe_dump(value, allow_unicode=True, width=1 << 20, default_flow_style=True)
        .strip()
        .removesuffix("\n...")
    )
