"""Writes the plan out: a notebook for each step, a module of what several use, and the pipeline file.

Returns texts; where they go is for who calls. Cells keep their ids, so that their outputs can be compared
with those of the notebook that they come from.
"""

from __future__ import annotations

import ast
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import yaml

from nbship.linting.cells import Cell
from nbship.notebook import Role, Variable
from nbship.splitting.judging import HELD_OUT, LEARNT_FROM
from nbship.splitting.kinds import FORMATS, file_name, load, needed_imports, save
from nbship.splitting.plan import Crossing, File, SplitPlan, StepPlan
from nbship.splitting.proposal import Read
from nbship.splitting.statements import Statement, StatementKind
from nbship.splitting.wishes import GateWish, ranges
from nbship.templates.render import METADATA

JUDGE = "judge"
_EMPTY: Mapping[str, Any] = {"bool": False, "float": 0.0, "int": 0, "str": ""}
_KEPT_TAGS = {"raises-exception", "hide-input", "hide-output", "hide-cell", "remove-input"}


def write(plan: SplitPlan, notebook: Read, data: Mapping[str, str]) -> dict[str, str]:
    """Returns the files of a plan by their path from the project's folder; the pipeline file is the last.

    Args:
        plan: The plan.
        notebook: The notebook as it was read.
        data: Path from the project's folder of each file that no step writes, by variable.
    """
    folder = f"notebooks/{plan.name}"
    files = {f"{folder}/{step.name}.ipynb": _notebook(plan, notebook, step, data) for step in plan.steps}
    if plan.module:
        files[f"{folder}/{plan.module_name}.py"] = _module(plan, notebook)
    return files | {f"pipelines/{plan.name}.yaml": _pipeline(plan, data)}


def _notebook(plan: SplitPlan, notebook: Read, step: StepPlan, data: Mapping[str, str]) -> str:
    said = f"Cells {ranges(step.cells)} of `{PurePath(plan.notebook).name}`."
    cells = [
        _text("heading", f"# {step.title}\n\n{said}"),
        _code("parameters", "\n".join(_parameters(plan, notebook, step, data)), ["parameters"]),
    ]
    cells += [_code(name, source) for name, source in _first_cells(plan, notebook, step) if source]
    cells += _own(plan, notebook, step)
    after = _last_cell(plan, step)
    cells += [_code("hand-on", after)] if after else []
    content = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _text(identifier: str, source: str) -> dict[str, Any]:
    return {
        "cell_type": "markdown",
        "id": identifier,
        "metadata": {},
        "source": source.splitlines(keepends=True),
    }


def _code(identifier: str, source: str, tags: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": identifier,
        "metadata": {"tags": list(tags)} if tags else {},
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }


def _parameters(plan: SplitPlan, notebook: Read, step: StepPlan, data: Mapping[str, str]) -> Iterator[str]:
    """The parameters cell: what comes in, what goes out, what can be set."""
    files = {file.variable: file for file in plan.files}
    taken = [plan.crossing(name, source) for name, source in step.takes.items()]
    for c in (c for c in taken if not c.is_result):
        said = f"{c.name}, from {c.source}"
        yield _line(_taken_as(plan, step, c), f"Input[{_type(c)}]", _path(plan, c), said)
    for name in step.reads:
        file = files[name]
        given = _written_to(file) if file.writers else _relative(plan, data[name])
        yield _line(name, f"Input[{file.type}]", given, file.help or file.path)
    yield from _outputs(plan, step, files)
    for c in (c for c in taken if c.is_result):
        yield _parameter(Variable(c.name, Role.PARAMETER, c.kind, _EMPTY[c.kind], f"from {c.source}"))
    loose = {mention.path for mention in notebook.loose}
    for variable in (plan.parameters[name] for name in step.parameters):
        moved = isinstance(variable.default, str) and variable.default in loose
        yield _parameter(replace(variable, default=_moved(plan, variable.default)) if moved else variable)


def _outputs(plan: SplitPlan, step: StepPlan, files: Mapping[str, File]) -> Iterator[str]:
    for c in (plan.crossing(name, step.name) for name in step.gives):
        shape = f", {c.fact.shape}" if c.fact and c.fact.shape else ""
        if c.is_result:
            yield _line(c.name, f"Output[{c.kind}]", _EMPTY[c.kind], "found out below")
        else:
            yield _line(c.artifact, f"Output[{_type(c)}]", _path(plan, c), f"{c.name}{shape}")
    for variable in (plan.results[name] for name in step.results):
        yield _line(variable.name, f"Output[{variable.type}]", variable.default, variable.help)
    for name in step.writes:
        yield _line(name, f"Output[{files[name].type}]", _written_to(files[name]), files[name].help)
    for name in step.rows:
        yield _line(name, "Output[Dataset]", f"build/{step.name}/{name}.csv", "the model is judged by them")
    if step.metrics:
        yield _line(
            plan.metrics, "Output[Metrics]", f"build/{step.name}/metrics.json", ", ".join(step.metrics)
        )


def _line(name: str, kind: str, value: Any, said: str = "") -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
    return f'{name}: "{kind}" = {text}{f"  # {said}" if said else ""}'


def _parameter(variable: Variable) -> str:
    value = variable.default
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
    return f"{variable.name}: {variable.type} = {text}{f'  # {variable.help}' if variable.help else ''}"


def _type(crossing: Crossing) -> str:
    return FORMATS[crossing.kind][1]


def _taken_as(plan: SplitPlan, step: StepPlan, crossing: Crossing) -> str:
    """What an input is called; a step that hands a changed variable on has an output of its name."""
    gives = crossing.name in step.gives and not plan.crossing(crossing.name, step.name).is_result
    return f"{crossing.name}_before" if gives else crossing.artifact


def _path(plan: SplitPlan, crossing: Crossing) -> str:
    return f"build/{crossing.source}/{file_name(crossing.name, crossing.kind, plan.parquet)}"


def _written_to(file: File) -> str:
    return f"build/{file.writers[-1]}/{PurePath(file.path).name}"


def _relative(plan: SplitPlan, path: str) -> str:
    return posixpath.relpath(path, f"notebooks/{plan.name}")


def _first_cells(plan: SplitPlan, notebook: Read, step: StepPlan) -> Iterator[tuple[str, str]]:
    """What a step needs of the cells that are not its own, and its inputs."""
    lines = list(_imports(notebook.statements, step.imports))
    if step.module:
        lines.append(f"from {plan.module_name} import {', '.join(step.module)}")
    yield "imports", "\n".join(lines)
    taken = [plan.crossing(name, source) for name, source in step.takes.items()]
    loads = [
        load(c.name, c.kind, _taken_as(plan, step, c), c.options, plan.parquet)
        for c in taken
        if not c.is_result
    ]
    # A number of NumPy's has methods that Python's has not.
    scalars = [(c.name, c.fact.type) for c in taken if c.is_result and c.fact and c.fact.type[:6] == "numpy."]
    loads += [f"{name} = {kind.replace('numpy.', 'np.')}({name})" for name, kind in scalars]
    made = [*(["Path(file)"] if step.writes else [])]
    missing = [line for line in needed_imports([*loads, *made]) if line not in lines]
    if step.writes:
        loads.append(_folders(step.writes))
    yield "take", "\n".join([*missing, *([""] if missing else []), *loads])
    copied = [notebook.statements[p] for p in sorted({*step.copies, *step.settings})]
    yield "definitions", "\n".join(_spaced(_replaced(plan, notebook, s) for s in copied))


def _spaced(texts: Iterator[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        if number and ("\n" in text or text.startswith(("def ", "class ", "@"))):
            yield ""
        yield text


def _replaced(plan: SplitPlan, notebook: Read, s: Statement) -> str:
    """A statement of another cell, with the names of files as variables."""
    edits = _edits(plan, notebook, {s.position})
    if not edits or not s.alone:
        return s.text
    lines = ["" for _ in range(s.first - 1)] + s.text.split("\n")
    return "\n".join(_edited("\n".join(lines), edits).split("\n")[s.first - 1 :])


def _edits(plan: SplitPlan, notebook: Read, positions: set[int]) -> list[tuple[ast.AST, str]]:
    """What is replaced in statements: names of files, and paths that lead elsewhere from the new folder."""
    files = {file.path: file.variable for file in plan.files if not file.declared}
    edits: list[tuple[ast.AST, str]] = []
    for mention in (m for m in (*notebook.mentions, *notebook.loose) if m.position in positions):
        if mention.node is None:
            continue
        if mention.loose:
            edits.append((mention.node, _with_folder(mention.node, _moved(plan, mention.path), mention.path)))
        elif mention.path in files:
            name = files[mention.path]
            edits.append((mention.node, f"Path({name})" if mention.as_path else name))
    return edits


def _with_folder(node: ast.expr, moved: str, path: str) -> str:
    """A text that is a path, or a formatted one that begins with it, as source with the path moved."""
    if not isinstance(node, ast.JoinedStr):
        return json.dumps(moved, ensure_ascii=False)
    first = ast.literal_eval(ast.unparse(node.values[0]))
    return ast.unparse(ast.JoinedStr([ast.Constant(moved + first[len(path) :]), *node.values[1:]]))


def _moved(plan: SplitPlan, path: str) -> str:
    """A path of the notebook's folder as the steps' folder sees it."""
    home = posixpath.relpath(posixpath.dirname(plan.notebook) or ".", f"notebooks/{plan.name}")
    moved = posixpath.normpath(posixpath.join(home, path))
    return path if home == "." else f"{moved}/" if path.endswith("/") else moved


def _imports(statements: Sequence[Statement], needed: Mapping[int, frozenset[str]]) -> Iterator[str]:
    """Import statements, with the names that are needed only; those of the future first."""
    for position, names in sorted(
        needed.items(), key=lambda item: ("__future__" not in statements[item[0]].text, item[0])
    ):
        node = statements[position].node
        if not isinstance(node, ast.Import | ast.ImportFrom):
            yield statements[position].text
            continue
        aliases = [a for a in node.names if (a.asname or a.name.partition(".")[0]) in names]
        if isinstance(node, ast.Import):
            yield from (ast.unparse(ast.Import([alias])) for alias in aliases)
        else:
            yield ast.unparse(ast.ImportFrom(node.module, aliases, node.level))


def _own(plan: SplitPlan, notebook: Read, step: StepPlan) -> Iterator[dict[str, Any]]:
    """The step's own cells, without what is declared above them or has gone to the module."""
    cells = {cell.number: cell for cell in notebook.source.cells}
    for number in step.cells:
        cell = cells[number]
        identifier = str(cell.content.get("id") or f"cell-{number}")
        if cell.kind == "code":
            source = _without_declared(plan, notebook, cell)
            if source.strip():
                yield _code(identifier, source, [tag for tag in cell.tags if tag in _KEPT_TAGS])
        elif source := _without_title(cell.source, step.title):
            yield {**_text(identifier, source), "cell_type": cell.kind}


def _without_title(source: str, title: str) -> str:
    lines = source.splitlines()
    own = [line for line in lines if line.lstrip("#").strip(" *_`") != title or not line.startswith("#")]
    return "\n".join(own).strip("\n")


def _without_declared(plan: SplitPlan, notebook: Read, cell: Cell) -> str:
    own = [s for s in notebook.statements if s.cell == cell.number]
    edits = _edits(plan, notebook, {s.position for s in own})
    whole: list[Statement] = []
    for s in own:
        parameter = s.kind is StatementKind.CONSTANT and s.name in plan.parameters
        if (parameter or (s.position in plan.module and s.kind is StatementKind.FUNCTION)) and s.alone:
            whole.append(s)
        elif parameter:
            edits.append((s.node, "pass"))
    lines = _edited(cell.source, edits).split("\n")
    for s in sorted(whole, key=lambda s: -s.first):
        del lines[s.first - 1 : s.last]
    return "\n".join(lines).strip("\n")


def _edited(source: str, edits: Sequence[tuple[ast.AST, str]]) -> str:
    """A source with some of its expressions replaced; columns of trees count bytes."""
    lines = [line.encode() for line in source.split("\n")]
    places: dict[tuple[int, int], tuple[Any, str]] = {}
    for node, text in edits:
        located: Any = node
        places[located.lineno, located.col_offset] = (located, text)
    for (line, column), (node, text) in sorted(places.items(), reverse=True):
        before, after = lines[line - 1][:column], lines[node.end_lineno - 1][node.end_col_offset :]
        # The lines stay as many as they were, for other edits go by their numbers.
        kept = [b""] * (node.end_lineno - line)
        lines[line - 1 : node.end_lineno] = [before + text.encode() + after, *kept]
    return "\n".join(line.decode() for line in lines)


def _last_cell(plan: SplitPlan, step: StepPlan) -> str:
    """The last cell: hands the variables on that later steps take."""
    given = [c for name in step.gives if not (c := plan.crossing(name, step.name)).is_result]
    lines = [save(c.name, c.kind, c.artifact, c.options, plan.parquet) for c in given]
    paths = [c.artifact for c in given]
    lines += [f"({rows}).to_csv({name}, index=False)" for name, rows in step.rows.items()]
    paths += step.rows
    if step.metrics:
        items = ", ".join(f'"{name}": float({name})' for name in step.metrics)
        lines.append(f"Path({plan.metrics}).write_text(json.dumps({{{items}}}))")
        paths.append(plan.metrics)
    if not lines:
        return ""
    folders = _folders(paths)
    return "\n".join([*needed_imports([folders, *lines]), "", folders, *lines])


def _folders(paths: Sequence[str]) -> str:
    make = ".parent.mkdir(parents=True, exist_ok=True)"
    if len(paths) == 1:
        return f"Path({paths[0]}){make}"
    return f"for file in ({', '.join(paths)}):\n    Path(file){make}" if paths else ""


def _module(plan: SplitPlan, notebook: Read) -> str:
    texts = [_replaced(plan, notebook, notebook.statements[position]) for position in plan.module]
    imports = list(_imports(notebook.statements, plan.module_imports))
    head = f'"""What several steps of {plan.name} use, from {PurePath(plan.notebook).name}."""'
    return "\n\n\n".join(["\n".join([head, "", *imports]).rstrip(), *texts]) + "\n"


def _pipeline(plan: SplitPlan, data: Mapping[str, str]) -> str:
    steps: dict[str, Any] = {}
    for step in plan.steps:
        steps[step.name] = {"notebook": f"notebooks/{plan.name}/{step.name}.ipynb"}
        if wires := dict(_wires(plan, step)):
            steps[step.name]["inputs"] = wires
        if step.after:
            steps[step.name]["after"] = list(step.after)
    content: dict[str, Any] = {"name": plan.name, "description": plan.title or f"Split from {plan.notebook}."}
    if data:
        content["data"] = {name: {"path": path} for name, path in data.items()}
    content["steps"] = steps
    if plan.gate:
        content |= _judged(plan, plan.gate, steps)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
    return f"# yaml-language-server: $schema=schema.json\n{text}"


def _judged(plan: SplitPlan, gate: GateWish, steps: dict[str, Any]) -> dict[str, Any]:
    """Adds the step that judges the model; returns the gate, and what is published."""
    model = next(c for c in plan.crossings if c.name == gate.model and c.kind == "model")
    homes = {name: f"{step.name}.{name}" for step in plan.steps for name in step.rows}
    reference = f"{model.source}.{model.artifact}"
    parameters = {"unit": gate.target, "groups": []} if gate.task == "regression" else {}
    steps[JUDGE] = {
        "notebook": f"notebooks/shared/evaluate-{gate.task}.ipynb",
        "inputs": {"test_set": homes[HELD_OUT], "model": reference},
        "parameters": {"target": gate.target, **parameters},
    }
    bounds = {key: each.model_dump(exclude_none=True) for key, each in gate.thresholds.items()}
    told = {"gate": {"step": JUDGE, **({"thresholds": bounds} if bounds else {}), "losses": "losses"}}
    if LEARNT_FROM not in homes:
        return told
    published = {"model": reference, "reference": homes[LEARNT_FROM], "target": gate.target}
    return {**told, "publish": published}


def _wires(plan: SplitPlan, step: StepPlan) -> Iterator[tuple[str, str]]:
    """What names alone do not say."""
    outputs = [plan.crossing(n, s.name).artifact for s in plan.steps for n in s.gives]
    outputs += [name for s in plan.steps for name in s.writes]
    for name, source in step.takes.items():
        crossing = plan.crossing(name, source)
        taken = name if crossing.is_result else _taken_as(plan, step, crossing)
        if crossing.is_result or taken != crossing.artifact or outputs.count(crossing.artifact) > 1:
            yield taken, f"{source}.{crossing.artifact}"
    for file in (f for f in plan.files if f.variable in step.reads and f.writers):
        if outputs.count(file.variable) > 1:
            before = [w for w in file.writers if _index(plan, w) < _index(plan, step.name)]
            yield file.variable, f"{(before or list(file.writers))[-1]}.{file.variable}"


def _index(plan: SplitPlan, step: str) -> int:
    return [s.name for s in plan.steps].index(step)
