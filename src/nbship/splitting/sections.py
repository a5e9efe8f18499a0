"""Where to cut: by Kale's tags of cells, else by headings, else by what the cells do.

Kale's tags are `step:NAME` (once `block:NAME`), `prev:NAME`, `imports`, `functions`, `pipeline-parameters`,
`pipeline-metrics` and `skip`; a cell without one goes on with what the cell above is. Knows nothing of what
crosses a cut.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nbship.config import Pipeline
from nbship.linting.calls import imports
from nbship.linting.cells import Cell, Source
from nbship.notebook import PARAMETERS_TAG
from nbship.splitting.kinds import is_handle
from nbship.splitting.statements import Statement, StatementKind, calls, root_name

_STEP_TAG = re.compile(r"(?:step|block):(.*)")
_METRICS, _SKIP, _SHARED = "pipeline-metrics", "skip", "shared"
# What a cell that is no step is.
_PARTS = {
    **dict.fromkeys(["pipeline-parameters", PARAMETERS_TAG], PARAMETERS_TAG),
    **dict.fromkeys(["imports", "functions"], _SHARED),
    **{tag: tag for tag in (_METRICS, _SKIP)},
}
_LONGEST_NAME = 30
_HEADING = {level: re.compile(rf"^{'#' * level}\s+(.+?)\s*#*\s*$") for level in (1, 2)}
_LOADS = re.compile(
    r"pandas\.read_\w+|polars\.(read|scan)_\w+|sklearn\.datasets\.(load|fetch|make)_\w+|seaborn\.load_dataset"
    r"|numpy\.(load|loadtxt|genfromtxt)|.*\.(load_data|load_dataset|urlretrieve)|.*fetch_ucirepo"
)
_EVALUATES = re.compile(
    r"sklearn\.metrics\.\w+.*|.*\.(score|predict|predict_proba|evaluate|decision_function)"
    r"|sklearn\.inspection\.\w+.*"
)
_TRAINS = re.compile(
    r".*\.(fit|partial_fit|fit_predict)|(xgboost|lightgbm)\.(train|cv)"
    r"|sklearn\.model_selection\.(cross_val\w*|learning_curve|validation_curve)"
)
_SETS_UP = re.compile(r"set\w*|add\w+|register\w*|config\w*")
# Classes whose `fit` makes a feature, not a model.
_PREPARES = re.compile(
    r"sklearn\.(preprocessing|impute|decomposition|feature_\w+|compose|random_projection|manifold)\..*"
    r"|imblearn\..*"
)


@dataclass(frozen=True)
class Section:
    """Cells that become a step.

    Attributes:
        name: The step.
        title: What a person reads.
        cells: The numbers of its cells, code and text.
        after: The steps that it is said to follow; None if nothing is said.
    """

    name: str
    title: str
    cells: tuple[int, ...]
    after: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Outline:
    """The cells of a notebook, each with its part.

    Attributes:
        by: What the cuts follow: `tags`, `headings`, `flow`, or `plan` if a person said so.
        sections: Those that become steps, in order.
        parameters: Code cells that declare parameters.
        metrics: Code cells that name the metrics.
        skipped: Code cells that are left out.
    """

    by: str
    sections: tuple[Section, ...]
    parameters: frozenset[int] = frozenset()
    metrics: frozenset[int] = frozenset()
    skipped: frozenset[int] = frozenset()

    def section_of(self, cell: int) -> str:
        """Returns the name of the section that has a cell; empty if none has."""
        return next((section.name for section in self.sections if cell in section.cells), "")


def outline(source: Source, statements: Sequence[Statement]) -> Outline:
    """Proposes where to cut.

    Args:
        source: The notebook.
        statements: Its statements.
    """
    by_cell: dict[int, list[Statement]] = {cell.number: [] for cell in source.code}
    for statement in statements:
        by_cell[statement.cell].append(statement)
    if any(_STEP_TAG.fullmatch(tag) for cell in source.code for tag in cell.tags):
        return _by_tags(source)
    skipped = frozenset(cell.number for cell in source.code if _SKIP in cell.tags)
    parameters = frozenset(
        cell.number
        for cell in source.code
        if cell.number not in skipped and PARAMETERS_TAG in map(_PARTS.get, cell.tags)
    )
    origins = imports(source)
    handles = {s.name for s in statements if is_handle(s, origins)}
    works = {
        number
        for number, body in by_cell.items()
        if number not in skipped | parameters
        and any(s.kind is StatementKind.CODE and not is_set_up(s, handles) for s in body)
    }
    for level, fewest in ((2, 2), (1, 3)):
        sections = _merged(_by_headings(source, level), works)
        if len(sections) >= fewest:
            return Outline("headings", _named(sections), parameters, skipped=skipped)
    chosen = [number for number in by_cell if number in works]
    return Outline("flow", _by_flow(source, by_cell, chosen), parameters, skipped=skipped)


def is_set_up(s: Statement, handles: set[str]) -> bool:
    """Whether a statement makes a logger or the like, or sets one up."""
    call = s.node.value if isinstance(s.node, ast.Expr) else None
    if not isinstance(call, ast.Call):
        return s.name in handles
    return root_name(call) in handles and bool(_SETS_UP.fullmatch(getattr(call.func, "attr", "")))


def _by_tags(source: Source) -> Outline:
    """As Kale reads them: what has no tag goes on with what is above."""
    cells: dict[str, list[int]] = {}
    titles: dict[str, str] = {}
    after: dict[str, list[str]] = {}
    apart: dict[str, set[int]] = {part: set() for part in _PARTS.values()}
    step, part, texts = "", _SHARED, list[int]()
    for cell in source.cells:
        if cell.kind != "code":
            texts.append(cell.number)
            continue
        if _SKIP in cell.tags:
            apart[_SKIP].add(cell.number)
            continue
        tagged = next((m[1] for tag in cell.tags if (m := _STEP_TAG.fullmatch(tag)) and m[1]), "")
        if tagged:
            step, part = step_name(tagged), ""
            titles.setdefault(step, tagged.replace("_", " ").capitalize())
            before = [step_name(t.removeprefix("prev:")) for t in cell.tags if t.startswith("prev:")]
            after.setdefault(step, []).extend(before)
        else:
            part = next((_PARTS[tag] for tag in cell.tags if tag in _PARTS), part)
        if part:
            apart[part].add(cell.number)
        else:
            cells.setdefault(step, []).extend([*texts, cell.number])
        texts = []
    return Outline(
        "tags",
        tuple(Section(n, titles[n], tuple(c), tuple(dict.fromkeys(after[n]))) for n, c in cells.items()),
        *(frozenset(apart[key]) for key in (PARAMETERS_TAG, _METRICS, _SKIP)),
    )


def _by_headings(source: Source, level: int) -> list[tuple[str, list[int]]]:
    found: list[tuple[str, list[int]]] = [("", [])]
    for cell in source.cells:
        heading = heading_of(cell, level)
        if heading:
            found.append((heading, []))
        found[-1][1].append(cell.number)
    return found


def heading_of(cell: Cell, level: int = 2) -> str:
    """Returns the last heading of a level in a cell of text; empty if it has none."""
    if cell.kind != "markdown":
        return ""
    fenced, found = False, ""
    for line in cell.source.splitlines():
        fenced ^= line.startswith("```")
        match = None if fenced else _HEADING[level].match(line)
        found = match[1] if match else found
    return found


def _merged(sections: Iterable[tuple[str, list[int]]], works: set[int]) -> list[tuple[str, list[int]]]:
    """Only sections that do something; the text of one that does nothing goes to the one above."""
    merged: list[tuple[str, list[int]]] = []
    for title, cells in sections:
        if works.intersection(cells):
            merged.append((title or "Start", cells))
        elif merged:
            merged[-1][1].extend(cells)
    return merged


def _named(sections: Iterable[tuple[str, list[int]]]) -> tuple[Section, ...]:
    taken: set[str] = set()
    named = []
    for title, cells in sections:
        name = base = step_name(title)
        number = 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name)
        named.append(Section(name, re.sub(r"[*_`]", "", title), tuple(cells)))
    return tuple(named)


def step_name(title: str) -> str:
    """Returns a name that a step may have, made from a heading or a tag."""
    words = re.findall(r"[a-z0-9]+", title.lower().replace("'", ""))
    while words and words[0].isdigit():
        words.pop(0)
    name = ""
    for word in words:
        longer = f"{name}-{word}" if name else word
        if name and len(longer) > _LONGEST_NAME:
            break
        name = longer[:_LONGEST_NAME]
    name = name if name[:1].isalpha() else f"step-{name}".strip("-")
    return f"{name}-step" if name in Pipeline.model_fields else name


def _by_flow(
    source: Source, by_cell: Mapping[int, list[Statement]], works: Sequence[int]
) -> tuple[Section, ...]:
    """Load, prepare, train, evaluate: none of them is gone back to."""
    if not works:
        return ()
    origins = imports(source)
    made = {
        s.name: name
        for body in by_cell.values()
        for s in body
        if isinstance(s.value, ast.Call)
        for _, name in calls(s, origins)[:1]
    }
    does = {number: _activities(by_cell[number], origins, made) for number in works}
    train = next((i for i, n in enumerate(works) if "train" in does[n]), len(works))
    begin = train
    while begin > 1 and train < len(works) and _only_makes(by_cell[works[begin - 1]], origins):
        begin -= 1
    last = max((i for i, n in enumerate(works) if "train" in does[n]), default=len(works))
    evaluate = next((i for i in range(last + 1, len(works)) if "evaluate" in does[works[i]]), len(works))
    load = _end_of_loading([does[number] for number in works[:begin]])
    bounds = {"load": 0, "prepare": load, "train": begin, "evaluate": evaluate}
    ends = [*list(bounds.values())[1:], len(works)]
    parts = {name: works[start:end] for (name, start), end in zip(bounds.items(), ends, strict=True)}
    return tuple(
        Section(name, name.capitalize(), tuple(numbers))
        for name, numbers in _with_texts(source, {n: c for n, c in parts.items() if c})
    )


def _activities(body: Sequence[Statement], origins: Mapping[str, str], made: Mapping[str, str]) -> set[str]:
    found = set()
    for s in (s for s in body if s.kind is StatementKind.CODE):
        for call, name in calls(s, origins):
            method = name or (call.func.attr if isinstance(call.func, ast.Attribute) else "")
            method = method if "." in method else f"x.{method}"
            maker = made.get(root_name(call.func), "") or origins.get(root_name(call.func), "")
            if _LOADS.fullmatch(method):
                found.add("load")
            elif _TRAINS.fullmatch(method) and not _PREPARES.match(maker):
                found.add("train")
            elif _EVALUATES.fullmatch(method):
                found.add("evaluate")
    return found


def _only_makes(body: Sequence[Statement], origins: Mapping[str, str]) -> bool:
    """Whether a cell only sets models up, from nothing that the notebook has computed."""
    code = [s for s in body if s.kind is StatementKind.CODE]
    return bool(code) and all(
        isinstance(s.value, ast.Call | ast.Dict | ast.List)
        and any(name[:8] in ("sklearn.", "xgboost.", "lightgbm") for _, name in calls(s, origins))
        and not any("split" in name or _LOADS.fullmatch(name) for _, name in calls(s, origins))
        and s.reads <= origins.keys()
        for s in code
    )


def _end_of_loading(does: Sequence[set[str]]) -> int:
    """How many cells load: those up to the last that reads something, with few others in between."""
    end = gap = 0
    for place, parts in enumerate(does, start=1):
        if "load" in parts:
            end, gap = place, 0
        elif end:
            gap += 1
            if gap > 2:
                break
    return end


def _with_texts(source: Source, parts: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, list[int]]]:
    """The parts with all cells between: text, and code that only defines, goes with what it stands above."""
    part_of = {number: name for name, numbers in parts.items() for number in numbers}
    result: dict[str, list[int]] = {name: [] for name in parts}
    waiting: list[int] = []
    current = next(iter(parts))
    for cell in source.cells:
        waiting.append(cell.number)
        if cell.number in part_of:
            current = part_of[cell.number]
            result[current] += waiting
            waiting = []
    result[current] += waiting
    yield from result.items()
