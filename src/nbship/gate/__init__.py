"""The quality gate: metrics and losses in, a verdict out.

Pure functions on numbers. Where the numbers come from and what follows from the verdict is decided elsewhere.
"""

from __future__ import annotations

from nbship.gate.comparison import Comparison, compare, compare_recipes, percent_text, share_text
from nbship.gate.losses import Fold, Losses, Refits, read_losses, read_refits
from nbship.gate.verdict import Check, Known, Verdict, judge

__all__ = [
    "Check",
    "Comparison",
    "Fold",
    "Known",
    "Losses",
    "Refits",
    "Verdict",
    "compare",
    "compare_recipes",
    "judge",
    "percent_text",
    "read_losses",
    "read_refits",
    "share_text",
]
