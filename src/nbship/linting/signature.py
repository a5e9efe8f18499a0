"""The signature against the code: what the parameters cell declares and no cell uses or sets."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from nbship.errors import UsageError
from nbship.linting.cells import Cell, Source
from nbship.linting.finding import LintFinding
from nbship.notebook import Role, Signature, read_signature


def unused_variables(notebook: Source) -> Iterator[LintFinding]:
    """Finds variables of the parameters cell that the code never uses, and results that it never sets."""
    signature = _signature(notebook)
    if signature is None or notebook.parameters is None:
        return
    others = [cell for cell in notebook.code if cell is not notebook.parameters]
    loaded, stored = set[str](), set[str]()
    for cell in others:
        for node in cell.nodes:
            if isinstance(node, ast.Name):
                (loaded if isinstance(node.ctx, ast.Load) else stored).add(node.id)
        if any(True for _ in cell.magics):  # `!cp a {model}` uses it too
            loaded |= set(re.findall(r"\w+", cell.source))
    lines = _lines(notebook.parameters)
    rules = {Role.INPUT: "unused-input", Role.PARAMETER: "unused-parameter"}
    for name, variable in ((v.name, v) for v in signature.variables):
        result = variable.role is Role.RESULT
        if name in (stored if result else loaded):
            continue
        rule = rules.get(variable.role, "unused-output")
        what = "nothing sets it" if result else "no cell uses it"
        message = f"{name}: {variable.declaration} is declared, and {what}"
        yield LintFinding(notebook.name, notebook.parameters.number, lines.get(name, 0), rule, message)


def _signature(notebook: Source) -> Signature | None:
    try:
        return read_signature(notebook.parameters.source) if notebook.parameters else None
    except UsageError:  # told when the pipeline is read
        return None


def _lines(parameters: Cell) -> dict[str, int]:
    targets = ((node, getattr(node, "target", None) or node.targets[0]) for node in parameters.tree.body)  # type: ignore[attr-defined]
    return {target.id: node.lineno for node, target in targets if isinstance(target, ast.Name)}
