"""The Python source of the notebooks' components: small functions that KFP's page shows to people.

Every function declares what a notebook declares and hands it to `workflow.incluster.step`, which does
the work.
Makes text only and needs no KFP; wiring the components is the business of `compile`.
"""

from __future__ import annotations

import base64
import bz2
import json
import keyword
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nbship.graph import CHAMPION, Graph, Reference, Step
from nbship.kubeflow.escaping import escape
from nbship.notebook import Role, Variable, read_content, whole_text

EXECUTED_NOTEBOOK = "executed_notebook"
_CHAMPION = Reference(None, CHAMPION)
_INDENT = "    "
_NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def step_source(
    graph: Graph, step: Step, files: Mapping[str, bytes] | None = None, packed: bool = False
) -> str:
    """Returns the source of the component that runs a step's notebook, which it carries in itself.

    Args:
        graph: The pipeline.
        step: The step.
        files: The project's modules and files that go with the notebook, by path from the project's folder.
        packed: Whether all of these are compressed, so that more can be carried and nobody can read them.
    """
    notebook = step.notebook
    variables = [
        *_inputs(graph, step),
        *notebook.signature.outputs.values(),
        *notebook.signature.results.values(),
    ]
    arguments = [f"{v.name}: {_annotation(v)}" for v in variables]
    passed = "\n".join(f'{_INDENT * 3}"{v.name}": {v.name},' for v in variables)
    timeout = f"{_INDENT * 2}timeout={step.settings.timeout!r},\n" if step.settings.timeout else ""
    champion = next((name for name, origin in step.inputs.items() if origin == _CHAMPION), "")
    champion = f"{_INDENT * 2}champion={literal(champion)},\n" if champion else ""
    environment = json_literal(dict(step.settings.env)) if step.settings.env else ""
    environment = f"{_INDENT * 2}variables={environment},\n" if environment else ""
    together = {path: _carried(content, packed) for path, content in (files or {}).items()}
    carried = f"{_INDENT * 2}files={json_literal(together)},\n" if together else ""
    return (
        f"{header(step.name, [*arguments, f'{EXECUTED_NOTEBOOK}: dsl.Output[dsl.HTML]'])}"
        f"{docstring(notebook.title, notebook.description)}"
        f"{_INDENT}from nbship.workflow.incluster.step import run_step\n\n"
        f"{_INDENT}run_step(\n"
        f"{_INDENT * 2}{{\n{passed}\n{_INDENT * 2}}},\n"
        f"{_INDENT * 2}{EXECUTED_NOTEBOOK},\n"
        f"{_INDENT * 2}path={literal(step.settings.notebook)},\n"
        f"{timeout}{champion}{environment}{carried}"
        f"{_INDENT * 2}notebook={notebook_literal(notebook.path, packed)},\n"
        f"{_INDENT})\n"
    )


def function_name(component: str) -> str:
    """Returns the Python name of a component, from which KFP makes the component's name again."""
    name = component.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


def clean_notebook(path: Path) -> dict[str, Any]:
    """Reads a notebook without what changes when it is merely run or opened: outputs, counts and metadata."""
    content = read_content(path, str(path))
    return {
        "cells": [_clean_cell(cell) for cell in content["cells"]],
        "metadata": _NOTEBOOK_METADATA,
        "nbformat": content["nbformat"],
        "nbformat_minor": content.get("nbformat_minor", 0),
    }


def notebook_literal(path: Path, packed: bool = False) -> str:
    """Returns a notebook as a Python literal of JSON: readable, or compressed."""
    notebook = clean_notebook(path)
    return json_literal(_carried(json.dumps(notebook).encode(), packed=True) if packed else notebook)


def _carried(content: bytes, packed: bool) -> list[str] | str:
    """A file as JSON: the lines of a text, or bytes in base64; bzip2 gives the same ones everywhere."""
    try:
        text = "" if packed else content.decode("utf-8")
    except UnicodeDecodeError:
        packed = True
    if packed:
        return base64.b64encode(bz2.compress(content)).decode("ascii")
    return text.splitlines(keepends=True)


def _clean_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    tags = cell.get("metadata", {}).get("tags", [])
    kept = {key: cell[key] for key in ("cell_type", "id", "attachments") if key in cell}
    kept |= {
        "metadata": {"tags": tags} if tags else {},
        "source": whole_text(cell["source"]).splitlines(keepends=True),
    }
    if cell["cell_type"] == "code":
        kept |= {"execution_count": None, "outputs": []}
    return dict(sorted(kept.items()))


def _inputs(graph: Graph, step: Step) -> Iterable[Variable]:
    """KFP compares types strictly, so an input is declared as what it is wired to."""
    for variable in step.notebook.signature.variables:
        if variable.role not in (Role.INPUT, Role.PARAMETER):
            continue
        reference = step.inputs.get(variable.name)
        given = variable.type
        if reference is not None and reference.step is None:
            given = "Model" if reference.name == CHAMPION else "Dataset"
        elif reference is not None and reference.step is not None:
            produced = graph.steps[reference.step].notebook.signature
            given = {**produced.outputs, **produced.results}[reference.name].type
        yield Variable(variable.name, variable.role, given, variable.default, variable.help)


def _annotation(variable: Variable) -> str:
    forms = {
        Role.INPUT: "dsl.Input[dsl.{}]",
        Role.OUTPUT: "dsl.Output[dsl.{}]",
        Role.RESULT: "dsl.OutputPath({})",
        Role.PARAMETER: "{}",
    }
    return forms[variable.role].format(variable.type)


def header(component: str, arguments: Iterable[str], returns: str = "None") -> str:
    """Returns the first lines of a component, with arguments such as `rows: dsl.Input[dsl.Dataset]`."""
    lines = "".join(f"{_INDENT}{argument},\n" for argument in arguments)
    return f"def {function_name(component)}(\n{lines}) -> {returns}:\n"


def docstring(title: str, description: str) -> str:
    """Returns the indented docstring of a component."""
    paragraphs = [title if title.endswith((".", "!", "?")) else f"{title}."]
    paragraphs += ["", *textwrap.wrap(description, 96)] if description else []
    body = "\n".join(f"{_INDENT}{_escaped(line)}" if line else "" for line in paragraphs).lstrip()
    end = f"\n{_INDENT}" if description else ""
    return f'{_INDENT}"""{body}{end}"""\n'


def literal(text: str) -> str:
    """Returns text as a Python literal on one line."""
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    """Escapes what would end a string, what nobody can see, and what others on the way would replace."""
    special = {"\\": "\\\\", '"': '\\"'}
    visible = (special.get(c, c if c.isprintable() else c.encode("unicode_escape").decode()) for c in text)
    return escape("".join(visible))


def json_literal(content: Any) -> str:
    """Returns plain data as a raw Python string of JSON, a cell's line on a line; escapes are JSON's own."""
    text = json.dumps(content, ensure_ascii=False, indent=1)
    text = "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    text = escape(text).replace("'''", "''\\u0027")
    return f"r'''{text}'''"
