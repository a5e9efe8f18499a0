"""Reads a step notebook: its parameters cell is its signature.

Parses the notebook's JSON and the Python of its cells without running anything and without Jupyter's
libraries, so that commands that only look at notebooks start at once. Not for executing or writing them.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import tokenize
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from nbship.errors import UsageError, suggestion
from nbship.values import SCALARS, TYPES, ValueTypeError, check_value

ARTIFACTS = (
    "Artifact",
    "ClassificationMetrics",
    "Dataset",
    "HTML",
    "Markdown",
    "Metrics",
    "Model",
)
PARAMETERS_TAG = "parameters"
RESULTS_TAG = "nbship-results"
# Of cells that an executed notebook has and its source has not.
ADDED_TAGS = frozenset({"injected-parameters", RESULTS_TAG})
# Colours of a traceback.
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_UNREADABLE = (SyntaxError, ValueError, MemoryError, RecursionError)


class Role(StrEnum):
    """What a variable of the parameters cell is to the pipeline."""

    INPUT = "input"
    OUTPUT = "output"
    RESULT = "result"
    PARAMETER = "parameter"


@dataclass(frozen=True)
class Variable:
    """One line of a parameters cell.

    Attributes:
        name: The Python variable.
        role: Input or output artifact, scalar result, or parameter.
        type: An artifact name of KFP (`Dataset`), or `str`, `int`, `float`, `bool`, `list`, `dict`.
        default: The value it has in Jupyter; for artifacts a path relative to the notebook's folder.
        help: Its comment.
    """

    name: str
    role: Role
    type: str
    default: Any
    help: str = ""

    @property
    def declaration(self) -> str:
        """The type as the parameters cell writes it, such as `Input[Dataset]`."""
        wrapper = {Role.INPUT: "Input[{}]", Role.OUTPUT: "Output[{}]", Role.RESULT: "Output[{}]"}
        return wrapper.get(self.role, "{}").format(self.type)


@dataclass(frozen=True)
class Signature:
    """The variables of a parameters cell, in the order they are written."""

    variables: tuple[Variable, ...]

    def _with_role(self, role: Role) -> Mapping[str, Variable]:
        return {v.name: v for v in self.variables if v.role is role}

    @cached_property
    def inputs(self) -> Mapping[str, Variable]:
        """Artifacts that the notebook reads."""
        return self._with_role(Role.INPUT)

    @cached_property
    def outputs(self) -> Mapping[str, Variable]:
        """Artifacts that the notebook writes."""
        return self._with_role(Role.OUTPUT)

    @cached_property
    def results(self) -> Mapping[str, Variable]:
        """Scalars that the notebook leaves in its variables."""
        return self._with_role(Role.RESULT)

    @cached_property
    def parameters(self) -> Mapping[str, Variable]:
        """Values that a person may set."""
        return self._with_role(Role.PARAMETER)


@dataclass(frozen=True)
class Notebook:
    """What the pipeline needs to know of a notebook.

    Attributes:
        path: The file.
        title: The first Markdown heading, or the file's name.
        description: The first paragraph under that heading.
        signature: What the parameters cell declares.
        code: The sources of the code cells in order, without the parameters cell.
        parameters_source: The source of the parameters cell.
        numbers: The place of each of these code cells among all cells, from 1.
    """

    path: Path
    title: str
    description: str
    signature: Signature
    code: tuple[str, ...]
    parameters_source: str
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Cell:
    number: int
    kind: str
    source: str
    tags: tuple[str, ...]


def read_notebook(path: Path, name: str = "") -> Notebook:
    """Reads a notebook and the signature that its parameters cell declares.

    Args:
        path: The `.ipynb` file.
        name: How errors call the file; the path if empty.

    Raises:
        UsageError: The file is missing, is no notebook, is in another language, has no parameters cell or
            more than one, has a cell with a syntax error, or declares something that is not understood.
    """
    name = name or str(path)
    content = read_content(path, name)
    _check_language(content, name)
    cells = list(_cells(content, name))
    tagged = [cell for cell in cells if cell.kind == "code" and PARAMETERS_TAG in cell.tags]
    if len(tagged) != 1:
        count = "no" if not tagged else str(len(tagged))
        raise UsageError(
            f"{name}: {count} cell{'s' if len(tagged) > 1 else ''} tagged '{PARAMETERS_TAG}'",
            "tag exactly one code cell in Jupyter's property inspector: it is the step's signature",
        )
    for cell in cells:
        if cell.kind == "code":
            _check_syntax(cell, name)
    title, description = _heading(cells, path)
    code = [cell for cell in cells if cell.kind == "code" and cell is not tagged[0]]
    return Notebook(
        path=path,
        title=title,
        description=description,
        signature=read_signature(tagged[0].source, f"{name}, cell {tagged[0].number}"),
        code=tuple(cell.source for cell in code),
        parameters_source=tagged[0].source,
        numbers=tuple(cell.number for cell in code),
    )


def read_signature(source: str, where: str = "parameters cell") -> Signature:
    """Reads the source of a parameters cell.

    Raises:
        UsageError: A statement, type or default is not understood; names the line.
    """
    source = io.StringIO(source, newline=None).read()  # line ends as Python sees them
    try:
        body = _parse(source).body
    except _UNREADABLE as error:
        raise _syntax_error(error, where, "write plain lines of 'name: type = value' there") from None
    comments = _comments(source)
    variables: dict[str, Variable] = {}
    for node in body:
        at = f"{where}, line {node.lineno}"
        variable = _variable(node, comments, at)
        if variable.name in variables:
            raise UsageError(f"{at}: '{variable.name}' is declared twice", "remove one of the two lines")
        variables[variable.name] = variable
    return Signature(tuple(variables.values()))


def read_content(path: Path, name: str) -> dict[str, Any]:
    """Reads a notebook's JSON as it is stored; of what is in it, only the format is checked.

    Raises:
        UsageError: It is missing, or no notebook of format 4.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["nbformat"] < 4:
            raise UsageError(
                f"{name}: notebook format {content['nbformat']} is too old", "save it in Jupyter"
            )
        return dict(content)
    except FileNotFoundError:
        raise UsageError(f"{name}: there is no such notebook", _nearest_notebook(path)) from None
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}", "check the path and its permissions") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise no_notebook(name) from None


def whole_text(value: str | Iterable[str]) -> str:
    """Returns a text of a notebook's JSON, which may be stored as its lines."""
    return value if isinstance(value, str) else "".join(value)


def _check_language(content: Any, name: str) -> None:
    """Steps are Python, and any other kernel's cells would be read as such; one that says nothing is."""
    metadata = content.get("metadata") if isinstance(content, dict) else None
    said = (
        [metadata.get(key) for key in ("kernelspec", "language_info")] if isinstance(metadata, dict) else []
    )
    for each, key in zip(said, ("language", "name"), strict=False):
        language = each.get(key) if isinstance(each, dict) else None
        if isinstance(language, str) and "python" not in language.lower():
            raise UsageError(
                f"{name}: a notebook in {language}; a step's is in Python",
                "call it from a Python notebook, or choose a Python kernel in Jupyter",
            )


def no_notebook(name: str) -> UsageError:
    """Returns what to tell of a file that is no notebook."""
    return UsageError(f"{name}: not a notebook (nbformat 4 JSON)", "open and save it in Jupyter")


def _cells(content: Any, name: str) -> Iterator[_Cell]:
    try:
        for number, cell in enumerate(content["cells"], start=1):
            yield _Cell(
                number=number,
                kind=cell["cell_type"],
                source=whole_text(cell["source"]),
                tags=tuple(cell.get("metadata", {}).get("tags", ())),
            )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise no_notebook(name) from None


def _nearest_notebook(path: Path) -> str:
    return suggestion(path.name, (p.name for p in path.parent.glob("*.ipynb")))


def _check_syntax(cell: _Cell, name: str) -> None:
    """Parses a cell; only one that is not plain Python costs the import of IPython's translator."""
    try:
        with contextlib.suppress(*_UNREADABLE):
            _parse(cell.source)
            return
        _parse(without_magics(cell.source))
    except _UNREADABLE as error:
        hint = "correct the cell; it must run in Jupyter as it stands"
        raise _syntax_error(error, f"{name}, cell {cell.number}", hint) from None


def without_magics(source: str) -> str:
    """Returns a cell's code with IPython's own syntax turned into plain Python."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        with warnings.catch_warnings(action="ignore"):
            python: str = TransformerManager().transform_cell(source)
    except IndexError:  # what it raises for a magic in an unfinished line
        return source
    return python


def _parse(source: str) -> ast.Module:
    """Parses Python as a cell may hold it. What Python only warns of is for the author to see in Jupyter."""
    with warnings.catch_warnings(action="ignore"):
        tree: ast.Module = compile(source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return tree


def _syntax_error(error: BaseException, where: str, hint: str) -> UsageError:
    line = getattr(error, "lineno", None)
    message = error.msg if isinstance(error, SyntaxError) else str(error) or "too deeply nested"
    return UsageError(f"{where}{f', line {line}' if line else ''}: {message}", hint)


def _heading(cells: list[_Cell], path: Path) -> tuple[str, str]:
    first = next((c.source for c in cells if c.kind == "markdown" and c.source.lstrip().startswith("#")), "")
    heading, _, rest = first.strip().partition("\n")
    paragraph = rest.strip().partition("\n\n")[0]
    return heading.lstrip("#").strip() or path.stem, " ".join(paragraph.split())


def _comments(source: str) -> Mapping[int, str]:
    """The comment text of every line that has one, by line number."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("#").strip() for t in tokens if t.type == tokenize.COMMENT}


def _variable(node: ast.stmt, comments: Mapping[int, str], at: str) -> Variable:
    name, annotation, value = _assignment(node, at)
    if value is None:
        raise UsageError(f"{at}: '{name}' has no default", f"give it a value: {name} = …")
    try:
        default = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise UsageError(
            f"{at}: the default of '{name}' is not a plain value", "write it out: a string, number, list …"
        ) from None
    role, type_name = _declared(annotation, at) if annotation else (Role.PARAMETER, type(default).__name__)
    expected = type_name if role in (Role.PARAMETER, Role.RESULT) else "str"
    try:
        default = check_value(expected, default)
    except ValueTypeError as error:
        what = "default" if expected == type_name else "path"
        accepted = expected if expected in TYPES else f"one of {', '.join(TYPES)}"
        raise UsageError(f"{at}: the {what} of '{name}' {error}", f"it must be {accepted}") from None
    help_text = comments.get(node.end_lineno or node.lineno) or comments.get(node.lineno, "")
    return Variable(name, role, type_name, default, help_text)


def _assignment(node: ast.stmt, at: str) -> tuple[str, ast.expr | None, ast.expr | None]:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id, node.annotation, node.value
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, None, node.value
    raise UsageError(
        f"{at}: only 'name: type = value' is understood in a parameters cell",
        "move other code to a later cell",
    )


def _declared(annotation: ast.expr, at: str) -> tuple[Role, str]:
    quoted = annotation.value if isinstance(annotation, ast.Constant) else None
    text = " ".join((quoted if isinstance(quoted, str) else _source(annotation)).split())
    artifact = re.fullmatch(r"(Input|Output) ?\[ ?(\w+) ?\]", text)
    if artifact is None:
        if text in TYPES:
            return Role.PARAMETER, text
        raise UsageError(f"{at}: unknown type '{text}'", suggestion(text, (*TYPES, "Input[…]", "Output[…]")))
    outer, inner = artifact.groups()
    accepted = ARTIFACTS if outer == "Input" else (*ARTIFACTS, *SCALARS)
    if inner not in accepted:
        raise UsageError(f"{at}: unknown type '{text}'", suggestion(inner, accepted))
    if quoted is None:
        raise UsageError(
            f"{at}: {text} is not in quotes", f"write \"{text}\", or Jupyter looks for a variable '{outer}'"
        )
    if inner in SCALARS:
        return Role.RESULT, inner
    return (Role.INPUT if outer == "Input" else Role.OUTPUT), inner


def _source(annotation: ast.expr) -> str:
    try:
        return ast.unparse(annotation)
    except RecursionError:
        return "…"
