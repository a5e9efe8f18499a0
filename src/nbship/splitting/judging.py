"""How the model of a notebook is judged: which steps hand the model and the rows on that it takes.

The judging itself is done by a notebook that knows nothing of how the model was made.
"""

from __future__ import annotations

import ast

from nbship.errors import UsageError
from nbship.splitting.flow import Flow
from nbship.splitting.wishes import GateWish

HELD_OUT, LEARNT_FROM = "held_out_rows", "learnt_rows"


def hand_on_rows(flow: Flow, gate: GateWish) -> dict[str, dict[str, str]]:
    """Has the model handed on, and finds the step that can tell each kind of rows.

    Args:
        flow: What each step needs; gets what these need as well.
        gate: What a person wants.

    Returns:
        By step the outputs that it gets, each with the expression of its rows.

    Raises:
        UsageError: An expression is none, or names what no step has.
    """
    wanted = {HELD_OUT: ("held_out", gate.held_out), LEARNT_FROM: ("learnt_from", gate.learnt_from)}
    _check(flow, "model", gate.model)
    flow.hand_on(gate.model, flow.last_holder(gate.model), "model")
    rows: dict[str, dict[str, str]] = {}
    for output, (key, text) in wanted.items():
        if text:
            expression = _parse(key, text)
            for name in _names(expression):
                _check(flow, key, name)
            home = _home(flow, expression)
            flow.give(home, expression)
            rows.setdefault(home, {})[output] = text
    return rows


def _parse(key: str, text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        raise UsageError(f"gate.{key}: '{text}' is not a Python expression", "name a variable") from None


def _check(flow: Flow, key: str, name: str) -> None:
    if not (flow.last_holder(name) or name in flow.notebook.parameters or name in flow.origins):
        raise UsageError(f"gate.{key}: no step has a variable '{name}'", "name one that the notebook defines")


def _names(expression: ast.expr) -> list[str]:
    inner = {n.id for n in ast.walk(expression) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return [n.id for n in ast.walk(expression) if isinstance(n, ast.Name) and n.id not in inner]


def _home(flow: Flow, expression: ast.expr) -> str:
    """The first step that has all variables of an expression."""
    order = [section.name for section in flow.notebook.outline.sections]
    held = [order.index(holder) for name in _names(expression) if (holder := flow.last_holder(name))]
    return order[max(held, default=0)]
